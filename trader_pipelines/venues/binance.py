"""The venue `binance` over its REST API: trades by id through ccxt, proven by its klines."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from trader_pipelines.core.errors import BadAnswerError, MissingDataError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import reconcile_with_klines
from trader_pipelines.core.trades import NS_PER_DAY, TRADES, utc_day_bounds
from trader_pipelines.venues.asking import API_PATIENCE
from trader_pipelines.venues.base import DayTrades, RangeTrades
from trader_pipelines.venues.binance_api import LIMIT, Api
from trader_pipelines.venues.binance_day import ENDS, Gathered, gather
from trader_pipelines.venues.binance_rows import PRINTS, frame
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.days import Today, check_day, check_listed, utc_today
from trader_pipelines.venues.patience import Patience
from trader_pipelines.venues.spool import Spool, day_spool


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
    spool : Path, optional
        Folder in which the pages of a day wait until the day is whole.
    bans : Path, optional
        Folder by which the processes of this machine tell each other of bans.
    """

    name: str = "binance"
    url: str | None = field(default=None, repr=False)
    today: Today = utc_today
    patience: Patience = API_PATIENCE
    longest_skew: float = 60.0
    limit: int = LIMIT
    budget: Budget | None = field(default=None, repr=False)
    spool: Path | None = field(default=None, repr=False)
    bans: Path | None = field(default=None, repr=False)

    @cached_property
    def _api(self) -> Api:
        return Api(
            self.name,
            self.url,
            self.patience,
            self.longest_skew,
            self.limit,
            self.budget,
            self.bans,
        )

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
        return self.complete_day(instrument, day, TRADES.to_frame())

    def complete_day(self, instrument: Instrument, day: date, have: pl.DataFrame) -> DayTrades:
        """`fetch_day`, given the trades of the day that are stored already; the same comes out.

        Asked for is what lacks between the ids, after the last one, and before the first one when
        the klines count more there. Stored trades of minutes that the klines tell otherwise are
        asked for again: what the venue says now wins.

        Parameters
        ----------
        have : DataFrame
            Of schema `TRADES`, ascending by `id`.
        """
        check_day(self.name, instrument, day, self.today)
        got = Gathered(_of_day(have, day), self._spool(instrument, day))
        if got.spool:
            got.resume(got.spool.kept(PRINTS))
        agreed = gather(self._api, instrument, day, got, self.patience.attempts)
        trades, void_ids = got.trades(), got.void_ids
        if trades.is_empty():
            self._explain_empty(instrument, day, self._api.where(instrument, f"day {day}"))
        if got.spool:
            got.spool.forget()
        return DayTrades(
            trades,
            source=f"aggTrades over REST, {instrument.symbol} {day}",
            reconciled={"rest_rows": trades.height + len(void_ids), **agreed.told()},
            void_ids=void_ids,
        )

    def fetch_range(self, instrument: Instrument, day: date, first: int, last: int) -> RangeTrades:
        """What there is of the ids `first` to `last` on a day; an id that lacks was asked twice.

        Trades of the range that belong to another day are left out.

        Raises
        ------
        UnknownSymbolError, BadAnswerError, KeyRefusedError, VenueUnreachableError
        """
        check_listed(self.name, instrument, day)
        got = Gathered(TRADES.to_frame())
        got.take(self._api.walk(instrument, first, last=last, ends=ENDS))
        got.told = got.told.filter(pl.col("ts_event").is_between(*utc_day_bounds(day), "left"))
        source = f"aggTrades over REST, {instrument.symbol} ids {first} to {last}"
        return RangeTrades(got.trades(), source, got.void_ids)

    def recheck(self, instrument: Instrument, day: date, trades: pl.DataFrame) -> bool:
        """Whether the venue's klines now say otherwise than stored trades of a day do.

        Raises
        ------
        TraderError
            As `fetch_day`.
        """
        check_day(self.name, instrument, day, self.today)
        klines = self._api.klines(instrument, day)
        return not reconcile_with_klines(trades, klines, instrument).agrees

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

    def first_id(self, instrument: Instrument, day: date) -> int:
        """Id of the first trade of a UTC day that need not be over; of the next one if none was.

        One request, two while the day has no trade.

        Raises
        ------
        BadAnswerError
            When the venue says both that the day has trades and that it has none.
        TraderError
            As `fetch_day`.
        """
        start, end = utc_day_bounds(day)
        if page := next(self._api.day(instrument, start, end), None):
            return page[0].id
        latest = self._api.latest(instrument)
        if latest is not None and latest.ts_event >= start:
            raise BadAnswerError(
                f"the venue gives no trade of {day}, and trade {latest.id} of that day or later",
                where=self._api.where(instrument, f"first trade of {day}"),
                remedy="try again later",
                retry=True,
            )
        return latest.id + 1 if latest is not None else 0

    def klines(self, instrument: Instrument, day: date) -> pl.DataFrame:
        """The venue's own minute bars of a UTC day, of schema `core.reconciliation.KLINES`."""
        return self._api.klines(instrument, day)

    def check_clock(self) -> None:
        """Compare this machine's clock with the venue's; asks only when it has not told lately.

        Raises
        ------
        ClockError
        """
        self._api.check_clock()

    def instruments(self, symbols: Iterable[str]) -> tuple[Instrument, ...]:
        """Instruments as the venue lists them now, each since the day of its first trade.

        The present grid may be coarser or finer than that of the history.

        Raises
        ------
        UnknownSymbolError
        """
        return tuple(
            Instrument(
                self.name,
                symbol,
                *_steps(self._api.listing(symbol)),
                since=self._api.first_day(symbol),
            )
            for symbol in symbols
        )

    def _spool(self, instrument: Instrument, day: date) -> Spool | None:
        return day_spool(self.spool, instrument, day) if self.spool else None

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


def _of_day(trades: pl.DataFrame, day: date) -> pl.DataFrame:
    start, end = utc_day_bounds(day)
    stamp = pl.col("ts_event").to_physical()
    return trades.filter(stamp >= start, stamp < end)


def _steps(listing: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    filters = {row["filterType"]: row for row in listing["filters"]}
    tick, lot = filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]
    return Decimal(str(tick)), Decimal(str(lot))
