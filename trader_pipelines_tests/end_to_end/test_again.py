"""Running again what is done already: the same bytes, the same certificates, nothing rewritten."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from trader_pipelines import demo
from trader_pipelines_tests.end_to_end import worlds

DAY_STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")


def test_partition_run_twice_gives_the_same_bytes_and_rewrites_no_row(
    tmp_path: Path, database_url: str
) -> None:
    parts = worlds.platform(tmp_path, database_url)
    first = worlds.run(parts, DAY_STAGES, worlds.MONDAY, worlds.MONDAY + timedelta(days=1))
    assert first.success
    before = worlds.files(tmp_path / "cold"), worlds.rows(database_url, moments=True)
    second = worlds.run(parts, DAY_STAGES, worlds.MONDAY, worlds.MONDAY + timedelta(days=1))
    assert second.success
    after = worlds.files(tmp_path / "cold"), worlds.rows(database_url, moments=True)
    # Two days of two symbols: ticks, two kinds of bars, features, labels.
    assert len(before[0]) == 20
    assert len(before[1]["certificates"]) == 4
    assert len(before[1]["hot_ticks"]) > 1_000
    assert after == before


def test_whole_chain_run_twice_gives_the_same_models_and_signals(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "open_instance", lambda _: dg.DagsterInstance.ephemeral())
    parts = worlds.platform(tmp_path, database_url)
    what = demo.plan(parts, "synthetic", (), worlds.MONDAY, date(2024, 1, 8))
    one = demo.run(parts, what)
    before = worlds.kept(tmp_path, database_url), worlds.rows(database_url, moments=True)
    two = demo.run(parts, what)
    after = worlds.kept(tmp_path, database_url), worlds.rows(database_url, moments=True)
    assert one == two
    assert len(before[0]["models"]) == 1
    assert worlds.differences(before[0], after[0]) == []
    assert after[1] == before[1]


def test_partitions_run_one_by_one_give_the_bytes_of_one_run_over_the_range(
    tmp_path: Path, database_url: str
) -> None:
    # Days in order: the features of a day are warmed by the bars of the day before.
    days = [worlds.MONDAY + timedelta(days=n) for n in range(3)]
    one, two = (tmp_path / name for name in ("range", "single"))
    ranged = worlds.platform(one, database_url)
    assert worlds.run(ranged, DAY_STAGES, days[0], days[-1]).success
    before = worlds.files(one / "cold"), worlds.rows(database_url, moments=True)
    for day in days:
        assert worlds.run(worlds.platform(two, database_url), DAY_STAGES, day).success
    assert worlds.files(two / "cold") == before[0]
    assert worlds.rows(database_url, moments=True) == before[1]


def test_symbol_run_alone_leaves_the_other_symbol_untouched(
    tmp_path: Path, database_url: str
) -> None:
    parts = worlds.platform(tmp_path, database_url)
    ran = worlds.run(parts, DAY_STAGES, worlds.MONDAY, symbols=["BBB"])
    assert ran.success
    assert {row["symbol"] for row in worlds.rows(database_url)["datasets"]} == {"BBB"}
    assert ran.metadata("hot_ticks", worlds.MONDAY)["dagster/partition_row_count"] == len(
        worlds.rows(database_url)["hot_ticks"]
    )
