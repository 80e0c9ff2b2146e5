"""The venue `alpaca`: US equities and crypto trades through alpaca-py, proven by its bars."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from trader_pipelines.core.errors import BadAnswerError, DayNotOverError, MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.sessions import session_bounds
from trader_pipelines.core.trades import utc_day_bounds
from trader_pipelines.venues import alpaca_spool
from trader_pipelines.venues.alpaca_api import Api
from trader_pipelines.venues.alpaca_bars import Bar, differs
from trader_pipelines.venues.alpaca_client import LIMIT, PAGE, Client
from trader_pipelines.venues.alpaca_rows import Row, settle
from trader_pipelines.venues.alpaca_windows import Window, Windows
from trader_pipelines.venues.asking import API_PATIENCE
from trader_pipelines.venues.base import DayTrades
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.days import Today, check_day, utc_today
from trader_pipelines.venues.patience import Patience

CALENDAR = "XNYS"


@dataclass(frozen=True)
class Alpaca:
    """Trades of US equities (or of crypto) as Alpaca has them.

    Alpaca numbers a day's trades by exchange, so a lost trade leaves no hole: what proves a day
    whole are the venue's own minute bars.

    Parameters
    ----------
    name : str
        The venue's name in the universe.
    key, secret : str
        ``ALPACA_API_KEY`` and ``ALPACA_API_SECRET``.
    url : str, optional
        ``ALPACA_BASE_URL``, in place of Alpaca's own addresses.
    crypto : bool
        Crypto over UTC days; else US equities over sessions of the New York exchange, extended
        hours included (04:00 to 20:00 there).
    feed : str
        Of equities: ``sip`` (all exchanges, by subscription) or ``iex``.
    paper : bool
        Whether the key is one of a paper account.
    spool : Path, optional
        Folder that keeps the pages of an unfinished day, so that the next try goes on after them.
    limit : int
        Requests a minute of the plan.
    page : int
        Rows that are asked for at once; 10,000 is the venue's most.
    now : callable
        Nanoseconds since the epoch.
    """

    name: str = "alpaca"
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    url: str | None = field(default=None, repr=False)
    crypto: bool = False
    feed: str = "sip"
    paper: bool = True
    spool: Path | None = None
    limit: int = LIMIT
    page: int = PAGE
    today: Today = utc_today
    now: Callable[[], int] = time.time_ns
    patience: Patience = API_PATIENCE
    budget: Budget | None = field(default=None, repr=False)

    @property
    def synthetic(self) -> bool:
        """False: these are real trades."""
        return False

    @property
    def sequential_ids(self) -> bool:
        """False: a hole in the ids says nothing; see `alpaca_rows.settle` for what they are."""
        return False

    def bounds(self, day: date) -> tuple[int, int]:
        """First nanosecond of the day's session and the first one after it (crypto: UTC day).

        Raises
        ------
        MissingDataError
            On a day without a session.
        """
        return utc_day_bounds(day) if self.crypto else session_bounds(CALENDAR, day)

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        """All trades of one session that stand, after cancellations and corrections.

        Returns
        -------
        DayTrades
            `void_ids` are the trades that the venue cancelled or replaced. `reconciled` holds the
            rows it gave, those two counts, and what its bars say; ``bars_lacking`` names the
            minutes in which the bars count trades that nobody gave.

        Raises
        ------
        UnknownSymbolError, DayNotOverError, MissingDataError
            When there can be no such day.
        KeyRefusedError, EntitlementError
            When the key is not good, or not for this feed; asked once.
        BadAnswerError, VenueUnreachableError
            When the venue answers what cannot be true, or nothing.
        """
        check_day(self.name, instrument, day, self.today)
        where = self._where(instrument, day)
        start, end = self.bounds(day)
        if self.now() < end:
            raise DayNotOverError(
                f"the session of {day} is still going on",
                where=where,
                remedy="wait until its extended hours are over",
                retry=True,
            )
        rows = self._whole(instrument, day, where)
        rows, agreed, _ = self._windows.completed(instrument, rows, start, end, where)
        told = settle(rows)
        if not rows:
            self._explain_empty(instrument, day, agreed.fills, where)
        if self.spool is not None:
            alpaca_spool.forget(self._spooled(instrument, day))
        return DayTrades(
            told.trades,
            source=f"alpaca {'crypto' if self.crypto else self.feed} trades over REST, "
            f"{instrument.symbol} {day}",
            reconciled={
                "rest_rows": len(rows),
                "canceled": told.canceled,
                "corrected": told.corrected,
                **agreed.told("bars"),
            },
            void_ids=told.void_ids,
        )

    def pages(self, instrument: Instrument, start: int, end: int) -> Iterator[list[Row]]:
        """The venue's rows from one nanosecond to before another, page by page.

        Rows of one stamp may come twice: `alpaca_rows.merged` counts them once. A failure keeps the
        pages before it, and asking again from the last stamp goes on after them.
        """
        return self.api.pages(instrument, start, end)

    def bars(self, instrument: Instrument, start: int, end: int) -> list[dict[str, Any]]:
        """The venue's minute bars as it wrote them (decimals as text), with ``ns`` added."""
        return self.api.bars(instrument, start, end)

    def minute_bars(
        self, instruments: Sequence[Instrument], start: int, end: int
    ) -> dict[Instrument, dict[int, Bar]]:
        """Minute bars of many symbols, by the minute's start in nanoseconds; one request or few."""
        return self.api.bars_of(instruments, start, end)

    def window(self, instrument: Instrument, start: int, end: int, kept: list[Row]) -> Window:
        """Rows of whole minutes, and how they agree with the bars, asked for until they do.

        Parameters
        ----------
        start, end : int
            Nanoseconds since the epoch, the ends of minutes.
        kept : list of Row
            Grows page by page. After a failure, the same list goes on where it ended.

        Raises
        ------
        TraderError
            As `fetch_day`.
        """
        return self._windows.fetch(instrument, start, end, kept)

    def recheck(self, instrument: Instrument, day: date, trades: pl.DataFrame) -> bool:
        """Whether the venue's bars now say something else than these trades of a day.

        Alpaca takes trades back, and reports some late, after the day. One request, seldom two.
        Seen are changed counts and volumes, and average prices that differ by a millionth: not the
        corrected price of a trade that weighs less than that in its minute.

        Parameters
        ----------
        trades : DataFrame
            Of schema `TRADES`, as they are stored.

        Raises
        ------
        TraderError
            As `fetch_day`.
        """
        bars = self.minute_bars([instrument], *self.bounds(day))[instrument]
        return differs(trades, bars, instrument)

    @cached_property
    def api(self) -> Api:
        """What asks for trades and bars."""
        return Api(self.client, self.crypto, self.feed, self.page)

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self.api, self.name)

    @cached_property
    def client(self) -> Client:
        """What asks; also for calendar and news, see `alpaca_reference`."""
        return Client(
            self.name,
            self.key,
            self.secret,
            self.url,
            self.paper,
            self.limit,
            self.patience,
            self.budget,
        )

    def _whole(self, instrument: Instrument, day: date, where: str) -> list[Row]:
        start, end = self.bounds(day)
        if self.spool is None:
            return self._windows.merged(self.pages(instrument, start, end), where)
        place = self._spooled(instrument, day)
        before = alpaca_spool.kept(place)
        for page in self.pages(instrument, before[-1].ts_event if before else start, end):
            alpaca_spool.keep(place, page)
        return self._windows.merged([alpaca_spool.kept(place)], where)

    def _explain_empty(self, instrument: Instrument, day: date, told: int, where: str) -> None:
        """A session without any trade: the symbol had not been listed, is gone, or never was."""
        if told:
            raise BadAnswerError(
                f"venue {self.name} gives no trades of {instrument.symbol} on {day}, and its bars "
                f"count {told}",
                where=where,
                remedy="try again later; nothing was stored",
                retry=True,
            )
        if self.crypto:
            return
        raise MissingDataError(
            f"venue {self.name} has neither trades nor bars of {instrument.symbol} on {day}",
            where=where,
            remedy="check the symbol; give it the days `since` and `until` in universe.yaml when "
            "it was listed later or has been delisted",
        )

    def _spooled(self, instrument: Instrument, day: date) -> Path:
        assert self.spool is not None
        return alpaca_spool.folder(self.spool, self.name, instrument.symbol, day)

    def _where(self, instrument: Instrument, day: date) -> str:
        return f"venue {self.name}, symbol {instrument.symbol}, day {day}"
