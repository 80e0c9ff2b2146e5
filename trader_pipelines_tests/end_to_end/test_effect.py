"""A market that nothing can predict crowns nobody; one with a weak effect does, and says what it is."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trader_pipelines import demo
from trader_pipelines.settings import PACKAGED_UNIVERSE, Settings
from trader_pipelines.stores import datasets
from trader_pipelines.stores.datasets import Key
from trader_pipelines_tests.end_to_end import worlds

#: Two or three weeks to learn from, and the Monday after them.
TWO_WEEKS, THREE_WEEKS = date(2024, 1, 15), date(2024, 1, 22)
WEEKS = [date(2024, 1, 1), date(2024, 1, 8), date(2024, 1, 15)]
TRADES = 5_000
TWO_SYMBOLS = ("ALPHAUSD", "BRAVOUSD")


def run(
    home: Path, url: str, last: date, symbols: tuple[str, ...] = (), **more: Any
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The demo's summary and all rows, in the packaged universe with its default effect."""
    parts = worlds.platform(
        home, url, universe_file=PACKAGED_UNIVERSE, synthetic_trades=TRADES, **more
    )
    what = demo.plan(parts, "synthetic", symbols, worlds.MONDAY, last)
    return demo.run(parts, what), worlds.rows(url)


def test_market_without_effect_promotes_no_model_in_any_week(
    tmp_path: Path, database_url: str
) -> None:
    summary, rows = run(tmp_path, database_url, THREE_WEEKS, TWO_SYMBOLS, synthetic_effect=0.0)
    assert [(row["week"], row["version"]) for row in rows["champions"]] == [
        (week, None) for week in WEEKS
    ]
    assert all(row["reason"].startswith("kept back: ") for row in rows["champions"])
    # There were candidates, and enough days to judge the last ones by.
    assert len(rows["models"]) == 3
    assert [row["decision"]["days"] >= 5 for row in rows["champions"]] == [False, True, True]
    for row in summary["symbols"].values():
        assert (row["signals"], row["last_signal"]) == (0, None)
        assert row["model"]["promoted"] is False
    kept = [row for row in rows["datasets"] if row["dataset"] == "signals"]
    # A day without a champion is recorded as such: a file without a row.
    assert len(kept) > 0
    assert {(row["rows"], row["inputs"]["model"]) for row in kept} == {(0, "none")}


def test_market_with_the_default_effect_promotes_a_model_that_speaks_and_is_marked(
    tmp_path: Path, database_url: str
) -> None:
    assert Settings.model_fields["synthetic_effect"].default > 0
    summary, rows = run(tmp_path, database_url, TWO_WEEKS)
    promoted = [row["version"] for row in rows["champions"] if row["version"]]
    assert promoted
    assert rows["champions"][-1]["version"] is not None
    assert rows["champions"][-1]["decision"]["skill"] > 0
    assert summary["synthetic"] is True
    for row in summary["symbols"].values():
        assert row["signals"] > 1_000
        assert row["synthetic"] is True
        assert row["model"]["version"] == rows["champions"][-1]["version"]
        assert row["last_signal"]["synthetic"] is True
        assert row["last_signal"]["model_version"] == row["model"]["version"]
        assert row["last_signal"]["source"].startswith("synthetic market, seed 7, effect 0.35")
    # The mark is on every model, every file of the way and every single signal.
    assert {row["synthetic"] for row in rows["models"]} == {True}
    assert {row["synthetic"] for row in rows["datasets"]} == {True}
    assert signals(tmp_path, database_url)["synthetic"].unique().to_list() == [True]


def signals(home: Path, url: str) -> pl.DataFrame:
    """All signals of the last day."""
    parts = worlds.platform(home, url, universe_file=PACKAGED_UNIVERSE)
    names = sorted(parts.universe.venue("synthetic").instruments)
    with parts.connect() as connection:
        frames = [
            datasets.get(
                connection, parts.settings.cold_root, Key("signals", "synthetic", name, TWO_WEEKS)
            )[0]
            for name in names
        ]
    return pl.concat(frames)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(1, 9))
def test_market_without_effect_promotes_nobody_whatever_the_seed(
    tmp_path: Path, database_url: str, seed: int
) -> None:
    _, rows = run(tmp_path, database_url, THREE_WEEKS, synthetic_effect=0.0, synthetic_seed=seed)
    assert [row["version"] for row in rows["champions"]] == [None, None, None]
