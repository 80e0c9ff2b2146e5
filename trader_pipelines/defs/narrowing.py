"""Runs narrowed to stages and symbols: the configuration that says so, and which runs there are."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from trader_pipelines.core.instruments import VenueSpec

#: Names of the steps of each stage that can be narrowed to symbols: of its asset and its checks.
Steps = Mapping[str, Sequence[str]]

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def steps(made: Iterable[dg.AssetsDefinition]) -> Steps:
    """Which steps of a venue's assets and checks take the configuration `Symbols`."""
    found: dict[str, list[str]] = {}
    for one in made:
        schema = getattr(one.node_def, "config_schema", None)
        if schema is not None and "symbols" in getattr(schema.config_type, "fields", {}):
            checked = [key.asset_key for key in one.check_keys] or list(one.keys)
            found.setdefault(checked[0].path[-1], []).append(one.node_def.name)
    return found


def request(
    venue: VenueSpec,
    narrowable: Steps,
    day: date,
    stages: Sequence[str],
    symbols: Sequence[str],
    run_key: str,
    **first: Any,
) -> dg.RunRequest:
    """Ask for some stages of a day, with their checks, of some symbols.

    Parameters
    ----------
    first
        More configuration of the first stage's own step.
    """
    config: dict[str, Any] = {
        step: {"config": {"symbols": list(symbols)}}
        for stage in stages
        for step in narrowable.get(stage, ())
    }
    if first:
        config[f"{venue.name}__{stages[0]}"]["config"] |= first
    return dg.RunRequest(
        run_key=run_key,
        partition_key=day.isoformat(),
        asset_selection=[dg.AssetKey([venue.name, stage]) for stage in stages],
        run_config={"ops": config},
    )


def under_way(instance: dg.DagsterInstance, venue: VenueSpec) -> list[tuple[date, date]]:
    """First and last partition of each run of the venue that has not ended yet."""
    found = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        own = run.tags.get("venue") == venue.name or any(
            key.path[0] == venue.name for key in run.asset_selection or ()
        )
        first = run.tags.get("dagster/asset_partition_range_start")
        last = run.tags.get("dagster/asset_partition_range_end")
        only = run.tags.get("dagster/partition")
        if own and (first or only):
            ends = (first or only, last or only)
            found.append((date.fromisoformat(str(ends[0])), date.fromisoformat(str(ends[1]))))
    return found


def busy(running: Iterable[tuple[date, date]], day: date) -> bool:
    """Whether a run of that partition is under way."""
    return any(first <= day <= last for first, last in running)
