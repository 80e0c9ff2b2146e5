"""A day of Binance put together: what was there, the pages it lacks, klines that prove it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import polars as pl

from trader_pipelines.core.certificates import Range, missing_ranges
from trader_pipelines.core.errors import BadAnswerError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import KlineReconciliation, reconcile_with_klines
from trader_pipelines.core.trades import utc_day_bounds
from trader_pipelines.venues.binance_api import PAGE, Api
from trader_pipelines.venues.binance_rows import PRINTS, Print, table, trades_of
from trader_pipelines.venues.spool import Spool

#: So many answers in a row without a trade of a range say that there is none from there on.
ENDS = 4


@dataclass
class Gathered:
    """Trades of a day as they come in; what the venue says now wins over what was there.

    Parameters
    ----------
    stored : DataFrame
        Of schema `TRADES`, ascending by `id`: there before, and not looked at in this call.
    spool : Spool, optional
        Where pages are kept in case that this call does not end.
    """

    stored: pl.DataFrame
    spool: Spool | None = None
    told: pl.DataFrame = field(default_factory=PRINTS.to_frame)

    def take(self, pages: Iterable[list[Print]]) -> bool:
        """Take pages; whether any id came that the venue had not told in this call."""
        before, frames = self.told.height, [self.told]
        for page in pages:
            frames.append(table(page))
            if self.spool:
                self.spool.keep(page[0].id, frames[-1])
        self.told = pl.concat(frames).unique("id", keep="last").sort("id")
        return self.told.height > before

    def resume(self, prints: pl.DataFrame) -> None:
        """Take the pages that an earlier try left behind: not looked at in this call either."""
        self.stored = pl.concat([self.stored, trades_of(prints)]).unique("id", keep="last")
        self.stored = self.stored.sort("id")

    def trades(self) -> pl.DataFrame:
        """All trades there are, ascending by id."""
        others = self.stored.join(self.told, on="id", how="anti")
        return pl.concat([others, trades_of(self.told)]).sort("id")

    @property
    def void_ids(self) -> tuple[int, ...]:
        """Ids that the venue declared void."""
        return tuple(self.told.filter(pl.col("first") < 0)["id"])

    def lacking(self) -> tuple[Range, ...]:
        """Holes between the ids that are there."""
        known = pl.concat([self.trades()["id"], pl.Series("id", self.void_ids, pl.Int64)])
        return missing_ranges(known.sort().to_numpy())

    def edges(self) -> Range:
        """The first and the last id that are there."""
        known = pl.concat([self.stored["id"], self.told["id"]])
        return int(known.min()), int(known.max())  # type: ignore[arg-type]


def gather(
    api: Api, instrument: Instrument, day: date, got: Gathered, attempts: int
) -> KlineReconciliation:
    """Bring a day up to what the venue has, with as few requests as that takes.

    What lacks before the first id is seen by the klines alone; what lacks between ids and after
    the last one is asked for by id. Stored trades of minutes in which the klines say otherwise
    are asked for again.

    Parameters
    ----------
    got : Gathered
        What is there; filled here.
    attempts : int
        How often the klines are read anew when they count trades that nobody gives.

    Raises
    ------
    BadAnswerError
        When they still do at an edge of the day where no missing id shows it.
    """
    start, end = utc_day_bounds(day)
    if got.stored.is_empty():
        got.take(api.day(instrument, start, end))
    else:
        _fill_holes(api, instrument, got, got.lacking(), start, end)
        got.take(api.after(instrument, got.edges()[1], end))
    # Every answer tells the time; a day must not be called over by a clock that is off.
    klines = api.klines(instrument, day)
    api.check_clock()
    checked: set[datetime] = set()
    for _ in range(attempts):
        while True:
            agreed = reconcile_with_klines(got.trades(), klines, instrument)
            edge = _lacking_edge(agreed, got.trades())
            if edge and _fill_edge(api, instrument, got, edge[0], start, end):
                continue
            if not _look_again(api, instrument, got, agreed, klines, checked):
                break
        if not edge:
            return agreed
        klines = api.klines(instrument, day)
    if _touched_by_holes(got).issuperset(edge):
        return agreed
    raise BadAnswerError(
        f"the venue's klines count trades before the first or after the last of "
        f"{got.trades().height} that it gives",
        where=api.where(instrument, f"day {day}"),
        remedy="try again later; nothing was stored",
        retry=True,
    )


def windows(ranges: Iterable[Range], size: int = PAGE) -> Iterator[Range]:
    """The fewest pages by id that hold all of some ascending ranges.

    Parameters
    ----------
    ranges : iterable of Range
        Inclusive, ascending, apart from each other.
    size : int
        Ids of a page.
    """
    page: Range | None = None
    for first, last in ranges:
        at = first
        if page and at < page[0] + size:
            page = page[0], min(last, page[0] + size - 1)
            at = page[0] + size
        while at <= last:
            if page:
                yield page
            page = at, min(last, at + size - 1)
            at += size
    if page:
        yield page


def _fill_holes(
    api: Api, instrument: Instrument, got: Gathered, holes: Iterable[Range], start: int, end: int
) -> bool:
    """Ask for ids between those that are there; whether anything came.

    Where trades of another day lie between, the stored ids on their other side are none of this
    day's: they are dropped.
    """
    new = False
    for first, last in windows(holes):
        pages = list(api.walk(instrument, first, last=last, ends=ENDS))
        within = [[one for one in page if start <= one.ts_event < end] for page in pages]
        new |= got.take(page for page in within if page)
        early = [one.id for page in pages for one in page if one.ts_event < start]
        late = [one.id for page in pages for one in page if one.ts_event >= end]
        if early or late:
            lowest, highest = max(early, default=-1), min(late, default=1 << 62)
            got.stored = got.stored.filter(pl.col("id").is_between(lowest, highest))
            break
    return new


def _fill_edge(
    api: Api, instrument: Instrument, got: Gathered, lacking: datetime, start: int, end: int
) -> bool:
    """Ask for what may lie before the first trade or after the last; whether anything came."""
    trades = got.trades()
    if trades.is_empty():
        return got.take(api.day(instrument, start, end))
    first, last = got.edges()
    if lacking > _minute(trades, 0):
        return got.take(api.after(instrument, last, end))
    page, _ = api.first_page(instrument, start, end)
    new = got.take([page] if page else [])
    between = [(page[-1].id + 1, first - 1)] if page and page[-1].id < first - 1 else []
    return _fill_holes(api, instrument, got, between, start, end) or new


def _look_again(
    api: Api,
    instrument: Instrument,
    got: Gathered,
    agreed: KlineReconciliation,
    klines: pl.DataFrame,
    checked: set[datetime],
) -> bool:
    """Ask again for stored trades of minutes that the klines tell otherwise, each minute once."""
    minutes = [minute for minute in agreed.differing["minute"] if minute not in checked]
    checked.update(minutes)
    minute = pl.col("ts_event").dt.truncate("1m")
    of_them = minute.is_in(pl.Series(minutes, dtype=agreed.differing.schema["minute"]).implode())
    doubtful = got.stored.join(got.told, on="id", how="anti").filter(of_them)
    if doubtful.is_empty():
        return False
    for first, last in windows(_runs(doubtful["id"].to_numpy())):
        got.take(api.walk(instrument, first, last=last, ends=ENDS))
    # What the venue, asked by id, does not give and does not count either was never printed.
    differing = reconcile_with_klines(got.trades(), klines, instrument).differing
    surplus = differing.filter(pl.col("fills") > 0, pl.col("minute").is_in(minutes))["minute"]
    got.stored = got.stored.filter(~(of_them & minute.is_in(surplus.implode())))
    return True


def _runs(ids: np.ndarray) -> list[Range]:
    """Ranges that ascending ids fill without a gap."""
    parts = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts]


def _lacking_edge(agreed: KlineReconciliation, trades: pl.DataFrame) -> list[datetime]:
    """Minutes up to the first trade's and from the last one's on of which the klines count more."""
    minutes = agreed.lacking()["minute"]
    if not trades.is_empty():
        outer = (minutes <= _minute(trades, 0)) | (minutes >= _minute(trades, -1))
        minutes = minutes.filter(outer)
    return minutes.to_list()


def _touched_by_holes(got: Gathered) -> set[datetime]:
    """Minutes of the trades next to a missing id: what lacks there is named already."""
    beside = [i for first, last in got.lacking() for i in (first - 1, last + 1)]
    trades = got.trades().filter(pl.col("id").is_in(beside))
    return set(trades["ts_event"].dt.truncate("1m"))


def _minute(trades: pl.DataFrame, at: int) -> datetime:
    stamp: datetime = trades["ts_event"][at]
    return stamp.replace(second=0, microsecond=0)
