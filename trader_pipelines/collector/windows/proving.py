"""Minutes that are over are held against the venue's bars; what differs is replaced over REST."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Protocol

from trader_pipelines.collector.aside import unless
from trader_pipelines.collector.link import back_off, pause
from trader_pipelines.collector.windows.intake import Symbol, WindowIntake, frame
from trader_pipelines.collector.windows.minutes import MINUTE, NOTHING, Open
from trader_pipelines.collector.windows.stretches import stretches
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.stores import database
from trader_pipelines.stores.windows import replace_window
from trader_pipelines.venues.alpaca_bars import Bar
from trader_pipelines.venues.alpaca_rows import Row, number
from trader_pipelines.venues.alpaca_windows import Window

#: Minute bars of some symbols, by the minute's start in nanoseconds.
Bars = dict[Instrument, dict[int, Bar]]

_FAILED = 4  # doublings of the pause before a stretch that REST did not answer for
_DEAF = 3  # looks at bars with trades of which the stream told none


class Rest(Protocol):
    """What is asked over REST, in threads; `trader_pipelines.venues.alpaca.Alpaca` is one."""

    def minute_bars(self, instruments: Sequence[Instrument], start: int, end: int) -> Bars:
        """Minute bars of many symbols."""
        ...

    def window(self, instrument: Instrument, start: int, end: int, kept: list[Row]) -> Window:
        """Rows of whole minutes, and how they agree with the bars."""
        ...


@dataclass
class Prover:
    """Holds what a collector stores against what the venue says, until the stop."""

    intake: WindowIntake
    rest: Rest
    url: str
    deaf: int = 0
    pages: dict[str, tuple[int, list[Row]]] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Check, audit and mend, again and again.

        Raises
        ------
        TraderError
            What asking again cannot mend: a refused key, a missing entitlement, an unknown symbol.
        """
        failures = 0
        while not stop.is_set():
            try:
                await self._check(stop)
                await self._audit(stop)
                await self._mend(stop)
                failures = 0
            except TraderError as error:
                self._failed(error)
                failures += 1
                await pause(back_off(self.intake.options, failures), stop)
            await pause(self.intake.proving.poll, stop)

    def _failed(self, error: TraderError) -> None:
        if not error.retry:
            raise error
        self.intake.meter.counts["refill_failures"] += 1
        self.intake.meter.last_trouble = str(error)

    async def _check(self, stop: asyncio.Event) -> None:
        """Hold the minutes that are over against their bars."""
        intake = self.intake
        over = self._over()
        due: dict[str, list[int]] = {}
        for name, symbol in intake.symbols.items():
            since = symbol.ledger.checked_to
            if since is not None and since < over:
                due[name] = list(intake.hours.minutes(since, over))
        starts = [start for each in due.values() for start in each]
        bars: Bars | None = {}
        if starts:
            bars = await self._bars(min(starts), over, stop)
        if bars is None:
            return
        async with intake.lock:
            for name, minutes in due.items():
                symbol = intake.symbols[name]
                symbol.ledger.check(minutes, bars.get(symbol.instrument, {}), symbol.instrument)
                symbol.ledger.checked_to = over
                symbol.ledger.forget()
        self._listen_for_silence(due, bars)

    def _listen_for_silence(self, due: dict[str, list[int]], bars: Bars) -> None:
        """A connection that answers pings and brings nothing while the venue prints is deaf."""
        intake = self.intake
        printed = [s for s in due if bars.get(intake.symbols[s].instrument)]
        if not printed:
            return
        told = any(
            intake.symbols[name].ledger.minutes[start].fills
            for name in printed
            for start in due[name]
        )
        self.deaf = 0 if told else self.deaf + 1
        if self.deaf >= _DEAF and intake.link.open:
            self.deaf = 0
            intake.link.trouble = "the bars have trades, the stream none"
            intake.link.cut.set()

    async def _audit(self, stop: asyncio.Event) -> None:
        """Look whether bars of the session so far have changed since they were agreed with."""
        intake = self.intake
        now = time.monotonic()
        if now < intake.audit_due:
            return
        session = intake.hours.session(intake.hours.day(intake.now()))
        ledgers = [symbol.ledger for symbol in intake.symbols.values()]
        until = min((each.checked_to for each in ledgers if each.checked_to), default=0)
        known = [start for each in ledgers for start in each.minutes]
        if session is not None and known and max(session[0], min(known)) < until:
            first = max(session[0], min(known))
            bars = await self._bars(first, until, stop)
            if bars is None:
                return
            async with intake.lock:
                for symbol in intake.symbols.values():
                    symbol.ledger.audit(bars[symbol.instrument], first, until)
        intake.audit_due = now + intake.proving.audit

    async def _mend(self, stop: asyncio.Event) -> None:
        """Ask REST for what is open, a stretch of minutes at a time."""
        for name, symbol in self.intake.symbols.items():
            ledger = symbol.ledger
            due = stretches(ledger, self.intake.hours, self._over(), time.monotonic())
            for first, end in list(due):
                if stop.is_set():
                    return
                try:
                    await self._replace(name, symbol, first, end, stop)
                except TraderError as error:
                    self._failed(error)
                    later = time.monotonic() + back_off(self.intake.options, _FAILED)
                    for start in range(first, end, MINUTE):
                        if (found := ledger.open.get(start)) is not None:
                            found.due = later

    async def _replace(
        self, name: str, symbol: Symbol, first: int, end: int, stop: asyncio.Event
    ) -> None:
        intake, ledger = self.intake, symbol.ledger
        starts = range(first, end, MINUTE)
        arrivals = [ledger.arrivals(start) for start in starts]
        begun, kept = self.pages.get(name, (first, []))
        if begun != first:
            kept = []
        # What came before a failure is not asked for again.
        self.pages[name] = first, kept
        told = await unless(stop, partial(self.rest.window, symbol.instrument, first, end, kept))
        del self.pages[name]
        if told is None:
            return
        async with intake.lock:
            if arrivals != [ledger.arrivals(start) for start in starts]:
                return  # the stream told something meanwhile: ask again
            rows, lacking = _with_told(symbol, told.rows, starts)
            day = intake.hours.day(first)
            write = partial(
                _write, self.url, symbol.instrument, day, (first, end), told.before, rows
            )
            if (written := await unless(stop, write)) is None:
                return
            intake.meter.counts["windows"] += 1
            intake.meter.counts["windows_changed"] += written.changed
            differing = set(told.agreed.differing["minute"].dt.epoch("ns").to_list())
            for start in starts:
                standing = written.standing.get(start, [])
                ledger.replaced(start, standing, written.voids.get(start, []))
                bar = told.bars.get(start, NOTHING)
                if start in differing:
                    why = f"REST has {len(standing)} trades, the bar counts {bar.fills}"
                elif start in lacking:
                    why = f"REST lacks {lacking[start]} trades that the stream told"
                else:
                    why = self._unrevised(ledger.open.get(start), told.rows)
                if why:
                    self._again(ledger.doubt(start, why), why)
                else:
                    ledger.prove(start, bar)

    def _unrevised(self, found: Open | None, rows: Sequence[Row]) -> str:
        """What REST does not show yet of the revisions that the stream told."""
        for revision in found.revisions if found is not None else ():
            same = [row for row in rows if (row.place, row.number) == revision[1:]]
            if any(row.stands for row in same):
                return f"REST does not show yet that trade {revision.number} was taken back"
            if not same:
                # The message carries another stamp than its trade: the bars tell which minute.
                self.intake.meter.counts["revisions_elsewhere"] += 1
                self.intake.audit_due = 0.0
        return ""

    def _again(self, found: Open, why: str) -> None:
        options = self.intake.options
        found.why = why
        found.tries += 1
        wait = back_off(options, found.tries)
        found.due = time.monotonic() + (options.quiet_cap if found.tries >= options.tries else wait)

    def _over(self) -> int:
        """The end of the last minute that is over long enough."""
        return (self.intake.now() - self.intake.proving.delay_ns) // MINUTE * MINUTE

    async def _bars(self, first: int, until: int, stop: asyncio.Event) -> Bars | None:
        instruments = [symbol.instrument for symbol in self.intake.symbols.values()]
        return await unless(stop, partial(self.rest.minute_bars, instruments, first, until))


