"""The venue `alpaca`: US equities and crypto trades through alpaca-py, proven by its bars."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from trader_pipelines.core.errors import BadAnswerError, DayNotOverError, MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import KlineReconciliation, reconcile_with_klines
from trader_pipelines.core.sessions import session_bounds
from trader_pipelines.core.trades import utc_day_bounds
from trader_pipelines.venues import alpaca_spool
from trader_pipelines.venues.alpaca_api import Api
from trader_pipelines.venues.alpaca_client import LIMIT, PAGE, Client
from trader_pipelines.venues.alpaca_rows import Row, merged, settle
from trader_pipelines.venues.asking import API_PATIENCE, SuspectError
from trader_pipelines.venues.base import DayTrades
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.days import Today, check_day, utc_today
from trader_pipelines.venues.patience import Patience

CALENDAR = "XNYS"

_MINUTE = 60_000_000_000
_ROUNDS = 4  # of asking again for what the bars count and the trades lack


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
        rows, agreed = self._completed(instrument, rows, start, end, where)
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

    @cached_property
    def api(self) -> Api:
        """What asks for trades and bars."""
        return Api(self.client, self.crypto, self.feed, self.page)

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
            return self._merged(self.pages(instrument, start, end), where)
        place = self._spooled(instrument, day)
        before = alpaca_spool.kept(place)
        for page in self.pages(instrument, before[-1].ts_event if before else start, end):
            alpaca_spool.keep(place, page)
        return self._merged([alpaca_spool.kept(place)], where)

    def _merged(self, pages: Iterable[Sequence[Row]], where: str) -> list[Row]:
        try:
            return merged(pages)
        except SuspectError as error:
            raise BadAnswerError(
                f"venue {self.name} contradicts itself: {error}",
                where=where,
                remedy="try again later; nothing was stored",
                retry=True,
            ) from None

    def _completed(
        self, instrument: Instrument, rows: list[Row], start: int, end: int, where: str
    ) -> tuple[list[Row], KlineReconciliation]:
        """Ask again, bars and trades, while they disagree; keep what they come to."""
        for _ in range(_ROUNDS):
            agreed = self._agreed(instrument, rows, start, end)
            if agreed.agrees:
                break
            for first, last in _runs(agreed.differing["minute"].dt.epoch("ns").to_list()):
                asked = self.pages(instrument, max(first, start), min(last, end))
                again = self._merged(asked, where)
                within = [row for row in rows if first <= row.ts_event < last]
                self._merged([within, again], where)  # no contradiction
                # As it is told now: a trade may have been cancelled since it was first told.
                now = {row.identity for row in again}
                kept = [row for row in within if row.identity not in now]
                outside = [row for row in rows if not first <= row.ts_event < last]
                rows = sorted([*outside, *again, *kept], key=lambda row: row.ts_event)
        return rows, self._agreed(instrument, rows, start, end) if not agreed.agrees else agreed

    def _agreed(
        self, instrument: Instrument, rows: Sequence[Row], start: int, end: int
    ) -> KlineReconciliation:
        bars = self.api.klines(instrument, start, end)
        return reconcile_with_klines(settle(rows).trades, bars, instrument)

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


def _runs(minutes: Sequence[int], gap: int = 5) -> list[tuple[int, int]]:
    """Minutes that lie close together as spans of time, each end excluded."""
    spans: list[list[int]] = []
    for minute in minutes:
        if spans and minute <= spans[-1][1] + gap * _MINUTE:
            spans[-1][1] = minute + _MINUTE
        else:
            spans.append([minute, minute + _MINUTE])
    return [(first, last) for first, last in spans]
