"""Any exchange of ccxt as a venue: whole days and ranges of ids, nothing stored unchecked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, utc_day_bounds
from trader_pipelines.venues.asking import API_PATIENCE
from trader_pipelines.venues.base import DayTrades, RangeTrades
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.ccxt_capabilities import Capabilities
from trader_pipelines.venues.ccxt_client import Client, check_clocks
from trader_pipelines.venues.ccxt_pages import FILLS, Fill, Pages
from trader_pipelines.venues.days import Today, check_day, check_listed, utc_today
from trader_pipelines.venues.patience import Patience
from trader_pipelines.venues.spool import Spool, day_spool

_MINUTE = 60_000_000_000

#: A day is read from so long before it, that its first id follows one of the day before.
_LEAD = 10 * _MINUTE

#: So many holes between ids are asked for again; an exchange with more of them counts otherwise.
_ASKED_AGAIN = 50

_GUESSES = 4


@dataclass(frozen=True)
class CcxtVenue:
    """Trades of one exchange through ccxt, by pages that overlap.

    Parameters
    ----------
    can : Capabilities
        What the exchange can do.
    name : str
        The venue's name in the universe.
    settings : mapping
        Of the ccxt exchange, over its defaults: urls, options.
    url : str
        Scheme and host of its API in place of its own.
    longest_skew : float
        Seconds that this machine's clock may differ from the venue's.
    spool : Path, optional
        Folder in which the pages of a day wait until the day is whole.
    """

    can: Capabilities
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    today: Today = utc_today
    patience: Patience = API_PATIENCE
    budget: Budget | None = field(default=None, repr=False)
    url: str = field(default="", repr=False)
    longest_skew: float = 60.0
    spool: Path | None = field(default=None, repr=False)

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
            `reconciled` holds ``rest_rows``, of pages each of which was proven to join the one
            before it.

        Raises
        ------
        UnknownSymbolError, DayNotOverError
            When there can be no such day.
        MissingDataError
            When it lies further back than the exchange gives trades.
        BadAnswerError, KeyRefusedError, VenueBannedError, VenueUnreachableError
        """
        check_day(self.name, instrument, day, self.today)
        where = self._where(instrument, day)
        self._check_history(day, where)
        start, end = utc_day_bounds(day)
        spool = self._spool(instrument, day)
        known = [Fill(*row) for row in spool.kept(FILLS).iter_rows()] if spool else []
        every = {fill.key: fill for fill in known}
        until = start - _LEAD, lambda fill: fill.ts_event >= end
        for page in self._pages.since(instrument, *until, where, known):
            every |= {fill.key: fill for fill in page}
            if spool:
                spool.keep(page[0].ts_event, pl.DataFrame(page, schema=FILLS, orient="row"))
        # A day must not be called over by a clock that is off.
        if self._client.clocks is not None:
            check_clocks(self.name, self._client.clocks, self.longest_skew)
        if self.can.sequential_ids:
            every = self._without_holes(instrument, every, start, end, where)
        fills = [fill for fill in every.values() if start <= fill.ts_event < end]
        if spool:
            spool.forget()
        return DayTrades(
            self._frame(fills),
            source=f"{self.can.exchange} trades over REST, {instrument.symbol} {day}",
            reconciled={"rest_rows": len(fills)},
        )

    def fetch_range(self, instrument: Instrument, day: date, first: int, last: int) -> RangeTrades:
        """What there is of the ids `first` to `last` on a day, read from before the first of them.

        Where the range begins is guessed from the pages read so far. What lacks is asked for twice.
        Without sequential ids, which only the day as a whole gives, the day is read.

        Raises
        ------
        TraderError
            As `fetch_day`.
        """
        if not self.can.sequential_ids:
            trades = self.fetch_day(instrument, day).trades
            within = trades.filter(pl.col("id").is_between(first, last))
        else:
            check_listed(self.name, instrument, day)
            where = self._where(instrument, day)
            self._check_history(day, where)
            start, end = utc_day_bounds(day)
            found: dict[int, Fill] = {}
            for _ in range(2):
                at, begun = self._before(instrument, start, end, first, where)
                until = at, lambda fill: fill.ts_event >= end or int(fill.key) >= last
                for page in chain([begun], self._pages.since(instrument, *until, where, begun)):
                    kept = (f for f in page if first <= int(f.key) <= last)
                    found |= {int(f.key): f for f in kept if start <= f.ts_event < end}
                if len(found) == last - first + 1:
                    break
            within = self._frame([found[key] for key in sorted(found)])
        source = f"{self.can.exchange} trades over REST, {instrument.symbol} ids {first} to {last}"
        return RangeTrades(within, source)

    def _without_holes(
        self, instrument: Instrument, every: Mapping[str, Fill], start: int, end: int, where: str
    ) -> dict[str, Fill]:
        """Trades by id; what lacks is asked for again, at the day's edges as well."""
        known = {int(key): fill for key, fill in every.items()}
        holes = [
            (a, b)
            for a, b in pairwise(sorted(known))
            if b > a + 1 and known[a].ts_event < end and known[b].ts_event >= start
        ]
        for a, b in holes[:_ASKED_AGAIN]:
            until = known[a].ts_event, lambda fill, b=b: int(fill.key) >= b
            for page in self._pages.since(instrument, *until, where):
                known |= {int(fill.key): fill for fill in page if a < int(fill.key) < b}
        return {str(key): known[key] for key in sorted(known)}

    def _before(
        self, instrument: Instrument, start: int, end: int, first: int, where: str
    ) -> tuple[int, list[Fill]]:
        """A moment that id `first` does not come before, and the page there if it was read."""
        at = (start + end) // 2
        for tried in count():
            if end - start <= _MINUTE or at <= start:
                break
            page = self._pages.at(instrument, at, None, {}, where)
            if page and int(page[0].key) < first <= int(page[-1].key):
                return at, page
            if page and int(page[-1].key) < first:
                start = max(at, page[-1].ts_event)
            else:
                end = at
            # A guess goes astray where trades come in bursts; halving does not.
            at = _guess(page, first) if page and tried < _GUESSES else (start + end) // 2
            at = at if at < end else (start + end) // 2
        return start, []

    def _spool(self, instrument: Instrument, day: date) -> Spool | None:
        return day_spool(self.spool, instrument, day) if self.spool else None

    def _where(self, instrument: Instrument, day: date) -> str:
        return f"venue {self.name}, symbol {instrument.symbol}, day {day}"

    def _check_history(self, day: date, where: str) -> None:
        if self.can.history is not None and day < self.today() - self.can.history:
            raise MissingDataError(
                f"venue {self.name} gives trades of the last {self.can.history.days} days only",
                where=where,
                remedy="take that day from an archive",
            )

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

    @cached_property
    def _pages(self) -> Pages:
        return Pages(self.can, self.name, self._client)

    @cached_property
    def _client(self) -> Client:
        settings = {"has": {"fetchCurrencies": False}, **self.settings}
        return Client(
            self.can.exchange,
            self.name,
            self.can.requests_a_minute,
            settings,
            self.url,
            patience=self.patience,
            own_budget=self.budget,
        )


def _guess(page: list[Fill], wanted: int) -> int:
    """Where a page would have an id in its middle, if trades came evenly."""
    a, b = page[0], page[-1]
    ids = max(int(b.key) - int(a.key), 1)
    pace = (b.ts_event - a.ts_event) / ids
    return int(a.ts_event + (wanted - int(a.key) - ids / 2) * pace)
