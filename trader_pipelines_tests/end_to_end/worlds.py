"""Small worlds to run the whole chain in: a universe, a platform, runs, and all that is kept."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from psycopg.rows import dict_row

from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.stores import database
from trader_pipelines_tests import tapes

MONDAY = date(2024, 1, 1)

#: Two symbols that differ in both grids; `dollar_bar` small enough for a few dozen bars a day.
SYNTHETIC = """\
  synthetic:
    source: synthetic
    symbols:
      AAA: {since: 2024-01-01, tick_size: "0.01", lot_size: "0.0001", dollar_bar: 25000}
      BBB: {since: 2024-01-01, tick_size: "0.001", lot_size: "0.001", dollar_bar: 25000}
"""

#: The symbols of the real tapes, from days on which they were traded already.
BINANCE = """\
  binance:
    source: binance_archive
    symbols:
      BTCUSDT: {since: 2020-10-26, tick_size: "0.01", lot_size: "0.000001", dollar_bar: 1000000}
      ETHUSDT: {since: 2020-10-26, tick_size: "0.01", lot_size: "0.00001", dollar_bar: 1000000}
      XRPETH: {since: 2019-10-07, tick_size: "0.00000001", lot_size: "1", dollar_bar: 50}
"""

#: What every entry of these tables is made of, but for the moments at which it was written.
_TABLES = {
    "certificates": "select * from certificates order by venue, symbol, day",
    "datasets": "select * from datasets order by dataset, venue, symbol, day",
    "models": "select * from models order by version",
    "champions": "select * from champions order by venue, week",
    "instruments": "select venue, symbol, price_scale, size_scale from instruments order by 1, 2",
    # A killed transaction uses up a number: instruments are told apart by what they are.
    "hot_ticks": "select i.venue, i.symbol, h.day, h.id, h.ts_event, h.price, h.size, h.fills, "
    "h.side from hot_ticks h join instruments i using (instrument_id) order by 1, 2, 3, 4",
}
_MOMENTS = {"written_at", "ts_ingest", "created_at", "decided_at", "revision"}


def universe(folder: Path, *venues: str) -> Path:
    """Write a universe file of these venues."""
    path = folder / "universe.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("venues:\n" + "".join(venues), encoding="utf-8")
    return path


def platform(
    home: Path, database_url: str, *venues: str, universe_file: Path | None = None, **more: Any
) -> Platform:
    """The platform of a test: a home and a database of its own, the synthetic venue by default."""
    file = universe_file or universe(home, *(venues or (SYNTHETIC,)))
    return Platform(
        {
            "home": home,
            "database_url": database_url,
            "universe": file,
            "synthetic_trades": 300,
            **more,
        }
    )


def archive(
    base: Path, tape_folder: Path, days: Mapping[str, tuple[date, ...]], **more: Any
) -> str:
    """Real days as an archive; its base."""
    tapes.write_archive(base, tape_folder, days, **more)
    return str(base)


@dataclass(frozen=True)
class Ran:
    """A run of a venue's assets that is over, and the instance that it ran in."""

    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance

    @property
    def success(self) -> bool:
        """Whether the run succeeded."""
        return self.result.success

    @property
    def failures(self) -> dict[str, dg.Failure]:
        """What failed steps tell the run's page, by step."""
        found = {}
        for event in self.result.all_events:
            if event.is_step_failure:
                told = event.step_failure_data.user_failure_data
                assert told is not None, event.step_failure_data.error
                found[str(event.step_key)] = dg.Failure(told.description, told.metadata)
        return found

    @property
    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        """What the checks said, by name."""
        return {e.check_name: e for e in self.result.get_asset_check_evaluations()}

    @property
    def materialized(self) -> list[tuple[str, str | None]]:
        """Stages and partitions that the run reports as materialized."""
        return [
            (event.asset_key.path[-1], event.partition)
            for event in self.result.all_events
            if event.is_step_materialization and event.asset_key
        ]

    def metadata(self, stage: str, partition: date) -> Mapping[str, Any]:
        """Metadata that the run attached to a partition of a stage, as plain values."""
        for event in self.result.all_events:
            if event.is_step_materialization and event.asset_key is not None:
                data = event.step_materialization_data.materialization
                if data.asset_key.path[-1] == stage and data.partition == partition.isoformat():
                    return {name: value.value for name, value in data.metadata.items()}
        raise AssertionError(f"{stage} of {partition} was not materialized")

    def everything_told(self) -> str:
        """The whole event log as text: every field of every event, logs included."""
        records = self.instance.all_logs(self.result.run_id)
        return "\n".join(dg.serialize_value(record) for record in records) + repr(records)


def run(
    parts: Platform,
    stages: Sequence[str],
    first: date,
    last: date | None = None,
    *,
    venue: str = "synthetic",
    symbols: Sequence[str] = (),
    instance: dg.DagsterInstance | None = None,
) -> Ran:
    """Run stages of a venue with their checks over a range of partitions, as a backfill does."""
    instance = instance or dg.DagsterInstance.ephemeral()
    defs = definitions(parts)
    keys = [dg.AssetKey([venue, stage]) for stage in stages]
    job = defs.resolve_job_def(f"{venue}_week" if "training_set" in stages else f"{venue}_day")
    chosen = job.get_subset(asset_selection=set(keys))
    config = {
        node.name: {"config": {"symbols": list(symbols)}}
        for node in chosen.graph.nodes
        if symbols and node.definition.has_config_field
    }
    result = job.execute_in_process(
        instance=instance,
        asset_selection=keys,
        run_config={"ops": config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": (last or first).isoformat(),
        },
        raise_on_error=False,
    )
    return Ran(result, instance)


def files(*roots: Path) -> dict[str, str]:
    """SHA-256 of every file below the roots by its path below them, hidden and torn ones too."""
    return {
        f"{root.name}/{path.relative_to(root)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows(url: str, *, moments: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table; with `moments` also when and in which order it was written."""
    found = {}
    with psycopg.connect(database._plain(url), row_factory=dict_row) as connection:
        for table, query in _TABLES.items():
            found[table] = [
                {k: v for k, v in row.items() if moments or k not in _MOMENTS}
                for row in connection.execute(query)
            ]
    return found


def kept(home: Path, url: str) -> dict[str, Any]:
    """All that the platform keeps outside Dagster: files by content, rows by value."""
    return {"files": files(home / "cold", home / "models"), **rows(url)}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two states differ, for a person; nothing when they are equal."""
    found = []
    for part in one.keys() | other.keys():
        mine, theirs = one.get(part), other.get(part)
        if mine != theirs:
            found.append(f"{part}: {_first(mine, theirs)}")
    return found


def _first(mine: Any, theirs: Any) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return "; ".join(
            sorted(f"{k}: {mine.get(k)} / {theirs.get(k)}" for k in _odd(mine, theirs))
        )
    pairs = [pair for pair in zip(mine or (), theirs or (), strict=False) if pair[0] != pair[1]]
    return f"{len(mine or ())} / {len(theirs or ())} rows, first: {pairs[:1]}"


def _odd(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    return [k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)][:5]
