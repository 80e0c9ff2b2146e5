"""Pages of trades of any exchange of ccxt: they overlap, their text is exact, each is checked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

from trader_pipelines.core.errors import BadAnswerError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.asking import SuspectError
from trader_pipelines.venues.ccxt_capabilities import Capabilities, Paging
from trader_pipelines.venues.ccxt_client import Client
from trader_pipelines.venues.decimals import NotANumberError, TooFineError, scaled, too_fine
from trader_pipelines.venues.refusals import unknown_symbol

_SIDES = {"buy": 1, "sell": -1, None: 0}


class Fill(NamedTuple):
    """One trade; `key` is the venue's identity as it wrote it."""

    key: str
    ts_event: int
    price: int
    size: int
    side: int


#: One row a `Fill`.
FILLS = pl.Schema(
    {"key": pl.String(), **dict.fromkeys(("ts_event", "price", "size", "side"), pl.Int64())}
)


@dataclass(frozen=True)
class Pages:
    """Trades of one exchange through ccxt's unified `fetch_trades`.

    Each page begins at the last stamp of the one before, so it has to hold the last trade again:
    that proves that nothing lies between them. Trades are told apart by the venue's ids.
    """

    can: Capabilities
    name: str
    client: Client

    def since(
        self,
        instrument: Instrument,
        start: int,
        enough: Callable[[Fill], bool],
        where: str,
        known: Sequence[Fill] = (),
    ) -> Iterator[list[Fill]]:
        """Pages from a moment on until a trade is enough, or two in a row bring nothing new.

        `known` was read from `start` on already: the first page given is the one that follows.
        """
        seen = {fill.key: fill for fill in known}
        last = known[-1] if known else None
        quiet = 0
        while quiet < 2 and not (last is not None and enough(last)):
            at = start if last is None else last.ts_event
            page = self.at(instrument, at, last, seen, where)
            fresh = [fill for fill in page if fill.key not in seen]
            quiet = 0 if fresh else quiet + 1
            if fresh:
                yield page
                seen |= {fill.key: fill for fill in fresh}
                last = page[-1]
            if not fresh and len(page) >= self.can.largest_page:
                raise BadAnswerError(
                    f"more than {self.can.largest_page} trades have one stamp: the exchange's "
                    "pages cannot go past it",
                    where=where,
                    remedy="take that day from an archive",
                )

    def at(
        self,
        instrument: Instrument,
        at: int,
        last: Fill | None,
        seen: Mapping[str, Fill],
        where: str,
    ) -> list[Fill]:
        """The page that begins at a moment; it must hold `last`, and `seen` as it was."""
        since: int | None = at // 1_000_000
        params = dict(self.can.params)
        if self.can.paging is Paging.CURSOR:
            since, params[self.can.cursor] = None, str(at - 1)

        def call(exchange: Any) -> list[Fill]:
            symbol = self._market(exchange, instrument, where)
            got = exchange.fetch_trades(symbol, since, self.can.largest_page, params)
            page = self._read(got, instrument, where)
            if any(seen.get(fill.key, fill) != fill for fill in page):
                raise SuspectError("one id stands for two different trades")
            if last is not None and all(fill.key != last.key for fill in page):
                raise SuspectError(f"the page does not hold {last.key}, the last trade before it")
            return page

        return self.client.ask(call, weight=1, symbol=instrument.symbol, where=where)

    def _read(self, got: Any, instrument: Instrument, where: str) -> list[Fill]:
        if not isinstance(got, list):
            raise SuspectError(f"a {type(got).__name__} where a list of trades belongs")
        fills: dict[str, Fill] = {}
        for number, trade in enumerate(got, 1):
            fill = self._fill(trade, number, instrument, where)
            if fills.setdefault(fill.key, fill) != fill:
                raise SuspectError(f"row {number}: one id stands for two different trades")
        # By id where ids count: ccxt sorts them as text.
        order = list(fills.values())
        if self.can.sequential_ids:
            order.sort(key=lambda fill: int(fill.key))
        elif all(fill.key.isdecimal() for fill in order):
            order.sort(key=lambda fill: (fill.ts_event, int(fill.key)))
        if any(b.ts_event < a.ts_event for a, b in pairwise(order)):
            raise SuspectError("stamps fall")
        return order

    def _fill(self, trade: Any, number: int, instrument: Instrument, where: str) -> Fill:
        if not isinstance(trade, dict):
            raise SuspectError(f"row {number} is {str(trade)[:20]!r}, no trade")
        key, side = str(trade.get("id") or ""), trade.get("side")
        if not key or (self.can.sequential_ids and not key.isdecimal()):
            raise SuspectError(f"row {number}: {key!r} is no id")
        if side not in _SIDES:
            raise SuspectError(f"row {number}: side {side!r}")
        column, text = "price", ""
        try:
            text = str(trade.get("price"))
            price = scaled(text, instrument.price_scale)
            column, text = "size", str(trade.get("amount"))
            size = scaled(text, instrument.size_scale)
            ts = self._stamp(trade)
        except TooFineError:
            raise too_fine(instrument, column, text, f"{where}, id {key}") from None
        except (NotANumberError, LookupError, TypeError):
            raise SuspectError(f"row {number} has no number where one belongs") from None
        if price <= 0 or size <= 0 or ts <= 0:
            raise SuspectError(f"row {number}: price, size or stamp that no trade can have")
        return Fill(key, ts, price, size, _SIDES[side])

    def _stamp(self, trade: Mapping[str, Any]) -> int:
        if self.can.stamp_at is None:
            return int(trade["timestamp"]) * 1_000_000
        return scaled(str(trade["info"][self.can.stamp_at]), 9)

    def _market(self, exchange: Any, instrument: Instrument, where: str) -> str:
        """Find the symbol in ccxt of an instrument: ``BTC/USD`` for ``BTCUSD``."""
        for market in exchange.load_markets().values():
            names = (market["base"] + market["quote"], market["id"])
            if market["spot"] and instrument.symbol in names:
                return str(market["symbol"])
        raise unknown_symbol(self.name, instrument.symbol, where)
