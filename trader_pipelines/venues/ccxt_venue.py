"""Any exchange of ccxt as a venue: pages that overlap, exact text, nothing stored unchecked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

from trader_pipelines.core.errors import BadAnswerError, MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, utc_day_bounds
from trader_pipelines.venues.asking import API_PATIENCE, SuspectError
from trader_pipelines.venues.base import DayTrades
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.ccxt_capabilities import Capabilities, Paging
from trader_pipelines.venues.ccxt_client import Client
from trader_pipelines.venues.days import Today, check_day, utc_today
from trader_pipelines.venues.decimals import NotANumberError, TooFineError, scaled, too_fine
from trader_pipelines.venues.patience import Patience
from trader_pipelines.venues.refusals import unknown_symbol

_SIDES = {"buy": 1, "sell": -1, None: 0}


class Fill(NamedTuple):
    """One trade; `key` is the venue's identity as it wrote it."""

    key: str
    ts_event: int
    price: int
    size: int
    side: int


@dataclass(frozen=True)
class CcxtVenue:
    """Trades of one exchange through ccxt's unified `fetch_trades`.

    Each page begins at the last stamp of the one before, so it has to hold the last trade again:
    that proves that nothing lies between them. Trades are told apart by the venue's ids.

    Parameters
    ----------
    can : Capabilities
        What the exchange can do.
    name : str
        The venue's name in the universe.
    settings : mapping
        Of the ccxt exchange, over its defaults: urls, options.
    """

    can: Capabilities
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    today: Today = utc_today
    patience: Patience = API_PATIENCE
    budget: Budget | None = field(default=None, repr=False)

    @property
    def synthetic(self) -> bool:
        """False: these are real trades."""
        return False

    @property
    def sequential_ids(self) -> bool:
        """As the exchange's capabilities state it."""
        return self.can.sequential_ids

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        """All trades of one UTC day.

        Without sequential ids a trade's id is its stamp in nanoseconds, or one more than the id
        before it where that is taken.

        Returns
        -------
        DayTrades
            `reconciled` holds ``rest_rows`` and ``rest_overlaps``, the pages that were proven to
            join the one before them.

        Raises
        ------
        UnknownSymbolError, DayNotOverError
            When there can be no such day.
        MissingDataError
            When it lies further back than the exchange gives trades.
        BadAnswerError, KeyRefusedError, VenueBannedError, VenueUnreachableError
        """
        check_day(self.name, instrument, day, self.today)
        where = f"venue {self.name}, symbol {instrument.symbol}, day {day}"
        if self.can.history is not None and day < self.today() - self.can.history:
            raise MissingDataError(
                f"venue {self.name} gives trades of the last {self.can.history.days} days only",
                where=where,
                remedy="take that day from an archive",
            )
        start, end = utc_day_bounds(day)
        pages = list(self._pages(instrument, start, end, where))
        fills = {fill.key: fill for page in pages for fill in page if start <= fill.ts_event < end}
        return DayTrades(
            self._frame(list(fills.values())),
            source=f"{self.can.exchange} trades over REST, {instrument.symbol} {day}",
            reconciled={"rest_rows": len(fills), "rest_overlaps": max(len(pages) - 1, 0)},
        )

    def _pages(
        self, instrument: Instrument, start: int, end: int, where: str
    ) -> Iterator[list[Fill]]:
        """Pages from `start` until one reaches `end`, or two in a row bring nothing new."""
        seen: dict[str, Fill] = {}
        last: Fill | None = None
        quiet = 0
        while quiet < 2:
            at = start if last is None else last.ts_event
            page = self._page(instrument, at, last, seen, where)
            fresh = [fill for fill in page if fill.key not in seen]
            quiet = 0 if fresh else quiet + 1
            if fresh:
                yield page
                seen |= {fill.key: fill for fill in fresh}
                last = page[-1]
            if last is not None and last.ts_event >= end:
                return
            if not fresh and len(page) >= self.can.largest_page:
                raise BadAnswerError(
                    f"more than {self.can.largest_page} trades have one stamp: the exchange's "
                    "pages cannot go past it",
                    where=where,
                    remedy="take that day from an archive",
                )

    def _page(
        self,
        instrument: Instrument,
        at: int,
        last: Fill | None,
        seen: Mapping[str, Fill],
        where: str,
    ) -> list[Fill]:
        since: int | None = at // 1_000_000
        params: dict[str, Any] = {}
        if self.can.paging is Paging.CURSOR:
            since, params = None, {self.can.cursor: str(at - 1)}

        def call(exchange: Any) -> list[Fill]:
            symbol = self._market(exchange, instrument, where)
            got = exchange.fetch_trades(symbol, since, self.can.largest_page, params)
            page = self._read(got, instrument, where)
            if any(seen.get(fill.key, fill) != fill for fill in page):
                raise SuspectError("one id stands for two different trades")
            if last is not None and all(fill.key != last.key for fill in page):
                raise SuspectError(f"the page does not hold {last.key}, the last trade before it")
            return page

        return self._client.ask(call, weight=1, symbol=instrument.symbol, where=where)

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

    def _frame(self, fills: list[Fill]) -> pl.DataFrame:
        ids: list[int] = []
        for fill in fills:
            bumped = max(fill.ts_event, ids[-1] + 1 if ids else 0)
            ids.append(int(fill.key) if self.can.sequential_ids else bumped)
        columns = {
            "id": ids,
            **{name: [getattr(f, name) for f in fills] for name in ("ts_event", "price", "size")},
            "side": [fill.side for fill in fills],
            "fills": [1] * len(fills),
        }
        return pl.DataFrame(columns, schema=dict.fromkeys(TRADES, pl.Int64)).cast(TRADES)

    def _market(self, exchange: Any, instrument: Instrument, where: str) -> str:
        """Find the symbol in ccxt of an instrument: ``BTC/USD`` for ``BTCUSD``."""
        for market in exchange.load_markets().values():
            names = (market["base"] + market["quote"], market["id"])
            if market["spot"] and instrument.symbol in names:
                return str(market["symbol"])
        raise unknown_symbol(self.name, instrument.symbol, where)

    @cached_property
    def _client(self) -> Client:
        settings = {"has": {"fetchCurrencies": False}, **self.settings}
        return Client(
            self.can.exchange,
            self.name,
            self.can.requests_a_minute,
            settings,
            patience=self.patience,
            own_budget=self.budget,
        )
