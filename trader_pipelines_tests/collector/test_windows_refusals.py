"""Alpaca's stream refuses: one typed error, asked once; and what a connection limit means."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from trader_pipelines.collector.status import Status
from trader_pipelines.core.errors import (
    ConnectionLimitError,
    EntitlementError,
    KeyRefusedError,
    TraderError,
    UnknownSymbolError,
)
from trader_pipelines.venues.stream_alpaca import AlpacaFeed
from trader_pipelines_tests.collector.windows_process import MINUTE, PROVING, Venue, stocks
from trader_pipelines_tests.collector.windows_runs import collected, stored, truth, until
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import alpaca_exchange as made

(STOCK,) = stocks(["SYAA"])
TAPE = "alpaca=synthetic:1:2.5:120:2024-07-09T14:00"
BEGIN = 1_720_533_600_000_000_000


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange(
        [TAPE], rate="1500", live_from="start", clock="tape", request_limit=10**9
    ) as running:
        yield running


def never(_: Venue, __: Status) -> bool:
    return False


def refused(venue: Venue, url: str) -> TraderError:
    with pytest.raises(TraderError) as caught:
        collected(venue, [STOCK], url, never, begin=BEGIN)
    assert not isinstance(caught.value, ConnectionLimitError)
    assert "test-secret" not in str(caught.value)
    return caught.value


def test_collect_windows_wrong_key_is_refused_once(exchange: Running, database_url: str) -> None:
    exchange.tell("reset", replay=True, limits=True, faults=[])
    before = exchange.ask("state")["connections"]["opened"]
    error = refused(Venue(exchange.urls["port"], key="wrong"), database_url)
    assert isinstance(error, KeyRefusedError)
    assert exchange.ask("state")["connections"]["opened"] - before == 1


def test_collect_windows_no_key_asks_nobody(exchange: Running, database_url: str) -> None:
    before = exchange.ask("state")["connections"]["opened"]
    error = refused(Venue(exchange.urls["port"], key="", crypto=True), database_url)
    assert isinstance(error, KeyRefusedError)
    assert "ALPACA_API_KEY" in error.remedy
    assert exchange.ask("state")["connections"]["opened"] == before


def test_collect_windows_feed_without_subscription_is_an_entitlement(
    exchange: Running, database_url: str
) -> None:
    before = exchange.ask("state")["connections"]["opened"]
    venue = Venue(exchange.urls["port"], key="basic-key", secret="basic-secret")
    error = refused(venue, database_url)
    assert isinstance(error, EntitlementError)
    assert "TRADER_ALPACA_FEED=iex" in error.remedy
    assert exchange.ask("state")["connections"]["opened"] - before == 1


def test_collect_windows_unknown_symbol_over_rest_ends_it(
    exchange: Running, database_url: str
) -> None:
    (wrong,) = stocks(["SYAA1"])
    exchange.tell("reset", replay=True, limits=True, faults=[])
    venue = Venue(exchange.urls["port"])
    venue.clock.ahead = 10 * MINUTE
    with pytest.raises(UnknownSymbolError):
        collected(venue, [wrong], database_url, never, begin=BEGIN)


def test_collect_windows_key_in_use_is_waited_for_and_then_named(
    exchange: Running, conn: psycopg.Connection, database_url: str
) -> None:
    exchange.tell("reset", replay=True, limits=True, faults=[])
    venue = Venue(exchange.urls["port"])

    async def scenario() -> None:
        other = await venue.feed().open([STOCK])
        with pytest.raises(ConnectionLimitError) as caught:
            await venue.collecting(
                [STOCK], database_url, begin=BEGIN, proving=replace(PROVING, crowded=0.3)
            )(asyncio.Event(), lambda _: None)
        assert "one connection a feed" in caught.value.remedy
        # A collector that was killed lets its connection go in the end.
        asyncio.get_running_loop().call_later(0.3, asyncio.ensure_future, other.close())

    async def both() -> None:
        await scenario()
        await asyncio.sleep(0.35)

    asyncio.run(both())
    collected(venue, [STOCK], database_url, until(BEGIN + 2 * MINUTE), begin=BEGIN)
    assert stored(conn, STOCK, made.DAY).equals(truth(exchange, STOCK, made.DAY))


def test_collect_windows_stop_before_anything_opens_returns_at_once(
    exchange: Running, database_url: str
) -> None:
    class Away(AlpacaFeed):
        @property
        def address(self) -> str:
            return "ws://127.0.0.1:9/v2/sip"  # nobody listens there

    venue = replace(Venue(exchange.urls["port"]), kind=Away)
    begun = time.monotonic()

    def look(_: Venue, status: Status) -> bool:
        return time.monotonic() - begun > 0.2 and bool(status.connections[0]["trouble"])

    status = collected(venue, [STOCK], database_url, look, begin=BEGIN)
    assert status.connections[0]["connects"] == 0
    assert not status.contiguous
