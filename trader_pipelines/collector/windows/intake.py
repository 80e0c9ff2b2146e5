"""From frames to commits where trades are not counted: sifted by identity, stored as told."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from trader_pipelines.collector.link import pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.status import Delays, Meter
from trader_pipelines.collector.storing import Store
from trader_pipelines.collector.windows.hours import Hours
from trader_pipelines.collector.windows.link import AlpacaLink
from trader_pipelines.collector.windows.minutes import MINUTE, Ledger, Minute
from trader_pipelines.collector.windows.options import Proving
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import database
from trader_pipelines.stores.live import LiveWriter
from trader_pipelines.stores.windows import stored_minutes
from trader_pipelines.venues.alpaca_api import venue_symbol
from trader_pipelines.venues.alpaca_rows import Row
from trader_pipelines.venues.stream_alpaca import AlpacaFeed, Frame, Revision

_AHEAD = 60 * MINUTE


@dataclass
class Symbol:
    """One symbol while it is collected."""

    instrument: Instrument
    ledger: Ledger = field(default_factory=Ledger)
    delays: Delays = field(default_factory=Delays)
    trades: int = 0
    lag_ms: float | None = None


class WindowIntake:
    """One venue's symbols, the connection that brings them, and the way into the store."""

    def __init__(
        self,
        feed: AlpacaFeed,
        instruments: Sequence[Instrument],
        writer: LiveWriter,
        calendar: str,
        options: Options,
        proving: Proving,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.feed, self.options, self.proving, self.now = feed, options, proving, now
        self.hours = Hours(calendar)
        self.link = AlpacaLink(feed, instruments, options, proving.crowded, now)
        self.lock = asyncio.Lock()
        self.meter = Meter()
        self.store = Store(writer, options, self.meter)
        self.symbols = {each.symbol: Symbol(each) for each in instruments}
        self.names = {venue_symbol(each, crypto=feed.crypto): each for each in instruments}
        self.heard_ns: int | None = None
        self.audit_due = 0.0

    def resume(self, url: str, begin: int | None) -> None:
        """Learn what is stored since `begin`: of the session that is on, where that is None."""
        at = self.now() if begin is None else begin
        day = self.hours.day(at)
        session = self.hours.session(day)
        if session is None:
            return
        first = session[0] if begin is None else begin // MINUTE * MINUTE
        self.heard_ns = min(first, self.now())
        with database.connect(url) as connection:
            for symbol in self.symbols.values():
                ledger = symbol.ledger
                ledger.checked_to = first
                stored, ledger.last_ns = stored_minutes(connection, symbol.instrument, day, first)
                for start, told in stored.items():
                    minute = Minute(told.fills, told.size, told.notional, rows=None)
                    ledger.minutes[start] = minute
                if ledger.last_ns is not None:
                    # What came later had hardly been held against the bars yet.
                    since = ledger.last_ns - self.proving.delay_ns
                    self.heard_ns = max(self.heard_ns, since)

    async def commit(self, stop: asyncio.Event) -> None:
        """Store micro-batches until the stop, and then what is left."""
        begun = time.monotonic()
        while not stop.is_set():
            full = len(self.link.frames) >= self.options.batch_frames
            left = begun + self.options.batch_seconds - time.monotonic()
            if not full and left > 0:
                await pause(min(left, 0.02), stop)
                continue
            begun = time.monotonic()
            await self._commit_waiting(stop)
        while self.link.open:
            await asyncio.sleep(0.005)  # until nobody brings any more
        while self.link.frames:
            await self._commit_waiting(stop)

    async def _commit_waiting(self, stop: asyncio.Event) -> None:
        held: list[Frame] = []
        for at, data in self.link.take(self.options.batch_frames):
            if data is not None:
                held.append((at, data))
                continue
            await self._take(held, stop)
            held = []
            self._listening(at)
        await self._take(held, stop)

    def _listening(self, at: int) -> None:
        """Somebody listens again: what was printed since the last print is to be asked for."""
        slack = self.proving.slack_ns
        first = at if self.heard_ns is None else min(at, self.heard_ns)
        for symbol in self.symbols.values():
            if symbol.ledger.checked_to is None:
                symbol.ledger.checked_to = (first - slack) // MINUTE * MINUTE
            self._doubt(symbol, first - slack, at + slack, "nobody listened")
        self.audit_due = 0.0

    def _doubt(self, symbol: Symbol, first: int, last: int, why: str) -> None:
        for start in self.hours.minutes(first, last + 1):
            symbol.ledger.doubt(start, why)

    async def _take(self, frames: list[Frame], stop: asyncio.Event) -> None:
        if not frames:
            return
        heard = self.feed.decode(frames, self.names)
        self.meter.counts["frames"] += len(frames)
        if heard.refused:
            self.meter.counts["refused"] += len(heard.refused)
            self.meter.last_refusal = heard.refused[-1][1]
        if heard.fault is not None:
            self.meter.last_trouble = str(heard.fault)
            if not heard.fault.retry:
                raise heard.fault
            self.link.cut.set()
        before = self.heard_ns
        async with self.lock:
            batch = {}
            for name, told in heard.rows.items():
                batch[self.symbols[name].instrument] = self._sift(name, told)
            if heard.refused:
                now, slack = self.now(), self.proving.slack_ns
                for symbol in self.symbols.values():
                    first = min(now, before if before is not None else now) - slack
                    self._doubt(symbol, first, now + slack, "a frame could not be read")
            for name, revisions in heard.revisions.items():
                for revision in revisions:
                    self._revise(self.symbols[name].ledger, revision)
            await self.store.commit(batch, stop)
        done = time.time_ns()
        for name, told in heard.rows.items():
            received = np.array([at for _, at in told], np.int64)
            ms = (done - received) // 1_000_000
            self.meter.delays.add(ms)
            self.meter.run.add(ms)
            self.symbols[name].delays.add(ms)

    def _revise(self, ledger: Ledger, revision: Revision) -> None:
        """The stamp is the trade's, or that of the message: what was told lately is looked up."""
        self.meter.counts["revisions"] += 1
        start = ledger.minute_of(revision)
        if start is None and self.hours.inside(revision.ts_event):
            start = revision.ts_event - revision.ts_event % MINUTE
        if start is None:
            self.audit_due = 0.0  # the bars tell which minute
        else:
            ledger.revise(start, revision)

    def _sift(self, name: str, told: Sequence[tuple[Row, int]]) -> pl.DataFrame:
        """The trades that are new, once each, with ids."""
        symbol = self.symbols[name]
        ledger = symbol.ledger
        # A stamp of the future is a damaged one, and would open a false day.
        rows = [row for row, at in told if row.ts_event < at + _AHEAD]
        self.meter.counts["refused"] += len(told) - len(rows)
        if not rows:
            return frame([])
        low, high = min(row.ts_event for row in rows), max(row.ts_event for row in rows)
        if not (self.hours.inside(low) and self.hours.inside(high)):
            inside = [row for row in rows if self.hours.inside(row.ts_event)]
            self.meter.counts["outside"] += len(rows) - len(inside)
            rows = inside
        self.heard_ns = high if self.heard_ns is None else max(self.heard_ns, high)
        repeated = ledger.repeated
        new = ledger.accept(rows)
        self.meter.counts["repeated"] += ledger.repeated - repeated
        symbol.trades += len(new)
        symbol.lag_ms = float(np.median([at - row.ts_event for row, at in told]) / 1e6)
        return frame(new)


def frame(rows: Sequence[tuple[int, Row]]) -> pl.DataFrame:
    """Rows under their ids, of schema `TRADES`."""
    columns = {
        "id": [at for at, _ in rows],
        "ts_event": [row.ts_event for _, row in rows],
        "price": [row.price for _, row in rows],
        "size": [row.size for _, row in rows],
        "side": [row.side for _, row in rows],
        "fills": [1] * len(rows),
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(TRADES, pl.Int64)).cast(TRADES)
