"""The main job, from trades to signals, through a real Dagster instance that the UI shows after."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader_pipelines.core.certificates import Status, describe_ranges, worst
from trader_pipelines.core.errors import (
    DayNotOverError,
    MissingDataError,
    TraderError,
    UnknownSymbolError,
)
from trader_pipelines.core.instruments import UTC_DAYS, VenueSpec
from trader_pipelines.core.sessions import non_sessions, trading_days
from trader_pipelines.core.weeks import champion_week, whole_weeks
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    import dagster as dg
    import psycopg

BY_DAY = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
BY_WEEK = ("training_set", "candidate_model", "champion_model")

_INSTANCE = """\
# The Dagster instance of `trader demo` and `trader ui`: SQLite beside this file.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a demo runs.

    Parameters
    ----------
    venue : VenueSpec
    symbols : tuple of str
        Empty for all of the universe.
    first, last : date
        Both included.
    """

    venue: VenueSpec
    symbols: tuple[str, ...]
    first: date
    last: date

    @property
    def days(self) -> tuple[date, ...]:
        """Every trading day of it."""
        return trading_days(self.venue.calendar, self.first, self.last)

    @property
    def skipped(self) -> tuple[date, ...]:
        """The days of it on which the venue is closed."""
        if self.venue.calendar == UTC_DAYS:
            return ()
        return non_sessions(self.venue.calendar, self.first, self.last)

    @property
    def weeks(self) -> tuple[date, ...]:
        """Weeks that can be learned from: whole, and over."""
        whole = whole_weeks(self.first, self.last, self.venue.calendar)
        return tuple(week for week in whole if week + timedelta(weeks=1) <= _today())

    @property
    def signal_days(self) -> tuple[date, ...]:
        """Days after the first week that was learned from."""
        return tuple(day for day in self.days if champion_week(day) in self.weeks)

    def stages(self) -> dict[str, int]:
        """Partitions of every stage, in the order in which they run."""
        counts = dict.fromkeys(BY_DAY, len(self.days))
        counts |= dict.fromkeys(BY_WEEK, len(self.weeks))
        counts["signals"] = len(self.signal_days)
        return {stage: count for stage, count in counts.items() if count}


def plan(platform: Platform, venue: str, symbols: tuple[str, ...], first: date, last: date) -> Plan:
    """Check what was asked for against the universe and the calendar.

    Raises
    ------
    UnknownSymbolError, DayNotOverError
    MissingDataError
        When the venue is closed on all of the days.
    """
    spec = platform.universe.venue(venue)
    for symbol in symbols:
        instrument = spec.instrument(symbol)
        if not (instrument.listed_on(first) and instrument.listed_on(last)):
            until = instrument.until or "today"
            raise UnknownSymbolError(
                f"{instrument.id} is not in the universe on all of {first}..{last}",
                where=f"universe, venues.{venue}.symbols.{symbol}",
                remedy=f"choose days within {instrument.since}..{until}",
            )
    if first < spec.first_day:
        raise UnknownSymbolError(
            f"{venue} has no symbol in the universe on {first}",
            where=f"universe, venues.{venue}",
            remedy=f"choose days from {spec.first_day} on",
        )
    today = _today()
    if last >= today:
        raise DayNotOverError(
            f"{last} is not over yet: today is {today} (UTC)",
            where="days",
            remedy=f"choose days up to {today - timedelta(days=1)}",
        )
    made = Plan(spec, symbols, first, last)
    if not made.days:
        raise MissingDataError(
            f"{spec.calendar} has no session between {first}, a {first:%A}, and {last}",
            where="days",
            remedy="choose days on which the exchange is open",
        )
    return made


def _today() -> date:
    """The UTC day that is going on."""
    return datetime.now(UTC).date()


def open_instance(platform: Platform) -> "dg.DagsterInstance":
    """The Dagster instance below the home folder, made on the first call."""
    import dagster as dg

    home = platform.settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(_INSTANCE, encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))


def run(platform: Platform, what: Plan) -> dict[str, Any]:
    """Run the chain over the days of a plan and summarise what is there afterwards.

    Raises
    ------
    TraderError
        When a run failed, with the failure that its page in the UI shows.
    """
    from trader_pipelines.definitions import definitions

    defs = definitions(platform)
    days, weeks, last_days = what.days, what.weeks, what.signal_days
    with open_instance(platform) as instance:
        launch: Callable[..., None] = lambda *args: _launch(defs, instance, what, *args)  # noqa: E731
        launch("day", BY_DAY, days)
        if weeks:
            launch("week", BY_WEEK, weeks)
        if last_days:
            launch("day", ("signals",), last_days)
    with platform.connect() as connection:
        return summarise(connection, platform, what)


def _launch(
    defs: "dg.Definitions",
    instance: "dg.DagsterInstance",
    what: Plan,
    job: str,
    stages: tuple[str, ...],
    partitions: tuple[date, ...],
) -> None:
    import dagster as dg

    resolved = defs.resolve_job_def(f"{what.venue.name}_{job}")
    keys = [dg.AssetKey([what.venue.name, stage]) for stage in stages]
    selected = resolved.get_subset(asset_selection=set(keys))
    symbols = {"config": {"symbols": list(what.symbols)}}
    narrowable = {
        node.name: symbols
        for node in selected.graph.nodes
        if what.symbols and node.definition.has_config_field
    }
    result = resolved.execute_in_process(
        instance=instance,
        asset_selection=keys,
        run_config={
            "ops": narrowable,
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags={
            "dagster/asset_partition_range_start": partitions[0].isoformat(),
            "dagster/asset_partition_range_end": partitions[-1].isoformat(),
            "trader/demo": "true",
        },
        raise_on_error=False,
    )
    if not result.success:
        raise _failed(result, what)


def _failed(result: "dg.ExecuteInProcessResult", what: Plan) -> TraderError:
    import dagster as dg

    said = [
        f"check {check.check_name} of {check.asset_key.to_user_string()}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            error = data.error
            if error is not None and error.cls_name == "DagsterAssetCheckFailedError":
                continue  # what the check found is told already
            while told is None and error is not None and error.cause is not None:
                error = error.cause
            said.append(told or (error.message.strip() if error else "no reason was given"))
    return TraderError(
        f"a run over {what.first}..{what.last} failed\n" + "\n".join(said),
        where=f"run {result.run_id[:8]} of {what.venue.name}",
        remedy="mend what is said above and run it again: what is done is kept; "
        "`make ui` shows the run",
    )


def summarise(connection: "psycopg.Connection", platform: Platform, what: Plan) -> dict[str, Any]:
    """What the stores hold of a plan's days, by symbol, for machines and for the table."""
    names = what.symbols or sorted({i.symbol for day in what.days for i in what.venue.on(day)})
    return {
        "venue": what.venue.name,
        "synthetic": what.venue.synthetic,
        "days": [what.first.isoformat(), what.last.isoformat()],
        "symbols": {name: _of_symbol(connection, platform, what, name) for name in names},
    }


