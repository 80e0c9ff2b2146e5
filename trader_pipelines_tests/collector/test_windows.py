"""Alpaca live against the test exchange: every trade once, or its window named."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from trader_pipelines.collector.status import Status
from trader_pipelines.core.certificates import certify
from trader_pipelines.platform import Platform
from trader_pipelines.steps.ticks import ingest
from trader_pipelines.stores import hot, manifest
from trader_pipelines.venues.stream_alpaca import AlpacaFeed
from trader_pipelines_tests.collector.windows_process import MINUTE, PROVING, Venue, stocks
from trader_pipelines_tests.collector.windows_runs import (
    accounted_for,
    collected,
    stored,
    truth,
    until,
    windows_of,
)
from trader_pipelines_tests.exchange.faults import mixture
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import alpaca_exchange as made

STOCKS = stocks(["SYAA", "SYAB"])
#: 600 trades of two symbols in four minutes of a summer's session.
TAPE = "alpaca=synthetic:2:2.5:240:2024-07-09T14:00"
BEGIN = 1_720_533_600_000_000_000
END = BEGIN + 4 * MINUTE


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange(
        [TAPE],
        rate="1500",
        live_from="start",
        start_symbols=2,
        clock="tape",
        request_limit=10**9,
    ) as running:
        yield running


def begun(running: Running, *faults: dict[str, Any], spec: Any = None) -> Venue:
    """The tape from its beginning, under these faults."""
    running.tell("reset", replay=True, limits=True, faults=spec or list(faults))
    return Venue(running.urls["port"])


def check(running: Running, connection: psycopg.Connection, status: Status) -> None:
    assert accounted_for(status, END)
    for stock in STOCKS:
        assert stored(connection, stock, made.DAY).equals(truth(running, stock, made.DAY))


#: Under these the stream tells every trade, so that REST has nothing to add.
HARMLESS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "duplicate": [{"kind": "duplicate", "rate": 0.1}],
    "reorder": [{"kind": "reorder", "rate": 0.1, "by": 15}],
    "stall": [{"kind": "stall", "at": [200], "seconds": 0.5}],
    "garble": [{"kind": "garble", "rate": 0.05}],
}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "drop": [{"kind": "drop", "rate": 0.05}],
    "first prints": [{"kind": "drop", "at": [1, 2, 3]}],
    "last prints": [{"kind": "drop", "at": [597, 598, 599, 600]}],
    "disconnect": [{"kind": "disconnect", "at": [100, 400], "lose": 40}],
    "polite disconnect": [{"kind": "disconnect", "at": [300], "lose": 40, "code": 1001}],
    "hole in the stream": [{"kind": "hole", "first": 40, "last": 300, "where": ["stream"]}],
    "cancel": [{"kind": "cancel", "rate": 0.02}],
    "correct": [{"kind": "correct", "rate": 0.02}],
}


@pytest.mark.parametrize("name", FAULTS)
def test_collect_windows_stream_fault_every_trade_once(
    exchange: Running, conn: psycopg.Connection, database_url: str, name: str
) -> None:
    venue = begun(exchange, *FAULTS[name])
    status = collected(venue, STOCKS, database_url, until(END), begin=BEGIN)
    check(exchange, conn, status)
    assert status.counts["windows_changed"] > 0


@pytest.mark.parametrize("name", HARMLESS)
def test_collect_windows_harmless_fault_everything_comes_by_the_stream(
    exchange: Running, conn: psycopg.Connection, database_url: str, name: str
) -> None:
    venue = begun(exchange, *HARMLESS[name])
    # Held against the bars only when all has been heard, however fast this machine is.
    proving = replace(PROVING, delay=300.0)
    status = collected(venue, STOCKS, database_url, until(END), begin=BEGIN, proving=proving)
    check(exchange, conn, status)
    assert status.counts["stored"] == 600
    assert status.counts["windows_changed"] == 0


def test_collect_windows_nothing_told_everything_comes_over_rest_and_the_stream_is_reopened(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue = begun(exchange, {"kind": "drop", "rate": 1.0})
    exchange.tell("replay", rate="150")  # so that the bars are looked at minute by minute
    try:
        status = collected(venue, STOCKS, database_url, until(END), begin=BEGIN)
    finally:
        exchange.tell("replay", rate="1500")
    check(exchange, conn, status)
    assert status.counts["stored"] == 0
    assert status.connections[0]["connects"] >= 2
    assert status.connections[0]["trouble"] == "the bars have trades, the stream none"


def test_collect_windows_rest_lacks_what_the_stream_told_is_kept_and_named(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    hole = {"kind": "hole", "first": 100, "last": 110, "where": ["rest"]}
    venue = begun(exchange, hole)
    status = collected(venue, STOCKS, database_url, until(END, whole=False), begin=BEGIN)
    for stock in STOCKS:
        told = windows_of(status.symbols[stock.symbol])
        assert told.windows == [
            "2024-07-09 14:00 to 14:01: REST lacks 6 trades that the stream told"
        ]
        assert told.missing == [(BEGIN, BEGIN + MINUTE - 1)]
        assert not told.contiguous
        assert stored(conn, stock, made.DAY).equals(truth(exchange, stock, made.DAY))


def test_collect_windows_bar_counts_more_than_anybody_has_is_named(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue = begun(exchange, {"kind": "wrong_kline"})
    status = collected(venue, STOCKS, database_url, until(END, whole=False), begin=BEGIN)
    for stock in STOCKS:
        assert stored(conn, stock, made.DAY).equals(truth(exchange, stock, made.DAY))
        (window, *_) = windows_of(status.symbols[stock.symbol]).windows
        assert "the bar counts" in window


class Mute(AlpacaFeed):
    """A stream that tells no revision."""

    def decode(self, *told: Any) -> Any:
        heard = super().decode(*told)
        heard.revisions.clear()
        return heard


@pytest.mark.parametrize("kind", ["cancel", "correct"])
@pytest.mark.parametrize("feed", [AlpacaFeed, Mute], ids=["told", "found by the bars"])
def test_collect_windows_late_revision_replaces_its_minute(
    exchange: Running,
    conn: psycopg.Connection,
    database_url: str,
    kind: str,
    feed: type[AlpacaFeed],
) -> None:
    venue = replace(begun(exchange), kind=feed)
    whole, revised = until(END), False
    before = 0

    def look(venue: Venue, status: Status) -> bool:
        nonlocal revised, before
        if not whole(venue, status):
            return False
        if not revised:
            revised, before = True, status.counts["windows_changed"]
            exchange.tell("revise", venue="alpaca", symbol="SYAA", id=202, kind=kind)
        return status.counts["windows_changed"] > before

    status = collected(venue, STOCKS, database_url, look, begin=BEGIN)
    check(exchange, conn, status)
    got = stored(conn, STOCKS[0], made.DAY)
    assert got.height == (299 if kind == "cancel" else 300)


def test_collect_windows_going_on_keeps_what_is_proven_and_fetches_what_nobody_heard(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue = begun(exchange, {"kind": "drop", "rate": 0.02})
    exchange.tell("replay", rate="400")

    def half(venue: Venue, status: Status) -> bool:
        return status.counts["stored"] > 250

    try:
        first = collected(venue, STOCKS, database_url, half, begin=BEGIN)
        assert not first.contiguous
        check(exchange, conn, collected(venue, STOCKS, database_url, until(END), begin=BEGIN))
    finally:
        exchange.tell("replay", rate="1500")


def test_collect_windows_without_begin_the_whole_session_is_there(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue = begun(exchange)
    exchange.tell("replay", start=True)

    while not venue.clock.state()["replay"]["done"]:
        pass
    check(exchange, conn, collected(venue, STOCKS, database_url, until(END)))


def test_collect_windows_of_a_certified_day_reopens_it(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    venue = begun(exchange)
    kept = truth(exchange, STOCKS[0], made.DAY)
    for stock, trades in zip(STOCKS, (kept[1:], truth(exchange, STOCKS[1], made.DAY)), strict=True):
        hot.write_day(conn, stock, made.DAY, trades)
        certificate = certify(
            trades,
            venue="alpaca",
            symbol=stock.symbol,
            day=made.DAY,
            source="test",
            synthetic=False,
            reconciled={},
            sequential=False,
        )
        manifest.put_certificate(conn, certificate)
    conn.commit()
    check(exchange, conn, collected(venue, STOCKS, database_url, until(END), begin=BEGIN))
    assert conn.execute("select symbol from reopened").fetchall() == [("SYAA",)]


def test_collect_windows_then_day_close_is_the_tape(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    faults = [{"kind": "drop", "rate": 0.1}, {"kind": "cancel", "rate": 0.02}]
    venue = begun(exchange, *faults)

    def begun_only(venue: Venue, status: Status) -> bool:
        return bool(venue.clock.state()["replay"]["done"])

    status = collected(venue, STOCKS, database_url, begun_only, proving=replace(PROVING, delay=1e6))
    assert not accounted_for(status, END)
    conn.autocommit = True
    for stock in STOCKS:
        wanted = truth(exchange, stock, made.DAY)
        assert not hot.read_day(conn, stock, made.DAY).equals(wanted)
        certificate = ingest(conn, Platform(), venue.rest(), stock, made.DAY)
        assert hot.read_day(conn, stock, made.DAY).equals(wanted)
        assert certificate.count == wanted.height


@pytest.mark.parametrize(
    "seeds",
    [range(12), pytest.param(range(12, 212), marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
    ids=["short", "long"],
)
def test_collect_windows_mixtures_every_trade_once_or_its_window_named(
    exchange: Running, conn: psycopg.Connection, database_url: str, seeds: range
) -> None:
    whole = 0
    for seed in seeds:
        conn.execute("truncate hot_ticks")
        conn.commit()
        # A print's chance is a fiftieth of the rate; one seed in three has revisions too.
        stream = mixture(seed, ["stream"], rate=0.9)
        rest = mixture(seed, ["request", "answer", "rows"], rate=0.1, wait=0.02)
        for entry in rest["faults"]:
            entry["on"] = "alpaca.stocks.*"
        revisions = [{"kind": kind, "rate": 0.01} for kind in ("cancel", "correct")]
        faults = [*stream["faults"], *rest["faults"], *(revisions if seed % 3 == 0 else [])]
        venue = begun(exchange, spec={"seed": seed, "faults": faults})
        status = collected(venue, STOCKS, database_url, until(END, whole=False), begin=BEGIN)
        whole += _whole_or_named(exchange, conn, status)
    assert whole >= 0.9 * len(seeds)


def _whole_or_named(running: Running, conn: psycopg.Connection, status: Status) -> bool:
    named = False
    for stock in STOCKS:
        got, wanted = stored(conn, stock, made.DAY), truth(running, stock, made.DAY)
        assert got["id"].is_sorted()
        assert got["ts_event"].is_sorted()
        missing = status.symbols[stock.symbol].missing
        for first, last in missing:
            named = True
            inside = got["id"].is_between(first, last)
            got = got.filter(~inside)
            wanted = wanted.filter(~wanted["id"].is_between(first, last))
        assert got.equals(wanted)
    return not named
