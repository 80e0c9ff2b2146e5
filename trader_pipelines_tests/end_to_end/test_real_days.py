"""Real trades through the whole job: certified without a gap, bars equal to the venue's own."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from trader_pipelines import demo
from trader_pipelines.core.certificates import Status
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.platform import Platform
from trader_pipelines.stores import datasets, manifest
from trader_pipelines.stores.cold import history
from trader_pipelines.stores.datasets import Key
from trader_pipelines_tests import tapes
from trader_pipelines_tests.end_to_end import worlds

OCT_11, OCT_12 = date(2019, 10, 11), date(2019, 10, 12)
NOV_1 = date(2020, 11, 1)
XRP = {"XRPETH": (OCT_11, OCT_12)}
COINS = {"BTCUSDT": (NOV_1,), "ETHUSDT": (NOV_1,)}
DAY_STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
BUILT = ("cold_ticks", "minute_bars", "dollar_bars", "features", "labels")


def binance(home: Path, url: str, base: str) -> Platform:
    return worlds.platform(home, url, worlds.BINANCE, archive_url=base)


@pytest.fixture
def base(tmp_path: Path, market_data: Path) -> str:
    """An archive of the real days."""
    return worlds.archive(tmp_path / "archive", market_data, {**XRP, **COINS})


@pytest.fixture
def torn(tmp_path: Path, market_data: Path) -> tuple[str, int]:
    """The archive of two days without one trade from the middle of the first, and its id."""
    raw = tapes.tape(market_data, "XRPETH", OCT_11)
    lost = raw[len(raw) // 2].id
    return worlds.archive(tmp_path / "archive", market_data, XRP, drop_ids={lost}), lost


def test_demo_on_two_real_days_certifies_every_trade(
    tmp_path: Path, database_url: str, base: str, market_data: Path
) -> None:
    parts = binance(tmp_path / "home", database_url, base)
    summary = demo.run(parts, demo.plan(parts, "binance", ("XRPETH",), OCT_11, OCT_12))
    row = summary["symbols"]["XRPETH"]
    assert summary["synthetic"] is False
    assert (row["trades"], row["days"], row["certificate"]) == (5_929 + 4_134, 2, "complete")
    assert (row["missing"], row["built_on"], row["synthetic"]) == ({}, "complete", False)
    # Each minute from a day's first trade to its last has a bar, those without a trade as well.
    minutes = [
        (day[-1].ms // 60_000) - (day[0].ms // 60_000) + 1
        for day in (tapes.tape(market_data, "XRPETH", day) for day in (OCT_11, OCT_12))
    ]
    assert row["bars"] == sum(minutes)
    assert row["model"] == {
        "version": None,
        "promoted": False,
        "reason": "a whole week from Monday to Sunday is needed to learn from",
        "scores": None,
    }
    assert (row["signals"], row["last_signal"]) == (0, None)


@pytest.mark.parametrize(("symbol", "minutes"), [("BTCUSDT", 58), ("ETHUSDT", 59)])
def test_stored_minute_bars_of_a_real_day_equal_the_venues_own(
    tmp_path: Path, database_url: str, base: str, market_data: Path, symbol: str, minutes: int
) -> None:
    parts = binance(tmp_path / "home", database_url, base)
    ran = worlds.run(parts, DAY_STAGES, NOV_1, venue="binance", symbols=[symbol])
    assert ran.success
    assert {name: check.passed for name, check in ran.checks.items()} == {
        "certificates_are_complete": True,
        "days_join": True,
        "cold_equals_hot": True,
        "bars_reconcile_with_ticks": True,
        "finite_and_known_in_time": True,
    }
    with parts.connect() as connection:
        certificate = manifest.get_certificate(connection, "binance", symbol, NOV_1)
        key = Key("minute_bars", "binance", symbol, NOV_1)
        stored, _ = datasets.get(connection, parts.settings.cold_root, key)
    assert certificate is not None
    assert (certificate.status, certificate.missing) == (Status.COMPLETE, ())
    instrument = parts.universe.venue("binance").instrument(symbol)
    # The first and the last minute may be cut by the tape; all between them are full.
    ours = stored.slice(1, stored.height - 2).select(
        pl.col("ts_open").dt.epoch("ms"), "open", "high", "low", "close", "volume"
    )
    theirs = venues_own_bars(market_data, instrument).filter(
        pl.col("ts_open").is_in(ours["ts_open"].implode())
    )
    assert ours.height == minutes
    assert ours.equals(theirs)


def venues_own_bars(market_data: Path, instrument: Instrument) -> pl.DataFrame:
    """The venue's minute bars as integers on the instrument's grid."""

    def on_grid(name: str) -> pl.Expr:
        scale = instrument.size_scale if name == "volume" else instrument.price_scale
        return (pl.col(name) * float(10**scale)).round().cast(pl.Int64)

    return (
        pl.read_parquet(market_data / "bars" / "binance_spot_1m_tick_days" / "bars.parquet")
        .filter(pl.col("symbol") == instrument.symbol)
        .select(
            pl.col("ts").dt.epoch("ms").alias("ts_open"),
            *(on_grid(name) for name in ("open", "high", "low", "close", "volume")),
        )
    )


def test_run_with_one_trade_removed_names_it_and_goes_on(
    tmp_path: Path, database_url: str, torn: tuple[str, int]
) -> None:
    base, lost = torn
    parts = binance(tmp_path / "home", database_url, base)
    ran = worlds.run(parts, DAY_STAGES, OCT_11, OCT_12, venue="binance", symbols=["XRPETH"])
    assert ran.success
    check = ran.checks["certificates_are_complete"]
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert check.description == f"XRPETH on 2019-10-11 lacks {lost}"
    with parts.connect() as connection:
        first, second = manifest.get_certificates(connection, "binance")
        entries = {
            (name, entry.day): entry.status
            for name in BUILT
            for entry in manifest.get_datasets(connection, name, "binance")
        }
    assert (first.status, first.missing, first.count) == (
        Status.INCOMPLETE,
        ((lost, lost),),
        5_928,
    )
    assert (second.status, second.missing) == (Status.COMPLETE, ())
    # What is built on the torn day says so; of the next day only what reaches back into it.
    expected = {(name, OCT_11): Status.INCOMPLETE for name in BUILT}
    expected |= {(name, OCT_12): Status.COMPLETE for name in BUILT}
    expected[("features", OCT_12)] = Status.INCOMPLETE
    assert entries == expected
    for stage in ("cold_ticks", "bars", "features", "labels"):
        assert "incomplete" in ran.metadata(stage, OCT_11)["by symbol"]
    assert "| incomplete |" not in ran.metadata("bars", OCT_12)["by symbol"]
    assert f"| incomplete | {lost} |" in ran.metadata("hot_ticks", OCT_11)["by symbol"]


def test_demo_with_one_trade_removed_says_so_in_its_summary(
    tmp_path: Path, database_url: str, torn: tuple[str, int]
) -> None:
    base, lost = torn
    parts = binance(tmp_path / "home", database_url, base)
    summary = demo.run(parts, demo.plan(parts, "binance", ("XRPETH",), OCT_11, OCT_12))
    row = summary["symbols"]["XRPETH"]
    assert (row["certificate"], row["built_on"]) == ("incomplete", "incomplete")
    assert row["missing"] == {"2019-10-11": [[lost, lost]]}
    assert row["trades"] == 5_928 + 4_134


def test_day_that_is_mended_later_loses_its_mark(
    tmp_path: Path, database_url: str, torn: tuple[str, int], market_data: Path
) -> None:
    base, _ = torn
    parts = binance(tmp_path / "home", database_url, base)
    assert worlds.run(parts, DAY_STAGES, OCT_11, venue="binance", symbols=["XRPETH"]).success
    worlds.archive(Path(base), market_data, {"XRPETH": (OCT_11,)})
    ran = worlds.run(parts, DAY_STAGES, OCT_11, venue="binance", symbols=["XRPETH"])
    assert ran.checks["certificates_are_complete"].passed
    state = worlds.rows(database_url)
    assert {row["status"] for row in state["datasets"]} == {"complete"}
    assert len(state["hot_ticks"]) == 5_929
    # The files of the torn day were swept away, but for its trades as they were known then.
    with parts.connect() as connection:
        (before,) = history.superseded(connection, "binance")
    assert (before.dataset, before.rows) == ("cold_ticks", 5_928)
    assert set(worlds.files(tmp_path / "home" / "cold")) == {
        f"cold/{path}" for path in (before.path, *(row["path"] for row in state["datasets"]))
    }


def trader(*arguments: str, home: Path, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRADER_")}
    return subprocess.run(
        [str(Path(sys.executable).with_name("trader")), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env={**environment, "TRADER_DATABASE_URL": url, **more},
    )


def test_demo_command_on_an_archive_prints_the_summary_that_it_keeps(
    tmp_path: Path, database_url: str, base: str
) -> None:
    home = tmp_path / "somewhere"
    home.mkdir()
    done = trader(
        "demo", "--archive", base, "--venue", "binance", "--symbols", "XRPETH",
        "--days", "2019-10-11..2019-10-12", "--json",
        home=home, url=database_url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert json.loads((home / ".trader" / "demo" / "summary.json").read_text()) == summary
    row = summary["symbols"]["XRPETH"]
    assert (row["trades"], row["certificate"], row["synthetic"]) == (10_063, "complete", False)
    # Progress is for people: it goes the other way.
    assert "hot_ticks" in done.stderr
    # And the Dagster instance that the web UI opens has the runs.
    with psycopg.connect(database_url) as connection:
        counted = connection.execute("select count(*) from hot_ticks").fetchone()
    assert counted == (10_063,)
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home / ".trader" / "dagster")) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
