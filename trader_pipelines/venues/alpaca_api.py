"""Alpaca's trades and bars page by page, going on after page tokens that expired."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trader_pipelines.core.errors import BadAnswerError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.alpaca_bars import Bar, minutes, read_bars
from trader_pipelines.venues.alpaca_client import PAGE, Client, TokenExpiredError
from trader_pipelines.venues.alpaca_rows import Row, merged, read_trades
from trader_pipelines.venues.asking import SuspectError

_QUOTES = ("USDT", "USDC", "USD", "BTC")
_MINUTE = 60_000_000_000
_SYMBOLS = 100  # of one request


@dataclass(frozen=True)
class Api:
    """What `trader_pipelines.venues.alpaca.Alpaca` asks; its parameters are explained there."""

    client: Client
    crypto: bool = False
    feed: str = "sip"
    page: int = PAGE

    def pages(self, instrument: Instrument, start: int, end: int) -> Iterator[list[Row]]:
        """The venue's rows from one nanosecond to before another, page by page.

        When a page token expires, the pages go on from the last stamp: rows of that stamp come
        twice, and `alpaca_rows.merged` counts them once.
        """
        where = f"venue {self.client.name}, symbol {instrument.symbol}, trades"
        symbol = self.symbol(instrument)
        at = start
        for _ in range(self.client.patience.attempts):
            query = self._query(symbol, at, end)

            def read(got: Any, at: int = at) -> list[Row]:
                page = read_trades(got, symbol, instrument, at, end, where)
                merged([page])
                return page

            try:
                for page in self.client.pages(
                    self._of, self._path("trades"), query, read, where=where, symbol=symbol
                ):
                    if page:
                        yield page
                        at = page[-1].ts_event
            except TokenExpiredError:
                continue
            return
        raise self._tokens(where)

    def bars(self, instrument: Instrument, start: int, end: int) -> list[dict[str, Any]]:
        """The venue's minute bars as it wrote them (decimals as text), with ``ns`` added."""
        symbol = self.symbol(instrument)
        where = f"venue {self.client.name}, symbol {instrument.symbol}, bars"
        query = {**self._query(symbol, start, end), "timeframe": "1Min"}

        def read(got: Any) -> list[dict[str, Any]]:
            return read_bars(got, symbol, instrument, start - start % _MINUTE, end)

        for _ in range(self.client.patience.attempts):
            try:
                pages = self.client.pages(
                    self._of, self._path("bars"), query, read, where=where, symbol=symbol
                )
                return [bar for page in pages for bar in page]
            except TokenExpiredError:
                continue
        raise self._tokens(where)

    def bars_of(
        self, instruments: Sequence[Instrument], start: int, end: int
    ) -> dict[Instrument, dict[int, Bar]]:
        """Minute bars of many symbols at once, by minute: ten thousand of them a request."""
        found: dict[Instrument, dict[int, Bar]] = {each: {} for each in instruments}
        for at in range(0, len(instruments), _SYMBOLS):
            part = instruments[at : at + _SYMBOLS]
            for instrument, bars in self._bars_of(part, start, end).items():
                found[instrument] = minutes(bars, instrument)
        return found

    def _bars_of(
        self, instruments: Sequence[Instrument], start: int, end: int
    ) -> dict[Instrument, list[dict[str, Any]]]:
        names = {self.symbol(each): each for each in instruments}
        symbols = ",".join(names)
        where = f"venue {self.client.name}, {len(names)} symbols, bars"
        query = {**self._query(symbols, start, end), "timeframe": "1Min", "limit": PAGE}

        def read(got: Any) -> dict[str, list[dict[str, Any]]]:
            told = got.get("bars") if isinstance(got, dict) else ()
            if told is not None and (not isinstance(told, dict) or set(told) - set(names)):
                raise SuspectError("bars of symbols that were not asked for")
            low = start - start % _MINUTE
            return {
                name: read_bars({"bars": {name: rows}}, name, names[name], low, end)
                for name, rows in (told or {}).items()
            }

        for _ in range(self.client.patience.attempts):
            found: dict[Instrument, list[dict[str, Any]]] = {each: [] for each in instruments}
            try:
                for page in self.client.pages(
                    self._of, self._path("bars"), query, read, where=where, symbol=symbols
                ):
                    for name, bars in page.items():
                        found[names[name]] += bars
            except TokenExpiredError:
                continue
            return found
        raise self._tokens(where)

    def symbol(self, instrument: Instrument) -> str:
        """The venue's way to write it."""
        return venue_symbol(instrument, crypto=self.crypto)

    @property
    def _of(self) -> str:
        return "crypto" if self.crypto else "stocks"

    def _path(self, what: str) -> str:
        return f"/crypto/us/{what}" if self.crypto else f"/stocks/{what}"

    def _query(self, symbol: str, start: int, end: int) -> dict[str, Any]:
        query: dict[str, Any] = {"symbols": symbol, "limit": self.page, "sort": "asc"}
        query |= {"start": rfc3339(start), "end": rfc3339(end - 1)}
        # The symbol of that day, not of what it was renamed to since.
        return query if self.crypto else {**query, "feed": self.feed, "asof": "-"}

    def _tokens(self, where: str) -> BadAnswerError:
        return BadAnswerError(
            f"venue {self.client.name} does not take its own page tokens, "
            f"{self.client.patience.attempts} times",
            where=where,
            remedy="try again later",
            retry=True,
        )


def venue_symbol(instrument: Instrument, *, crypto: bool) -> str:
    """The venue's way to write it: crypto ``BTCUSD`` is ``BTC/USD``."""
    name = instrument.symbol
    if not crypto or "/" in name:
        return name
    quote = next((q for q in _QUOTES if name.endswith(q) and len(name) > len(q)), "")
    return f"{name.removesuffix(quote)}/{quote}" if quote else name


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch as Alpaca reads them, all nine digits."""
    moment = datetime.fromtimestamp(ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"