def _of_symbol(
    connection: "psycopg.Connection", platform: Platform, what: Plan, symbol: str
) -> dict[str, Any]:
    from trader_pipelines.stores import manifest

    span = {"symbols": (symbol,), "first": what.first, "last": what.last}
    certificates = manifest.get_certificates(connection, what.venue.name, **span)  # type: ignore[arg-type]
    rows = {
        dataset: manifest.get_datasets(connection, dataset, what.venue.name, **span)  # type: ignore[arg-type]
        for dataset in ("minute_bars", "dollar_bars", "signals")
    }
    return {
        "trades": sum(certificate.count for certificate in certificates),
        "days": len(certificates),
        "certificate": str(worst(certificate.status for certificate in certificates)),
        "missing": {
            certificate.day.isoformat(): [list(one) for one in certificate.missing]
            for certificate in certificates
            if certificate.missing
        },
        "lacking": {
            certificate.day.isoformat(): certificate.describe_missing()
            for certificate in certificates
            if certificate.status is Status.INCOMPLETE and not certificate.missing
        },
        "bars": sum(entry.rows for entry in rows["minute_bars"]),
        "dollar_bars": sum(entry.rows for entry in rows["dollar_bars"]),
        "built_on": str(worst(entry.status for entry in rows["minute_bars"])),
        "model": _model(connection, platform, what, symbol),
        "signals": sum(entry.rows for entry in rows["signals"]),
        "last_signal": _last_signal(connection, platform, rows["signals"]),
        "synthetic": any(certificate.synthetic for certificate in certificates),
    }


def _model(
    connection: "psycopg.Connection", platform: Platform, what: Plan, symbol: str
) -> dict[str, Any]:
    """The last week's decision, and the out-of-sample scores of its candidate on one symbol."""
    from dataclasses import asdict

    import polars as pl

    from trader_pipelines.core.learning.scores import score
    from trader_pipelines.stores import datasets, models_table
    from trader_pipelines.stores.datasets import POOL, Key

    if not what.weeks:
        reason = "a whole week from Monday to Sunday is needed to learn from"
        return {"version": None, "promoted": False, "reason": reason, "scores": None}
    week = what.weeks[-1]
    key = Key("oos_forecasts", what.venue.name, POOL, week)
    forecasts, entry = datasets.get(connection, platform.cold, key)
    champion = models_table.get_champion(connection, what.venue.name, week)
    own = forecasts.filter(pl.col("symbol") == symbol)
    candidate = str(entry.metadata["model_version"])
    return {
        "version": champion.version if champion else None,
        "candidate": candidate,
        "week": week.isoformat(),
        "promoted": champion is not None and champion.version is not None,
        "reason": champion.reason if champion else "not decided",
        "scores": asdict(score(own, calendar=what.venue.calendar)) if own.height else None,
    }


def _last_signal(
    connection: "psycopg.Connection", platform: Platform, entries: list[Any]
) -> dict[str, Any] | None:
    from trader_pipelines.stores import datasets
    from trader_pipelines.stores.datasets import Key

    spoken = [entry for entry in entries if entry.rows]
    if not spoken:
        return None
    last = spoken[-1]
    key = Key("signals", last.venue, last.symbol, last.day)
    frame, _ = datasets.get(connection, platform.cold, key)
    row = frame.row(-1, named=True)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def write_summary(platform: Platform, summary: Mapping[str, Any]) -> Path:
    """Keep the summary where machines look for it."""
    from trader_pipelines.stores.files import write_atomic

    path = platform.settings.home / "demo" / "summary.json"
    write_atomic(path, (json.dumps(summary, indent=2) + "\n").encode())
    return path


def missing_for_people(row: Mapping[str, Any]) -> str:
    """What a symbol's days lack, ids or minutes, as a person writes it; empty for nothing."""
    said = {
        day: describe_ranges([(a, b) for a, b in ranges]) for day, ranges in row["missing"].items()
    }
    return "; ".join(f"{day}: {what}" for day, what in sorted({**said, **row["lacking"]}.items()))
