"""The assets that look after both tiers: what they tell, what they do, and the chain after them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.stores import datasets
from trader_pipelines.stores.database import _plain
from trader_pipelines_tests.end_to_end import tiers, worlds

STAGES = ("hot_ticks", "cold_ticks", "bars")


@pytest.fixture
def parts(tmp_path: Path, database_url: str) -> Platform:
    """Three days went through; hot keeps the last of them."""
    age = (datetime.now(UTC).date() - tiers.DAYS[-1]).days
    made = worlds.platform(
        tmp_path, database_url, hot_days=age, hot_price="10000", cold_price="1000"
    )
    assert worlds.run(made, STAGES, tiers.DAYS[0], tiers.DAYS[-1]).success
    return made


def materialize(parts: Platform, name: str, **config: Any) -> dict[str, Any]:
    """Run an asset of the group by itself; its metadata as plain values."""
    defs = definitions(parts)
    job = dg.define_asset_job("one", selection=dg.AssetSelection.assets(["storage", name]))
    merged = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    result = merged.resolve_job_def("one").execute_in_process(
        instance=dg.DagsterInstance.ephemeral(),
        run_config={"ops": {f"storage__{name}": {"config": config}}} if config else {},
        raise_on_error=False,
    )
    assert result.success
    (event,) = result.get_asset_materialization_events()
    told = event.step_materialization_data.materialization.metadata
    return {key: value.value for key, value in told.items()}


def days_in_hot(parts: Platform) -> set[Any]:
    with psycopg.connect(_plain(parts.database_url())) as connection:
        return {day for (day,) in connection.execute("select distinct day from hot_ticks")}


def test_retention_in_a_dry_run_tells_what_would_go_and_keeps_it(parts: Platform) -> None:
    told = materialize(parts, "retention", dry_run=True)
    assert told["dry run"] is True
    assert [line.split(" | ")[1:3] for line in told["would go"].splitlines()[2:]] == [
        [symbol, day.isoformat()] for day in tiers.GONE for symbol in tiers.SYMBOLS
    ]
    assert (told["refused"], told["kept"]) == ("*nothing*", 2)
    assert told["bytes let go"] > 0
    assert days_in_hot(parts) == set(tiers.DAYS)


def test_retention_tells_what_went_and_what_was_refused_by_name(parts: Platform) -> None:
    with parts.connect() as connection:
        key = datasets.Key("cold_ticks", "synthetic", "BBB", tiers.DAYS[0])
        entry = datasets.entry(connection, key)
    (parts.settings.home / "cold" / entry.path).unlink()
    told = materialize(parts, "retention")
    assert len(told["went"].splitlines()) == 2 + 3
    (refused,) = told["refused"].splitlines()[2:]
    assert refused.startswith("| synthetic | BBB | 2024-01-01 | ")
    assert "there is no such file" in refused
    assert told["days emptied"] == "2024-01-02"
    assert days_in_hot(parts) == {tiers.DAYS[0], tiers.DAYS[2]}


def test_chain_goes_on_after_retention(parts: Platform, tmp_path: Path) -> None:
    materialize(parts, "retention")
    assert days_in_hot(parts) == {tiers.DAYS[-1]}
    before = worlds.files(tmp_path / "cold")
    # Everything but the fetching, on days that hot has let go of.
    ran = worlds.run(parts, ("cold_ticks", "bars"), tiers.DAYS[0], tiers.DAYS[-1])
    assert ran.success
    assert ran.checks["cold_equals_hot"].passed
    assert ran.checks["cold_equals_hot"].metadata["let go by hot"].value == 4
    assert worlds.files(tmp_path / "cold") == before
    assert days_in_hot(parts) == {tiers.DAYS[-1]}
    again = worlds.run(parts, STAGES, tiers.DAYS[0])
    assert again.success
    assert worlds.files(tmp_path / "cold") == before
    assert days_in_hot(parts) == {tiers.DAYS[0], tiers.DAYS[-1]}


def test_usage_tells_bytes_and_cost_of_both_tiers(parts: Platform) -> None:
    told = materialize(parts, "usage")
    with psycopg.connect(_plain(parts.database_url())) as connection:
        row = connection.execute(
            "select sum(rows)::int8, sum(bytes)::int8 from datasets where dataset = 'cold_ticks'"
        ).fetchone()
    assert row is not None
    tiers_told = {line.split(" | ")[0][2:]: line for line in told["by tier"].splitlines()[2:]}
    assert set(tiers_told) == {"hot", "cold"}
    assert f"| {row[0]:,} | {row[1]:,} |" in tiers_told["cold"]
    assert f"| {row[0]:,} |" in tiers_told["hot"]
    hot_bytes = told["bytes"] - row[1]
    assert told["monthly cost"] == pytest.approx(hot_bytes / 1e9 * 10_000 + row[1] / 1e9 * 1_000)
    assert len(told["by symbol and month"].splitlines()) == 2 + 4


def test_migration_rewrites_older_layouts_and_tells_how_many(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before, parts.connect() as connection:
        before.setattr(datasets, "SCHEMA_VERSION", datasets.SCHEMA_VERSION - 1)
        tiers.freeze(parts, connection)
    told = materialize(parts, "migration")
    assert told["rewritten"] == 6
    (row,) = told["of older layouts"].splitlines()[2:]
    assert row.startswith(f"| cold_ticks | synthetic | {datasets.SCHEMA_VERSION - 1} | 6 | ")
    assert materialize(parts, "migration")["rewritten"] == 0


def test_retention_schedule_is_off_until_somebody_turns_it_on() -> None:
    defs = definitions(Platform({"home": "/nowhere"}))
    schedule = defs.resolve_schedule_def("storage_retention_daily")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "30 10 * * *"
    selected = defs.resolve_job_def("storage_retention").asset_layer.selected_asset_keys
    assert {key.path[-1] for key in selected} == {"retention", "usage"}
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime.now(UTC) + timedelta(days=1)
        )
        assert len(schedule.evaluate_tick(context).run_requests or []) == 1
