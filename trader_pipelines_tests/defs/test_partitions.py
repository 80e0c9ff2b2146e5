"""Dagster's partition mappings and the functions that the code reads by say the same."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.automation_tick_evaluation_context import (
    build_run_requests_with_backfill_policies,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.core.sessions import non_sessions, previous_day, sessions, trading_days
from trader_pipelines.core.weeks import champion_week, training_days, week_of
from trader_pipelines.definitions import definitions
from trader_pipelines.defs.partitions import DAYS_A_RUN, WEEKS_A_RUN
from trader_pipelines.platform import Platform

#: A Friday, a Monday and a Wednesday: whether a venue begins within a week or with it.
FIRST_DAYS = {
    "binance": date(2017, 7, 14),
    "synthetic": date(2024, 1, 1),
    "kraken": date(2020, 1, 1),
}
#: A venue whose days are sessions of New York; a Monday.
FIRST_SESSION = date(2016, 1, 4)
NEW_YORK = "XNYS"
CLOCK = "America/New_York"
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
    assert found == {(venue, *pair) for venue in (*FIRST_DAYS, "alpaca") for pair in READS}


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
@settings(deadline=None)
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


def in_session(day: date) -> bool:
    return bool(sessions(NEW_YORK, day, day))


def compare_sessions(day: date) -> None:
    """Hold Dagster against the code for every dependency of a session's partition, or its week's.

    Dagster counts sessions, so of two dependencies it knows a little too much, and never too
    little; how much is fixed here.
    """
    week = week_of(day)
    window = training_days(week, TRAINING_WEEKS, NEW_YORK)
    before = champion_week(day)
    for (stage, above), reads in READS.items():
        partition = week if stage in WEEKLY else day
        if (stage, above) == ("features", "bars"):
            expected: Sequence[date] = (previous_day(NEW_YORK, day), day)
        elif stage == "training_set":
            expected = window
        else:
            expected = reads(partition)
        found = upstream("alpaca", stage, above, partition)
        more = set(found) - set(expected)
        assert set(expected) <= set(found), (stage, above, partition)
        if stage == "training_set" and not in_session(week_of(window[0])):
            assert more == {previous_day(NEW_YORK, window[0])}
        elif (stage, above) == ("signals", "champion_model"):
            assert more <= {before - timedelta(weeks=1), before + timedelta(weeks=1)}
        else:
            assert more == set(), (stage, above, partition)


@settings(deadline=None)
@given(number=st.integers(250, 2_500))
def test_mappings_of_any_session_hold_what_the_code_reads(number: int) -> None:
    days = sessions(NEW_YORK, FIRST_SESSION, date(2026, 1, 2))
    compare_sessions(days[number])


@pytest.mark.parametrize(
    "day",
    [
        date(2024, 1, 2),  # New Year's Monday is a holiday
        date(2024, 1, 16),  # and so is Martin Luther King's
        date(2024, 1, 12),
        date(2024, 3, 11),  # clocks went forward on the Sunday
        date(2024, 3, 28),  # before Good Friday
        date(2024, 4, 1),
        date(2024, 7, 5),  # between a holiday and a weekend
        date(2024, 7, 8),
        date(2024, 11, 4),  # clocks went back on the Sunday
        date(2024, 11, 29),  # a half day
        date(2025, 1, 10),  # after a day of mourning
    ],
    ids=str,
)
def test_mappings_beside_holidays_hold_what_the_code_reads(day: date) -> None:
    compare_sessions(day)


def test_mapping_of_fridays_bars_reaches_mondays_features_and_no_others() -> None:
    """What a corrected day touches: its own features, and those of the session after it."""
    node, parent = (graph().get(dg.AssetKey(["alpaca", name])) for name in ("features", "bars"))
    assert node.partitions_def is not None
    assert parent.partitions_def is not None
    found = graph().get_partition_mapping(node.key, parent.key)
    for day, after in (("2024-07-12", "2024-07-15"), ("2024-07-03", "2024-07-05")):
        touched = found.get_downstream_partitions_for_partitions(
            parent.partitions_def.subset_with_partition_keys([day]),
            parent.partitions_def,
            node.partitions_def,
            current_time=NOW,
        )
        assert sorted(touched.get_partition_keys()) == [day, after]


def test_mappings_of_a_session_venues_first_days_have_nothing_before_them() -> None:
    monday, tuesday = FIRST_SESSION, FIRST_SESSION + timedelta(days=1)
    assert upstream("alpaca", "features", "bars", monday) == [monday]
    assert upstream("alpaca", "features", "bars", tuesday) == [monday, tuesday]
    assert upstream("alpaca", "signals", "champion_model", monday) == []
    days = trading_days(NEW_YORK, monday, monday + timedelta(days=6))
    assert upstream("alpaca", "training_set", "features", monday) == list(days)


@pytest.mark.parametrize("stage", DAILY)
def test_partitions_of_a_session_venue_are_the_sessions_of_its_exchange(stage: str) -> None:
    cut = graph().get(dg.AssetKey(["alpaca", stage])).partitions_def
    assert isinstance(cut, dg.TimeWindowPartitionsDefinition)
    keys = cut.get_partition_keys(current_time=NOW)
    assert keys == [d.isoformat() for d in sessions(NEW_YORK, FIRST_SESSION, date(2026, 1, 13))]
    # Ten years of them stay few.
    assert len(keys) == 2_522
    for closed in ("2024-07-04", "2024-07-06", "2024-12-25", "2025-01-09"):
        assert not cut.has_partition_key(closed)


@pytest.mark.parametrize("key", ["2024-01-09", "2024-07-09", "2024-07-03"])
def test_partition_of_a_session_is_there_before_the_schedule_of_its_evening(key: str) -> None:
    cut = graph().get(dg.AssetKey(["alpaca", "bars"])).partitions_def
    assert isinstance(cut, dg.TimeWindowPartitionsDefinition)
    evening = datetime.fromisoformat(key).replace(hour=20, minute=30, tzinfo=ZoneInfo(CLOCK))
    assert cut.get_partition_keys(current_time=evening)[-1] == key
    assert cut.get_partition_keys(current_time=evening - timedelta(hours=2))[-1] < key


def test_partitions_of_years_to_come_leave_their_holidays_out() -> None:
    cut = graph().get(dg.AssetKey(["alpaca", "bars"])).partitions_def
    assert isinstance(cut, dg.TimeWindowPartitionsDefinition)
    then = datetime(2031, 1, 1, 12, tzinfo=UTC)
    keys = [key for key in cut.get_partition_keys(current_time=then) if key > "2030"]
    closed = {day.isoformat() for day in non_sessions(NEW_YORK, date(2030, 1, 1), then.date())}
    assert len(keys) == 251
    assert closed.isdisjoint(keys)


def test_definition_of_partitions_is_the_same_every_time_it_is_loaded() -> None:
    one, other = (
        definitions(Platform({"home": "/nowhere"}))
        .resolve_asset_graph()
        .get(dg.AssetKey(["alpaca", "bars"]))
        .partitions_def
        for _ in range(2)
    )
    assert isinstance(one, dg.TimeWindowPartitionsDefinition)
    assert isinstance(other, dg.TimeWindowPartitionsDefinition)
    assert one.get_serializable_unique_identifier() == other.get_serializable_unique_identifier()
    loaded = dg.deserialize_value(dg.serialize_value(one), dg.TimeWindowPartitionsDefinition)
    assert loaded == one


def test_weeks_of_a_session_venue_are_named_by_mondays_also_where_that_is_a_holiday() -> None:
    cut = graph().get(dg.AssetKey(["alpaca", "training_set"])).partitions_def
    assert isinstance(cut, dg.TimeWindowPartitionsDefinition)
    keys = cut.get_partition_keys(current_time=NOW)
    assert (keys[0], keys[-1], len(keys)) == ("2016-01-04", "2026-01-05", 523)
    assert {"2024-01-01", "2024-01-15", "2024-09-02"} <= set(keys)


@pytest.mark.parametrize("venue", FIRST_DAYS)
def test_backfill_policy_of_every_asset_is_multi_run(venue: str) -> None:
    policies = {
        stage: graph().get(dg.AssetKey([venue, stage])).backfill_policy
        for stage in (*DAILY, *WEEKLY)
    }
    days, weeks = (dg.BackfillPolicy.multi_run(n) for n in (DAYS_A_RUN, WEEKS_A_RUN))
    assert policies == dict.fromkeys(DAILY, days) | dict.fromkeys(WEEKLY, weeks)


def run_requests(venue: str, days: Sequence[date], stages: Sequence[str]) -> list[dg.RunRequest]:
    """What Dagster launches for a backfill."""
    wanted = {
        AssetKeyPartitionKey(dg.AssetKey([venue, stage]), day.isoformat())
        for stage in stages
        for day in days
    }
    with dg.DagsterInstance.ephemeral() as instance:
        return list(build_run_requests_with_backfill_policies(wanted, graph(), instance))


@pytest.mark.parametrize(
    ("venue", "calendar", "spans"),
    [
        (
            "synthetic",
            UTC_DAYS,
            [
                ("2024-01-01", "2024-04-09"),
                ("2024-04-10", "2024-07-18"),
                ("2024-07-19", "2024-10-26"),
                ("2024-10-27", "2024-12-31"),
            ],
        ),
        (
            "alpaca",
            NEW_YORK,
            [
                ("2024-01-02", "2024-05-23"),
                ("2024-05-24", "2024-10-16"),
                ("2024-10-17", "2024-12-31"),
            ],
        ),
    ],
)
def test_backfill_of_a_year_is_a_run_for_every_hundred_days(
    venue: str, calendar: str, spans: list[tuple[str, str]]
) -> None:
    days = trading_days(calendar, date(2024, 1, 1), date(2024, 12, 31))
    stages = ("hot_ticks", "cold_ticks", "bars", "labels")
    requests = run_requests(venue, days, stages)
    found = sorted(
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    )
    assert found == spans
    # One run holds all the stages, the checks among them go along by their assets.
    for request in requests:
        assert request.asset_selection is not None
        assert {key.path[-1] for key in request.asset_selection} == set(stages)
