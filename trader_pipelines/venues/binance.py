"""The venue `binance` over its REST API: trades by id through ccxt, proven by its klines."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import polars as pl

from trader_pipelines.core.errors import BadAnswerError, MissingDataError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import KlineReconciliation, reconcile_with_klines
from trader_pipelines.core.trades import NS_PER_DAY, TRADES, utc_day_bounds
from trader_pipelines.venues.asking import API_PATIENCE
from trader_pipelines.venues.base import DayTrades
from trader_pipelines.venues.binance_api import LIMIT, Api
from trader_pipelines.venues.binance_rows import Print, frame
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.days import Today, check_day, utc_today
from trader_pipelines.venues.patience import Patience


@dataclass(frozen=True)
class Binance:
    """Spot aggregate trades from Binance's REST API.

    Parameters
    ----------
    name : str
        The venue's name in the universe.
    url : str, optional
        Base of the API in place of Binance's own: ``https://data-api.binance.vision/api/v3``.
    today : callable
        Tells the current UTC day.
    patience : Patience
        Tries, waits and time-out of each request.
    longest_skew : float
        Seconds that this machine's clock may differ from the venue's.
    limit : int
        Weight a minute that the venue allows this address.
    budget : Budget, optional
        In place of the process's own.
    """

    name: str = "binance"
    url: str | None = field(default=None, repr=False)
    today: Today = utc_today
    patience: Patience = API_PATIENCE
    longest_skew: float = 60.0
    limit: int = LIMIT
    budget: Budget | None = field(default=None, repr=False)

    @cached_property
    def _api(self) -> Api:
        return Api(self.name, self.url, self.patience, self.longest_skew, self.limit, self.budget)

    @property
    def synthetic(self) -> bool:
        """False: these are real trades."""
        return False

    @property
    def sequential_ids(self) -> bool:
        """True: Binance counts a symbol's aggregate trades by one."""
        return True

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        """All aggregate trades of one UTC day, and what the venue's minute klines say of them.

        The first page is asked for by time, the others by id, so that no trade of equal time falls
        between two pages. Ids that the venue does not have stay holes, which the certificate names.
        When no trade of a later day proves that the last page was the last, the klines must.

        Returns
        -------
        DayTrades
            `reconciled` holds what `KlineReconciliation.told` says, and ``rest_rows``.

        Raises
        ------
        UnknownSymbolError, DayNotOverError, MissingDataError
            When there can be no such day: not in the universe, unknown to the venue, delisted, in
            the future, or before the symbol's first trade.
        BadAnswerError
            When the venue answers what cannot be true, again and again.
        KeyRefusedError, ClockError, VenueBannedError, VenueUnreachableError
        """
        check_day(self.name, instrument, day, self.today)
        self._api.check_clock()
        where = self._api.where(instrument, f"day {day}")
        start, end = utc_day_bounds(day)
        klines = self._api.klines(instrument, day)
        got = _Gathered()
        got.take(self._api.day(instrument, start, end))
        for _ in range(self.patience.attempts):
            trades = got.trades()
            agreed = reconcile_with_klines(trades, klines, instrument)
            edge = _lacking_edge(agreed, trades)
            if not edge:
                break
            # Either the pages ended too early or a kline is wrong: both are asked for again.
            klines = self._api.klines(instrument, day)
            if edge == "tail" and got.last is not None:
                got.take(self._api.after(instrument, got.last, end))
            else:
                got = _Gathered()
                got.take(self._api.day(instrument, start, end))
        else:
            raise BadAnswerError(
                f"the venue's klines count trades before the first or after the last of "
                f"{got.rows} that it gives",
                where=where,
                remedy="try again later; nothing was stored",
                retry=True,
            )
        if not got.rows:
            self._explain_empty(instrument, day, where)
        return DayTrades(
            trades,
            source=f"aggTrades over REST, {instrument.symbol} {day}",
            reconciled={"rest_rows": got.rows, **agreed.told()},
            void_ids=tuple(got.void_ids),
        )

    def fetch_from(self, instrument: Instrument, trade_id: int) -> Iterator[pl.DataFrame]:
        """Trades from an id on to the latest, page by page; a failure keeps the pages before it.

        Yields
        ------
        DataFrame
            Of schema `TRADES`, not empty, ascending through all pages.

        Raises
        ------
        TraderError
            As `fetch_day`, at the page that failed.
        """
        for page in self._api.walk(instrument, trade_id, ends=2):
            trades = frame(page)
            if trades.height:
                yield trades

    def fetch_ids(self, instrument: Instrument, first: int, last: int) -> Iterator[pl.DataFrame]:
        """Trades of an inclusive range of ids, page by page, without those that the venue lacks."""
        for page in self._api.walk(instrument, first, last=last, ends=2):
            trades = frame(page)
            if trades.height:
                yield trades

    def klines(self, instrument: Instrument, day: date) -> pl.DataFrame:
        """The venue's own minute bars of a UTC day, of schema `core.reconciliation.KLINES`."""
        return self._api.klines(instrument, day)

    def check_clock(self) -> None:
        """Compare this machine's clock with the venue's; at most once an hour.

        Raises
        ------
        ClockError
        """
        self._api.check_clock()

    def instruments(self, symbols: Mapping[str, date]) -> tuple[Instrument, ...]:
        """Instruments with the grid that the venue has now, from ``exchangeInfo``.

        Parameters
        ----------
        symbols : mapping
            Symbol to the first day in the universe. The venue's present grid may be coarser or
            finer than that of its history.

        Raises
        ------
        UnknownSymbolError
        """
        return tuple(
            Instrument(self.name, symbol, *_steps(self._api.listing(symbol)), since=since)
            for symbol, since in symbols.items()
        )

    def _explain_empty(self, instrument: Instrument, day: date, where: str) -> None:
        """Tell a day without trades from one before the listing or after the delisting."""
        first = self._api.first(instrument)
        if first and first.ts_event >= utc_day_bounds(day)[0] + NS_PER_DAY:
            since = datetime.fromtimestamp(first.ts_event / 1e9, UTC)
            raise MissingDataError(
                f"{instrument.id} had not been listed on {day}: its first trade is of "
                f"{since:%Y-%m-%d %H:%M} UTC",
                where=where,
                remedy=f"set since: {since:%Y-%m-%d} for it in universe.yaml",
            )
        status = self._api.listing(instrument.symbol).get("status")
        if status != "TRADING":
            raise UnknownSymbolError(
                f"{instrument.id} has no trade on {day} and the venue lists it as {status}",
                where=where,
                remedy="give it the day `until` of its last trade in universe.yaml",
            )


@dataclass
class _Gathered:
    """Pages of a day as they come in."""

    frames: list[pl.DataFrame] = field(default_factory=lambda: [TRADES.to_frame()])
    void_ids: list[int] = field(default_factory=list)
    rows: int = 0
    last: Print | None = None

    def take(self, pages: Iterable[list[Print]]) -> None:
        for page in pages:
            self.frames.append(frame(page))
            self.void_ids += [trade.id for trade in page if trade.first < 0]
            self.rows += len(page)
            self.last = page[-1]

    def trades(self) -> pl.DataFrame:
        return pl.concat(self.frames)


def _lacking_edge(agreed: KlineReconciliation, trades: pl.DataFrame) -> str:
    """Where the klines count more than came: up to the first minute, or from the last on."""
    minutes = agreed.lacking()["minute"]
    if minutes.is_empty():
        return ""
    if trades.is_empty():
        return "head"
    first, last = (trades["ts_event"][at].replace(second=0, microsecond=0) for at in (0, -1))
    if (minutes <= first).any():
        return "head"
    return "tail" if (minutes >= last).any() else ""


def _steps(listing: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    filters = {row["filterType"]: row for row in listing["filters"]}
    tick, lot = filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]
    return Decimal(str(tick)), Decimal(str(lot))
