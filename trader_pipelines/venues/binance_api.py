"""Binance's public REST API through ccxt: pages by time and by id, klines, listing, clock."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
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
from trader_pipelines.venues.ccxt_client import Client, Clocks, check_clocks
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
_CLOCK_GOOD_FOR = 3_600_000_000_000

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
    bans: Path | None = field(default=None, repr=False)

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
            used_header="X-MBX-USED-WEIGHT-1M",
            patience=self.patience,
            own_budget=self.own_budget,
            bans=self.bans,
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
        """Compare this machine's clock with the venue's: by its last answer, or by asking it.

        Raises
        ------
        ClockError
        """
        clocks = self._client.clocks
        if clocks is None or time.time_ns() - clocks.received > _CLOCK_GOOD_FOR:
            sent = [0]

            def stamp() -> dict[str, Any]:
                sent[0] = time.time_ns()
                return {}

            def read(got: Any) -> Clocks:
                if not isinstance(got, dict) or not isinstance(got.get("serverTime"), int):
                    raise SuspectError("no serverTime where the venue's time belongs")
                return Clocks(nanoseconds(got["serverTime"]), sent[0], time.time_ns())

            clocks = self._ask("time", stamp, read, f"clock of venue {self.name}", "")
        check_clocks(self.name, clocks, self.longest_skew)

    def day(self, instrument: Instrument, start: int, end: int) -> Iterator[list[Print]]:
        """Pages of a day (nanoseconds, `end` excluded): the first by time, the others by id."""
        page, whole = self.first_page(instrument, start, end)
        if page:
            yield page
        if not whole:
            yield from self.after(instrument, page[-1].id, end, page[-1])

    def first_page(self, instrument: Instrument, start: int, end: int) -> tuple[list[Print], bool]:
        """The page by time that a day begins with, up to its first hole; and if that is all."""
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
        return sound, len(sound) == len(page) < PAGE

    def after(
        self, instrument: Instrument, last: int, end: int, before: Print | None = None
    ) -> Iterator[list[Print]]:
        """Pages of a day that follow an id, until a print is of a later day."""
        for page in self.walk(instrument, last + 1, before=before):
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
        """Pages by id. A short page ends it once `ends` answers in a row had nothing more.

        A page that is short although it does not reach an id that the venue gave before is none.
        """
        where = self.where(instrument, f"ids from {from_id}")
        at, hole_at, quiet, known = from_id, -1, 0, -1
        while last is None or at <= last:
            limit = PAGE if last is None else min(PAGE, last - at + 1)
            asked = {"symbol": instrument.symbol, "fromId": at, "limit": limit}

            def read(
                got: Any,
                at: int = at,
                limit: int = limit,
                before: Print | None = before,
                known: int = known,
            ) -> list[Print]:
                page = read_prints(got, instrument, from_id=at, limit=limit, where=where)
                reached = page[-1].id if page else -1
                if len(page) < limit and reached < known and at <= known:
                    raise SuspectError(f"{len(page)} trades from {at} on, which end before {known}")
                check_spaces([before, *page[:1]] if before else [])
                return page

            page = self._ask("aggTrades", asked, read, where, instrument.symbol)
            known = max(known, page[-1].id) if page else known
            # Asked twice for the same missing id, the venue does not have it: that is a hole.
            if page and page[0].id > at and hole_at != at:
                hole_at = at
                continue
            kept = _sound_part(page)
            within = [trade for trade in kept if last is None or trade.id <= last]
            if within:
                yield within
                before, at, quiet = kept[-1], kept[-1].id + 1, 0
            if last is not None and len(within) < len(kept):
                return
            if len(kept) < len(page):
                continue
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

    def first_day(self, symbol: str) -> date:
        """The UTC day of a symbol's first trade, by its first daily kline."""
        where = f"venue {self.name}, symbol {symbol}, first day"

        def read(got: Any) -> date:
            try:
                opened = nanoseconds(int(got[0][0]))
            except (TypeError, ValueError, LookupError):
                raise SuspectError("no daily kline where the first one belongs") from None
            return datetime.fromtimestamp(opened // 10**9, UTC).date()

        asked = {"symbol": symbol, "interval": "1d", "startTime": 0, "limit": 1}
        found: date = self._ask("klines", asked, read, where, symbol)
        return found

    def latest(self, instrument: Instrument) -> Print | None:
        """The symbol's latest trade."""
        where = self.where(instrument, "latest trade")

        def read(got: Any) -> list[Print]:
            return read_prints(got, instrument, from_id=0, limit=1, where=where)

        asked = {"symbol": instrument.symbol, "limit": 1}
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
