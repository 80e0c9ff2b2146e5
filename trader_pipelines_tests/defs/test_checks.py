"""Every blocking check fails for real when what it claims is not so, and stops what is below."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pytest

from trader_pipelines import demo
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.features import FEATURES, audit, compute_features
from trader_pipelines.core.features.feature import Feature
from trader_pipelines.core.trades import content_hash
from trader_pipelines.definitions import definitions
from trader_pipelines.defs import features as features_stage
from trader_pipelines.platform import Platform
from trader_pipelines.steps import features as features_step
from trader_pipelines.steps import models as models_step
from trader_pipelines.stores import datasets, manifest
from trader_pipelines.stores.datasets import Key, Lineage
from trader_pipelines_tests.end_to_end import worlds

DAY = worlds.MONDAY
DAY_STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
CHECKS = {
    "certificates_are_complete",
    "cold_equals_hot",
    "bars_reconcile_with_ticks",
    "finite_and_known_in_time",
}
CHECKED = {
    "certificates_are_complete": "hot_ticks",
    "cold_equals_hot": "cold_ticks",
    "bars_reconcile_with_ticks": "bars",
    "finite_and_known_in_time": "features",
}


@pytest.fixture
def parts(tmp_path: Path, database_url: str) -> Platform:
    return worlds.platform(tmp_path, database_url)


@pytest.fixture
def built(parts: Platform) -> Platform:
    """A platform on which one day went through."""
    assert worlds.run(parts, DAY_STAGES, DAY).success
    return parts


def check_alone(parts: Platform, name: str) -> dg.AssetCheckEvaluation:
    """Execute one check by itself, without partitions, as the UI's button does."""
    defs = definitions(parts)
    key = dg.AssetCheckKey(dg.AssetKey(["synthetic", CHECKED[name]]), name)
    job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(key))
    merged = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    result = merged.resolve_job_def("one_check").execute_in_process(
        instance=dg.DagsterInstance.ephemeral(), raise_on_error=False
    )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def rewrite(
    parts: Platform, dataset: str, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """Put a changed frame in the place of AAA's, consistently: file and manifest agree."""
    key = Key(dataset, "synthetic", "AAA", DAY)
    root = parts.settings.cold_root
    with parts.connect() as connection:
        frame, entry = datasets.get(connection, root, key)
        changed = change(frame)
        assert not changed.equals(frame)
        lineage = Lineage(entry.code_version, entry.status, entry.synthetic, entry.inputs)
        content = content_hash(changed) if entry.content_hash else None
        datasets.put(connection, root, key, changed, lineage, content_hash=content)
    return changed


def one_more(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Add one unit to the middle row of a column."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        middle = pl.int_range(pl.len()) == frame.height // 2
        return frame.with_columns(
            pl.when(middle).then(pl.col(column) + 1).otherwise(pl.col(column)).alias(column)
        )

    return change


def stopped(ran: worlds.Ran, check: str, below: str) -> str:
    """Assert that a check failed as an error and nothing below ran; what the check says."""
    evaluation = ran.checks[check]
    assert not ran.success
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert below not in {stage for stage, _ in ran.materialized}
    started = {str(e.step_key) for e in ran.result.all_events if e.is_step_start}
    assert f"synthetic__{below}" not in started
    failed = {str(e.step_key) for e in ran.result.all_events if e.is_step_failure}
    assert failed == {f"synthetic__{CHECKED[check]}_{check}"}
    assert evaluation.description
    return evaluation.description


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_check_executed_alone_passes_on_a_sound_house(built: Platform, name: str) -> None:
    evaluation = check_alone(built, name)
    assert evaluation.passed
    assert evaluation.partition is None
    counts = {
        k: v.value for k, v in evaluation.metadata.items() if isinstance(v, dg.IntMetadataValue)
    }
    # All there is: one day of two symbols.
    assert list(counts.values()) == [2]


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_check_executed_alone_on_an_empty_house_passes_and_says_that_it_saw_nothing(
    parts: Platform, name: str
) -> None:
    evaluation = check_alone(parts, name)
    assert evaluation.passed
    assert (evaluation.description or "").find("0 ") >= 0


def test_cold_ticks_that_differ_from_the_certificate_are_refused_by_the_check(
    built: Platform,
) -> None:
    rewrite(built, "cold_ticks", one_more("price"))
    evaluation = check_alone(built, "cold_equals_hot")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert evaluation.description == "2 symbol-days compared, 1 differ"
    assert "| AAA | 2024-01-01 |" in str(evaluation.metadata["differing"].value)


def test_cold_ticks_that_differ_stop_the_run_before_bars(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper_after(monkeypatch, "cold_ticks", lambda: rewrite(parts, "cold_ticks", one_more("size")))
    ran = worlds.run(parts, DAY_STAGES, DAY)
    said = stopped(ran, "cold_equals_hot", "bars")
    assert said == "2 symbol-days compared, 1 differ"
    assert {row["dataset"] for row in worlds.rows(parts.database_url())["datasets"]} == {
        "cold_ticks"
    }


def tamper_after(
    monkeypatch: pytest.MonkeyPatch, dataset: str, tamper: Callable[[], object]
) -> None:
    """Let somebody change what is stored right after a run has committed BBB's `dataset`."""
    left = [tamper]

    def tampered(inner: Callable[..., Any]) -> Callable[..., Any]:
        def put(connection: Any, root: Path, key: Key, *args: Any, **kwargs: Any) -> Any:
            entry = inner(connection, root, key, *args, **kwargs)
            if (key.dataset, key.symbol) == (dataset, "BBB") and left:
                left.pop()()
            return entry

        return put

    for name in ("put", "put_content"):
        monkeypatch.setattr(datasets, name, tampered(getattr(datasets, name)))


def test_hot_rows_tampered_with_are_refused_by_the_check_and_by_the_next_copy(
    built: Platform,
) -> None:
    with psycopg.connect(built.database_url()) as connection:
        connection.execute(
            "update hot_ticks set price = price + 1 where (instrument_id, id) in "
            "(select instrument_id, id from hot_ticks join instruments using (instrument_id) "
            "where symbol = 'BBB' order by id limit 1)"
        )
    evaluation = check_alone(built, "cold_equals_hot")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "| BBB | 2024-01-01 |" in str(evaluation.metadata["differing"].value)
    before = worlds.kept(built.settings.home, built.database_url())
    ran = worlds.run(built, ("cold_ticks", "bars"), DAY)
    (told,) = ran.failures.values()
    assert "the hot table holds" in str(told.description)
    assert "hot_ticks, BBB.SYNTHETIC on 2024-01-01" in str(told.description)
    assert "nothing was written to cold" in str(told.description)
    assert ran.materialized == []
    assert worlds.kept(built.settings.home, built.database_url()) == before


def test_hot_row_deleted_is_refused_by_the_check(built: Platform) -> None:
    with psycopg.connect(built.database_url()) as connection:
        connection.execute(
            "delete from hot_ticks where (instrument_id, id) in "
            "(select instrument_id, max(id) from hot_ticks group by instrument_id limit 1)"
        )
    assert check_alone(built, "cold_equals_hot").description == "2 symbol-days compared, 1 differ"


@pytest.mark.parametrize("column", ["volume", "buy_volume", "high", "trades", "prints"])
def test_bars_that_do_not_add_up_stop_the_run_before_features_and_labels(
    parts: Platform, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    change = pl_max if column == "high" else one_more(column)
    tamper_after(monkeypatch, "minute_bars", lambda: rewrite(parts, "minute_bars", change))
    ran = worlds.run(parts, DAY_STAGES, DAY)
    said = stopped(ran, "bars_reconcile_with_ticks", "features")
    assert "labels" not in {stage for stage, _ in ran.materialized}
    assert said.startswith("2 symbol-days compared, ")
    assert "| AAA | 2024-01-01 |" in str(
        ran.checks["bars_reconcile_with_ticks"].metadata["wrong"].value
    )


def pl_max(frame: pl.DataFrame) -> pl.DataFrame:
    """Raise one high beyond the day's."""
    return one_more("high")(frame.with_columns(pl.lit(frame["high"].max()).alias("high")))


def test_bars_with_a_hole_in_the_minutes_are_refused(built: Platform) -> None:
    rewrite(built, "minute_bars", lambda frame: frame.filter(pl.int_range(pl.len()) != 5))
    evaluation = check_alone(built, "bars_reconcile_with_ticks")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_feature_that_is_not_finite_is_refused(
    parts: Platform, monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    name = FEATURES[0].name

    def poison(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            pl.when(pl.int_range(pl.len()) == 7).then(value).otherwise(pl.col(name)).alias(name)
        )

    tamper_after(monkeypatch, "features", lambda: rewrite(parts, "features", poison))
    ran = worlds.run(parts, DAY_STAGES, DAY)
    evaluation = ran.checks["finite_and_known_in_time"]
    assert not ran.success
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"| AAA | 2024-01-01 | {name} holds 1 values that are not finite |" in str(
        evaluation.metadata["faults"].value
    )


def test_features_built_on_other_bars_are_refused(built: Platform) -> None:
    rewrite(built, "minute_bars", one_more("volume"))
    evaluation = check_alone(built, "finite_and_known_in_time")
    assert not evaluation.passed
    assert "the bars have changed since these features were built" in str(
        evaluation.metadata["faults"].value
    )


def test_features_of_older_code_are_refused(built: Platform) -> None:
    with psycopg.connect(built.database_url()) as connection:
        connection.execute("update datasets set code_version = 'older' where dataset = 'features'")
    evaluation = check_alone(built, "finite_and_known_in_time")
    assert not evaluation.passed
    assert "built by features older, this is" in str(evaluation.metadata["faults"].value)


def test_planted_leak_is_caught_and_stops_the_run_before_signals(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = FEATURES[0]
    # Tomorrow's newspaper: the next bar's close.
    leak = Feature(
        name=honest.name,
        formula="c[+1] / c - 1",
        unit=honest.unit,
        look_back=honest.look_back,
        source="planted",
        expr=(pl.col("close").shift(-1).fill_null(pl.col("close")) / pl.col("close")) - 1.0,
    )
    planted = (leak, *FEATURES[1:])
    leaky = functools.partial(compute_features, features=planted)
    for module in (features_stage, features_step):
        monkeypatch.setattr(module, "compute_features", leaky)
    monkeypatch.setattr(features_step, "audit", functools.partial(audit, features=planted))
    monkeypatch.setattr(models_step, "FEATURE_NAMES", tuple(f.name for f in planted))
    ran = worlds.run(parts, (*DAY_STAGES, "signals"), DAY)
    said = stopped(ran, "finite_and_known_in_time", "signals")
    assert said.startswith(f"{len(FEATURES)} features of 2 symbol-days audited, ")
    faults = str(ran.checks["finite_and_known_in_time"].metadata["faults"].value)
    assert honest.name in faults
    # Only the leak is accused.
    assert not any(f.name in faults for f in FEATURES[1:] if f.name not in honest.name)


@pytest.fixture
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deletes AAA's certificate whenever a run writes BBB's."""
    inner = manifest.put_certificate

    def put(connection: psycopg.Connection, certificate: Any) -> bool:
        done = inner(connection, certificate)
        if certificate.symbol == "BBB":
            connection.execute("delete from certificates where symbol = 'AAA'")
        return done

    monkeypatch.setattr(manifest, "put_certificate", put)


@pytest.mark.usefixtures("_forgetful")
def test_certificate_that_is_missing_stops_what_is_built_on_the_day(parts: Platform) -> None:
    ran = worlds.run(parts, DAY_STAGES, DAY)
    said = stopped(ran, "certificates_are_complete", "cold_ticks")
    assert said == "no certificate for AAA on 2024-01-01"


@pytest.mark.usefixtures("_forgetful")
def test_demo_with_a_failed_check_says_what_the_check_found(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "open_instance", lambda _: dg.DagsterInstance.ephemeral())
    with pytest.raises(TraderError) as told:
        demo.run(parts, demo.plan(parts, "synthetic", (), DAY, DAY))
    assert told.value.what == (
        "a run over 2024-01-01..2024-01-01 failed\n"
        "check certificates_are_complete of synthetic/hot_ticks: "
        "no certificate for AAA on 2024-01-01"
    )


def test_certificate_that_is_incomplete_warns_names_the_ids_and_goes_on(
    parts: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trader_pipelines.venues.synthetic import Synthetic

    inner = Synthetic.fetch_day

    def lossy(self: Synthetic, instrument: Any, day: Any) -> Any:
        fetched = inner(self, instrument, day)
        if instrument.symbol != "BBB":
            return fetched
        return dataclasses.replace(
            fetched, trades=fetched.trades.filter(~pl.col("id").is_between(100, 104))
        )

    monkeypatch.setattr(Synthetic, "fetch_day", lossy)
    ran = worlds.run(parts, DAY_STAGES, DAY)
    assert ran.success
    evaluation = ran.checks["certificates_are_complete"]
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert evaluation.description == "BBB on 2024-01-01 lacks 100-104"
    status = {
        (row["dataset"], row["symbol"]): row["status"]
        for row in worlds.rows(parts.database_url())["datasets"]
    }
    assert {v for (_, symbol), v in status.items() if symbol == "AAA"} == {"complete"}
    assert {v for (_, symbol), v in status.items() if symbol == "BBB"} == {"incomplete"}


def test_cold_file_damaged_on_disk_is_a_readable_failure_of_the_check_step(
    built: Platform,
) -> None:
    (file,) = (built.settings.cold_root / "cold_ticks").rglob("symbol=AAA/**/*.parquet")
    file.write_bytes(file.read_bytes()[:-10] + b"0123456789")
    ran = worlds.run(built, ("bars",), DAY)
    (told,) = ran.failures.values()
    assert str(told.description).startswith("ChecksumError: the file's content has changed")
    assert str(file) in str(told.metadata["where"].value)
    assert ran.materialized == []
