"""Certificates name what is missing: ids where a venue counts them, minutes where it does not."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from trader_pipelines.core.certificates import Certificate, Status, certify, worst
from trader_pipelines.core.reconciliation import KLINES, reconcile_with_klines
from trader_pipelines_tests.core.made_bars import an_instrument, trades_of

TRADES = trades_of(*((n, n * 10.0, 100, 5, 1, 1) for n in (1, 2, 3, 7, 9)))


def issued(trades: pl.DataFrame = TRADES, **told: Any) -> Certificate:
    settings: dict[str, Any] = {"reconciled": {}, "sequential": True, **told}
    return certify(
        trades,
        venue="venue",
        symbol="BTCUSDT",
        day=date(2024, 1, 2),
        source="a tape",
        synthetic=False,
        **settings,
    )


def test_certificate_of_sequential_ids_names_the_holes() -> None:
    found = issued()
    assert (found.status, found.missing) == (Status.INCOMPLETE, ((4, 6), (8, 8)))
    assert (found.missing_count, found.describe_missing()) == (4, "4-6, 8")


def test_certificate_of_ids_that_do_not_count_is_complete_without_a_word_of_the_venue() -> None:
    found = issued(sequential=False, reconciled={"bars_minutes_differing": 0})
    assert (found.status, found.missing, found.describe_missing()) == (Status.COMPLETE, (), "")


def test_certificate_whose_venue_counts_more_trades_is_incomplete_and_names_the_minutes() -> None:
    # 10, 20 and 30 seconds, 70 and 90: two in the second minute, where the venue counts three.
    minutes = TRADES["ts_event"].dt.truncate("1m").unique(maintain_order=True)
    bars = pl.DataFrame(
        {"minute": minutes, "fills": [3, 3], "size": [15, 15], "bought": [None, None]},
        schema=KLINES,
    )
    agreed = reconcile_with_klines(TRADES, bars, an_instrument())
    found = issued(sequential=False, reconciled=agreed.told("bars"))
    assert (found.status, found.missing) == (Status.INCOMPLETE, ())
    assert found.describe_missing() == "trades of 00:01"


def test_certificate_of_void_ids_counts_them_as_there() -> None:
    assert issued(void_ids=(4, 5, 6)).missing == ((8, 8),)
    assert issued(void_ids=(4, 5, 6, 8)).status is Status.COMPLETE


@pytest.mark.parametrize(
    ("statuses", "weakest"),
    [
        ((), Status.COMPLETE),
        ((Status.COMPLETE, Status.HEALED), Status.HEALED),
        ((Status.INCOMPLETE, Status.HEALED, Status.COMPLETE), Status.INCOMPLETE),
    ],
)
def test_worst_of_several_days_is_the_weakest(
    statuses: tuple[Status, ...], weakest: Status
) -> None:
    assert worst(statuses) is weakest
