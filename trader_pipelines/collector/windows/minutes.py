"""What is known of one symbol's minutes where trades are not counted: told, doubted, proven."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.alpaca_bars import Bar, same_vwap
from trader_pipelines.venues.alpaca_rows import Row
from trader_pipelines.venues.stream_alpaca import Revision

MINUTE = 60_000_000_000

#: Identities of a proven minute are kept so long, so that what is told twice is known as such.
_REMEMBERED = 5 * MINUTE
_LONGEST = 60 * MINUTE  # of one that is still open
_KEPT = 36 * 60 * MINUTE

Identity = tuple[int, str, int]


@dataclass(slots=True)
class Minute:
    """One minute of a symbol as it is stored.

    Parameters
    ----------
    fills, size, notional : int
        Trades, their size, and the sum of price times size; scaled integers.
    rows : dict or None
        Trades that the stream told, by identity, with the ids they are stored under; None when
        nobody remembers them: they were stored before this run, or long ago.
    arrivals : int
        Grows whenever something is told of it.
    proven : Bar or None
        The venue's bar with which it agreed; `NOTHING` where there is none.
    """

    fills: int = 0
    size: int = 0
    notional: int = 0
    rows: dict[Identity, tuple[int, Row]] | None = field(default_factory=dict)
    arrivals: int = 0
    proven: Bar | None = None


NOTHING = Bar(0, 0, "")


@dataclass(slots=True)
class Open:
    """A minute that REST has to be asked for.

    Parameters
    ----------
    why : str
        For a person.
    due : float
        Monotonic seconds.
    tries : int
        Answers in vain.
    expected : int
        Trades that its bar counts, as far as that is known.
    revisions : list of Revision
        What REST has to show as taken back before the minute is believed.
    """

    why: str
    due: float = 0.0
    tries: int = 0
    expected: int = 0
    revisions: list[Revision] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """Minutes of one symbol, by their start in nanoseconds.

    A minute is told, then over, then proven, or open until REST has replaced it.

    Parameters
    ----------
    checked_to : int or None
        Every minute before it has been held against the venue's bars; None before the first
        connection.
    """

    minutes: dict[int, Minute] = field(default_factory=dict)
    open: dict[int, Open] = field(default_factory=dict)
    checked_to: int | None = None
    last_ns: int | None = None
    repeated: int = 0
    ids: dict[int, int] = field(default_factory=dict)

    def accept(self, rows: Iterable[Row]) -> list[tuple[int, Row]]:
        """Take what the stream told; returns what has to be stored, with its ids.

        A trade's id is its stamp, or the next free one. A minute that was proven without one of
        them is open again.
        """
        new: list[tuple[int, Row]] = []
        for row in rows:
            start = row.ts_event - row.ts_event % MINUTE
            minute = self.minutes.get(start)
            if minute is None:
                minute = self.minutes[start] = Minute()
            identity = row.identity
            if minute.rows is not None and identity in minute.rows:
                self.repeated += 1
                continue
            minute.arrivals += 1
            if minute.rows is None:  # whether it is there already, only REST can tell
                minute.rows = {}
                self.doubt(start, "a trade came of a minute that was stored before")
            elif minute.proven is not None:
                self.doubt(start, "a trade came late")
            at = row.ts_event
            while (taken := self.ids.get(at)) is not None:
                if taken > row.ts_event:
                    self.doubt(start, "trades of one stamp came out of order")
                at += 1
            self.ids[at] = row.ts_event
            minute.rows[identity] = at, row
            minute.fills += 1
            minute.size += row.size
            minute.notional += row.price * row.size
            if self.last_ns is None or row.ts_event > self.last_ns:
                self.last_ns = row.ts_event
            new.append((at, row))
        return new

    def waits(self, start: int, now: float) -> bool:
        """Whether the minute is open and was asked for in vain not long ago."""
        found = self.open.get(start)
        return found is not None and found.due > now

    def doubt(self, start: int, why: str) -> Open:
        """REST has to be asked for the minute, however lately it was asked."""
        found = self.open.setdefault(start, Open(why))
        found.due = 0.0
        if (minute := self.minutes.get(start)) is not None:
            minute.proven = None
        return found

    def minute_of(self, revision: Revision) -> int | None:
        """The minute of a trade that was told lately; None where nobody remembers it."""
        for start, minute in self.minutes.items():
            if minute.rows is not None and any(
                (row.place, row.number) == revision[1:] for _, row in minute.rows.values()
            ):
                return start
        return None

    def revise(self, start: int, revision: Revision) -> None:
        """A trade of the minute was taken back or replaced: REST tells what stands."""
        self.doubt(start, "a trade was cancelled or corrected").revisions.append(revision)
        self.minutes.setdefault(start, Minute()).arrivals += 1

    def check(self, starts: Iterable[int], bars: Mapping[int, Bar], instrument: Instrument) -> None:
        """Hold minutes that are over against the venue's bars: proven, or open."""
        for start in starts:
            bar = bars.get(start, NOTHING)
            minute = self.minutes.get(start)
            if minute is None:
                minute = self.minutes[start] = Minute()
            if (found := self.open.get(start)) is not None:
                found.expected = bar.fills
            elif (minute.fills, minute.size) != bar[:2]:
                why = f"{minute.fills} trades are stored, the bar counts {bar.fills}"
                self.doubt(start, why).expected = bar.fills
            elif bar.fills and not same_vwap(bar, minute.notional, instrument):
                self.doubt(start, "the bar has another average price")
            else:
                minute.proven = bar

    def audit(self, bars: Mapping[int, Bar], first: int, until: int) -> None:
        """Open the proven minutes of a stretch whose bars have changed since."""
        for start, minute in self.minutes.items():
            if first <= start < until and minute.proven not in (None, bars.get(start, NOTHING)):
                self.doubt(start, "the bar has changed")

    def prove(self, start: int, bar: Bar) -> None:
        """The minute agrees with the venue's bar."""
        minute = self.minutes.get(start)
        if minute is None:
            minute = self.minutes[start] = Minute()
        minute.proven = bar
        self.open.pop(start, None)

    def replaced(self, start: int, rows: Sequence[tuple[int, Row]], voids: Iterable[Row]) -> None:
        """The minute is stored as REST has it; `voids` are rows that no longer stand."""
        minute = Minute(
            fills=len(rows),
            size=sum(row.size for _, row in rows),
            notional=sum(row.price * row.size for _, row in rows),
            rows={row.identity: (at, row) for at, row in rows},
            arrivals=self.arrivals(start),
        )
        assert minute.rows is not None
        minute.rows |= {row.identity: (row.ts_event, row) for row in voids}
        before = self.minutes.get(start)
        if before is not None and before.rows is not None:
            for at, _ in before.rows.values():
                self.ids.pop(at, None)
        self.ids |= {at: row.ts_event for at, row in rows}
        self.minutes[start] = minute

    def arrivals(self, start: int) -> int:
        """How often something was told of the minute."""
        minute = self.minutes.get(start)
        return minute.arrivals if minute is not None else 0

    def forget(self) -> None:
        """Let go of the trades of minutes that were proven a while ago; their sums stay a day.

        While REST does not answer, those of open minutes go too, after an hour: it tells them then.
        What REST has answered without is never let go.
        """
        if self.checked_to is None:
            return
        for start, minute in list(self.minutes.items()):
            age, found = self.checked_to - start, self.open.get(start)
            longest = _REMEMBERED if found is None else _LONGEST
            if minute.rows and age > longest and (found is None or not found.tries):
                for at, _ in minute.rows.values():
                    self.ids.pop(at, None)
                minute.rows = None
            if age > _KEPT and found is None:
                del self.minutes[start]
