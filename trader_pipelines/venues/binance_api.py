"""Binance's public REST API through ccxt: pages by time and by id, klines, listing, clock."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import utc_day_bounds
from trader_pipelines.venues.asking import API_PATIENCE, SuspectError
from trader_pipelines.venues.binance_rows import (
    Print,
    check_spaces,
    klines_frame,
    read_klines,
    read_prints,
)
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.ccxt_client import Client, check_clock
from trader_pipelines.venues.decimals import nanoseconds
from trader_pipelines.venues.patience import Patience
from trader_pipelines.venues.refusals import unknown_symbol

#: Request weights and the limit a minute, which ccxt counts too low.
#: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
WEIGHTS = {"time": 1, "exchangeInfo": 20, "aggTrades": 4, "klines": 2}
LIMIT = 6000
PAGE = 1000

_MS = 1_000_000
_MINUTE = 60_000_000_000
_CLOCK_GOOD_FOR = 3600.0

_METHODS = {
    "time": "public_get_time",
    "exchangeInfo": "public_get_exchangeinfo",
    "aggTrades": "public_get_aggtrades",
    "klines": "public_get_klines",
}


@dataclass(frozen=True)
class Api:
    """What `trader_pipelines.venues.binance.Binance` asks; its parameters are explained there."""

    name: str = "binance"
    url: str | None = field(default=None, repr=False)
    patience: Patience = API_PATIENCE
    longest_skew: float = 60.0
    limit: int = LIMIT
    own_budget: Budget | None = field(default=None, repr=False)
    _clock: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def _client(self) -> Client:
        settings: dict[str, Any] = {
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
            # As fine as the archive is; https://developers.binance.com/docs/binance-spot-api-docs
            "headers": {"X-MBX-TIME-UNIT": "MICROSECOND"},
        }
        if self.url:
            settings["urls"] = {"api": {"public": self.url.rstrip("/")}}
        return Client(
            "binance",
            self.name,
            self.limit,
            settings,
            "X-MBX-USED-WEIGHT-1M",
            self.patience,
            self.own_budget,
        )

    def klines(self, instrument: Instrument, day: date) -> pl.DataFrame:
        """The venue's own minute bars of a UTC day, of schema `core.reconciliation.KLINES`."""
        start, end = utc_day_bounds(day)
        where = self.where(instrument, f"klines of {day}")
        rows: list[list[int]] = []
        at = start
        while at < end:
            # Whole pages of minutes, so that a short page cannot hide what follows it.
            until = min(at + PAGE * _MINUTE, end)
            asked = {
                "symbol": instrument.symbol,
                "interval": "1m",
                "startTime": at // _MS,
                "endTime": until // _MS - 1,
                "limit": PAGE,
            }
            rows += self._ask(
                "klines",
                asked,
                lambda got, at=at, until=until: read_klines(got, instrument, at, until - 1),
                where,
                instrument.symbol,
            )
            at = until
        return klines_frame(rows)

    def check_clock(self) -> None:
        """Compare this machine's clock with the venue's; at most once an hour.

        Raises
        ------
        ClockError
        """
        if time.monotonic() < self._clock.get("good_until", 0.0):
            return

        def read(got: Any) -> None:
            if not isinstance(got, dict) or not isinstance(got.get("serverTime"), int):
                raise SuspectError("no serverTime where the venue's time belongs")
            told = nanoseconds(got["serverTime"])
            check_clock(self.name, f"clock of venue {self.name}", told, sent[0], self.longest_skew)

        sent = [0]

        def stamp() -> dict[str, Any]:
            sent[0] = time.time_ns()
            return {}

        self._ask("time", stamp, read, f"clock of venue {self.name}", "")
        self._clock["good_until"] = time.monotonic() + _CLOCK_GOOD_FOR

    def day(self, instrument: Instrument, start: int, end: int) -> Iterator[list[Print]]:
        """Pages of a day (nanoseconds, `end` excluded): the first by time, the others by id."""
        where = self.where(instrument, "first page of a day")
        asked = {
            "symbol": instrument.symbol,
            "startTime": start // _MS,
            "endTime": end // _MS - 1,
            "limit": PAGE,
        }

        def read(got: Any) -> list[Print]:
            page = read_prints(got, instrument, from_id=0, limit=PAGE, where=where)
            if any(not start <= trade.ts_event < end for trade in page):
                raise SuspectError("a trade of another day than was asked for")
            return page

        page = self._ask("aggTrades", asked, read, where, instrument.symbol)
        sound = _sound_part(page)
        if sound:
            yield sound
        if len(page) == PAGE or len(sound) < len(page):
            yield from self.after(instrument, sound[-1], end)

    def after(self, instrument: Instrument, last: Print, end: int) -> Iterator[list[Print]]:
        """Pages of a day that follow one of its prints, until a print is of a later day."""
        for page in self.walk(instrument, last.id + 1, before=last):
            within = [trade for trade in page if trade.ts_event < end]
            if within:
                yield within
            if page[-1].ts_event >= end:
                return

    def walk(
        self,
        instrument: Instrument,
        from_id: int,
        *,
        last: int | None = None,
        before: Print | None = None,
        ends: int = 1,
    ) -> Iterator[list[Print]]:
        """Pages by id. A short page ends it once `ends` answers in a row had nothing more."""
        where = self.where(instrument, f"ids from {from_id}")
        at, hole_at, quiet = from_id, -1, 0
        while last is None or at <= last:
            limit = PAGE if last is None else min(PAGE, last - at + 1)
            asked = {"symbol": instrument.symbol, "fromId": at, "limit": limit}

            def read(
                got: Any, at: int = at, limit: int = limit, before: Print | None = before
            ) -> list[Print]:
                page = read_prints(got, instrument, from_id=at, limit=limit, where=where)
                check_spaces([before, *page[:1]] if before else [])
                return page

            page = self._ask("aggTrades", asked, read, where, instrument.symbol)
            # Asked twice for the same missing id, the venue does not have it: that is a hole.
            if page and page[0].id > at and hole_at != at:
                hole_at = at
                continue
            kept = _sound_part(page)
            within = [trade for trade in kept if last is None or trade.id <= last]
            if within:
                yield within
                before, at, quiet = kept[-1], kept[-1].id + 1, 0
            if len(kept) < len(page):
                continue
            if last is not None and len(within) < len(kept):
                return
            if len(page) < limit:
                quiet += 1
                if quiet >= ends:
                    return

    def first(self, instrument: Instrument) -> Print | None:
        """The symbol's first trade ever."""
        where = self.where(instrument, "first trade")

        def read(got: Any) -> list[Print]:
            return read_prints(got, instrument, from_id=0, limit=1, where=where)

        asked = {"symbol": instrument.symbol, "fromId": 0, "limit": 1}
        found: list[Print] = self._ask("aggTrades", asked, read, where, instrument.symbol)
        return found[0] if found else None

    def listing(self, symbol: str) -> Mapping[str, Any]:
        """What ``exchangeInfo`` says of a symbol."""

        def read(got: Any) -> Mapping[str, Any]:
            found = got.get("symbols") if isinstance(got, dict) else None
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise SuspectError("no list of symbols where exchangeInfo belongs")
            for row in found:
                if row.get("symbol") == symbol:
                    return dict(row)
            raise unknown_symbol(self.name, symbol, f"venue {self.name}, exchangeInfo")

        where = f"venue {self.name}, exchangeInfo of {symbol}"
        found: Mapping[str, Any] = self._ask(
            "exchangeInfo", {"symbol": symbol}, read, where, symbol
        )
        return found

    def _ask(self, endpoint: str, asked: Any, read: Any, where: str, symbol: str) -> Any:
        def call(exchange: Any) -> Any:
            method = getattr(exchange, _METHODS[endpoint])
            return read(method(asked() if callable(asked) else dict(asked)))

        return self._client.ask(call, weight=WEIGHTS[endpoint], symbol=symbol, where=where)

    def where(self, instrument: Instrument, about: str) -> str:
        """What errors call a question."""
        return f"venue {self.name}, symbol {instrument.symbol}, {about}"


def _sound_part(page: list[Print]) -> list[Print]:
    """A page up to its first hole in the ids."""
    for at in range(1, len(page)):
        if page[at].id != page[at - 1].id + 1:
            return page[:at]
    return page
