"""Dagster's partition mappings and the functions that the code reads by say the same."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.automation_tick_evaluation_context import (
    build_run_requests_with_backfill_policies,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.weeks import champion_week, training_days, week_of
from trader_pipelines.definitions import definitions
from trader_pipelines.defs.partitions import DAYS_A_RUN, WEEKS_A_RUN
from trader_pipelines.platform import Platform

#: A Friday and a Monday: whether a venue begins within a week or with it.
FIRST_DAYS = {"binance": date(2017, 7, 14), "synthetic": date(2024, 1, 1)}
TRAINING_WEEKS = 4
NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)

DAILY = ("hot_ticks", "cold_ticks", "bars", "features", "labels", "signals")
WEEKLY = ("training_set", "candidate_model", "champion_model")


def same(day: date) -> Sequence[date]:
    return (day,)


#: What every stage reads of the stages above it, as the asset bodies do.
READS: dict[tuple[str, str], Callable[[date], Sequence[date]]] = {
    ("cold_ticks", "hot_ticks"): same,
    ("bars", "cold_ticks"): same,
    ("features", "bars"): lambda day: (day - timedelta(days=1), day),
    ("labels", "bars"): same,
    ("training_set", "features"): lambda week: training_days(week, TRAINING_WEEKS),
    ("training_set", "labels"): lambda week: training_days(week, TRAINING_WEEKS),
    ("candidate_model", "training_set"): same,
    ("champion_model", "candidate_model"): same,
    ("signals", "features"): same,
    ("signals", "champion_model"): lambda day: (champion_week(day),),
}


@cache
def graph() -> AssetGraph:
    return definitions(
        Platform({"training_weeks": TRAINING_WEEKS, "home": "/nowhere"})
    ).resolve_asset_graph()


def upstream(venue: str, stage: str, above: str, partition: date) -> list[date]:
    """What Dagster says that a partition needs of the stage above, existing partitions only."""
    node, parent = (graph().get(dg.AssetKey([venue, name])) for name in (stage, above))
    mapping = graph().get_partition_mapping(node.key, parent.key)
    assert node.partitions_def is not None
    assert parent.partitions_def is not None
    subset = node.partitions_def.subset_with_partition_keys([partition.isoformat()])
    result = mapping.get_upstream_mapped_partitions_result_for_partitions(
        subset, node.partitions_def, parent.partitions_def, current_time=NOW
    )
    assert not result.required_but_nonexistent_subset.get_partition_keys()
    return sorted(date.fromisoformat(k) for k in result.partitions_subset.get_partition_keys())


def exists(venue: str, stage: str, partition: date) -> bool:
    first = FIRST_DAYS[venue]
    # A week belongs to a venue when all of its days do.
    return partition >= (week_of(first + timedelta(days=6)) if stage in WEEKLY else first)


def test_reads_name_every_dependency_of_the_graph() -> None:
    found = {
        (node.key.path[0], node.key.path[1], parent.path[1])
        for node in graph().asset_nodes
        for parent in node.parent_keys
    }
    assert found == {(venue, *pair) for venue in FIRST_DAYS for pair in READS}


def compare(venue: str, number: int) -> None:
    """Hold Dagster against the code for every dependency at a venue's partition of that number."""
    first = FIRST_DAYS[venue]
    for (stage, above), reads in READS.items():
        partition = first + timedelta(days=number)
        if stage in WEEKLY:
            partition = week_of(first + timedelta(days=6)) + timedelta(weeks=number // 7)
        expected = [key for key in reads(partition) if exists(venue, above, key)]
        assert upstream(venue, stage, above, partition) == expected, (stage, above, partition)


@pytest.mark.parametrize("venue", FIRST_DAYS)
@given(number=st.integers(0, 700))
def test_mappings_of_any_partition_equal_what_the_code_reads(venue: str, number: int) -> None:
    compare(venue, number)


@pytest.mark.parametrize("venue", FIRST_DAYS)
def test_mappings_of_a_venues_first_weeks_equal_what_the_code_reads(venue: str) -> None:
    for number in range(40):
        compare(venue, number)


@pytest.mark.parametrize("venue", FIRST_DAYS)
def test_partitions_of_a_venue_are_utc_days_and_whole_weeks(venue: str) -> None:
    for stage in (*DAILY, *WEEKLY):
        cut = graph().get(dg.AssetKey([venue, stage])).partitions_def
        assert isinstance(cut, dg.TimeWindowPartitionsDefinition)
        keys = cut.get_partition_keys(current_time=NOW)
        monday = date(2026, 1, 5)
        assert (
            keys[0]
            == (
                week_of(FIRST_DAYS[venue] + timedelta(days=6))
                if stage in WEEKLY
                else FIRST_DAYS[venue]
            ).isoformat()
        )
        assert keys[-1] == (monday if stage in WEEKLY else date(2026, 1, 13)).isoformat()
        step = timedelta(weeks=1) if stage in WEEKLY else timedelta(days=1)
        days = [date.fromisoformat(key) for key in keys]
        assert {b - a for a, b in pairwise(days)} == {step}
        # No clock change of any country moves a boundary.
        for key in ("2024-03-25", "2024-10-28"):
            window = cut.time_window_for_partition_key(key)
            assert window.start.astimezone(UTC).isoformat() == f"{key}T00:00:00+00:00"
            assert window.end - window.start == step


@pytest.mark.parametrize("venue", FIRST_DAYS)
def test_backfill_policy_of_every_asset_is_multi_run(venue: str) -> None:
    policies = {
        stage: graph().get(dg.AssetKey([venue, stage])).backfill_policy
        for stage in (*DAILY, *WEEKLY)
    }
    days, weeks = (dg.BackfillPolicy.multi_run(n) for n in (DAYS_A_RUN, WEEKS_A_RUN))
    assert policies == dict.fromkeys(DAILY, days) | dict.fromkeys(WEEKLY, weeks)


def test_backfill_of_a_year_is_a_run_for_every_hundred_days() -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(366)]
    stages = ("hot_ticks", "cold_ticks", "bars", "labels")
    with dg.DagsterInstance.ephemeral() as instance:
        requests = build_run_requests_with_backfill_policies(
            {
                AssetKeyPartitionKey(dg.AssetKey(["synthetic", stage]), day.isoformat())
                for stage in stages
                for day in days
            },
            graph(),
            instance,
        )
    spans = sorted(
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    )
    assert spans == [
        ("2024-01-01", "2024-04-09"),
        ("2024-04-10", "2024-07-18"),
        ("2024-07-19", "2024-10-26"),
        ("2024-10-27", "2024-12-31"),
    ]
    # One run holds all the stages, the checks among them go along by their assets.
    for request in requests:
        assert request.asset_selection is not None
        assert {key.path[-1] for key in request.asset_selection} == set(stages)