def _with_told(
    symbol: Symbol, rows: Sequence[Row], starts: Sequence[int]
) -> tuple[list[Row], dict[int, int]]:
    """REST's rows with those that only the stream told, and how many these are by minute."""
    known = {row.identity for row in rows}
    more: list[Row] = []
    lacking: dict[int, int] = {}
    for start in starts:
        minute = symbol.ledger.minutes.get(start)
        told = minute.rows.values() if minute is not None and minute.rows is not None else ()
        only = [row for _, row in told if row.identity not in known]
        if only:
            lacking[start] = len(only)
            more += only
    return sorted([*rows, *more], key=lambda row: row.ts_event), lacking


@dataclass
class _Written:
    """A stretch as it is stored now, by minute."""

    changed: bool = False
    standing: dict[int, list[tuple[int, Row]]] = field(default_factory=dict)
    voids: dict[int, list[Row]] = field(default_factory=dict)


def _write(
    url: str,
    instrument: Instrument,
    day: date,
    stretch: tuple[int, int],
    before: Sequence[Row],
    rows: Sequence[Row],
) -> _Written:
    """Number and store the rows that stand."""
    written = _Written()
    standing: list[tuple[int, Row]] = []
    ids = number([*before, *rows])[len(before) :]
    for at, row in zip(ids, rows, strict=True):
        start = row.ts_event - row.ts_event % MINUTE
        if row.stands:
            standing.append((at, row))
            written.standing.setdefault(start, []).append((at, row))
        else:
            written.voids.setdefault(start, []).append(row)
    with (
        database.typed_errors(url),
        database.connect(url) as connection,
        connection.transaction(),
    ):
        trades = frame(standing)
        written.changed = replace_window(connection, instrument, day, *stretch, trades)
    return written
