"""From frames to commits: what the stream brings is decoded, sifted by id, stored in batches."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from trader_pipelines.collector.ledger import Ledger
from trader_pipelines.collector.link import Inbox, Link, pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.status import Delays, Meter, Status, SymbolStatus
from trader_pipelines.collector.storing import Store
from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import NS_PER_DAY
from trader_pipelines.stores import database
from trader_pipelines.stores.live import LiveWriter, stored_ids
from trader_pipelines.venues.stream import Feed, Prints


@dataclass
class Symbol:
    """One symbol while it is collected."""

    instrument: Instrument
    link: Link
    ledger: Ledger = field(default_factory=Ledger)
    delays: Delays = field(default_factory=Delays)
    trades: int = 0
    lag_ms: float | None = None
    proven_at: int = 0  # connection since which prints or REST have told where the end is
    due: float = 0.0
    tail_due: float = 0.0
    tail_wait: float = 0.0
    tries: int = 0
    behind: int = 0
    given_up_at: float = 0.0
    begun: bool = True  # False while REST has to tell the first id


class Intake:
    """One venue's symbols, the connections that bring them, and the way into the store."""

    def __init__(
        self,
        feed: Feed,
        instruments: Sequence[Instrument],
        writer: LiveWriter,
        options: Options,
    ) -> None:
        if not feed.sequential_ids:
            raise SettingsError(
                f"venue {feed.name!r} does not count its trades, so no hole can be seen",
                where="live collector",
                remedy="collect a venue with sequential ids",
            )
        self.feed, self.options = feed, options
        self.inbox = Inbox(options.queue_frames)
        self.meter = Meter()
        self.store = Store(writer, options, self.meter)
        self.instruments = {each.symbol: each for each in instruments}
        names, step = sorted(self.instruments), feed.symbols_a_connection
        parts = [names[at : at + step] for at in range(0, len(names), step)]
        self.links = [Link(feed, part, self.inbox, options) for part in parts]
        self.symbols = {
            name: Symbol(self.instruments[name], link)
            for link in self.links
            for name in link.symbols
        }

    def resume(self, url: str, begin: Mapping[str, int], *, ask: bool) -> None:
        """Learn what is stored, and from which id on each symbol has to be whole.

        Parameters
        ----------
        begin : mapping
            By symbol, the first id that has to be there.
        ask : bool
            Of the other symbols REST tells it. What is stored goes on then when it is of yesterday
            or today: what lies between older trades and today is not the collector's.
        """
        with database.typed_errors(url), database.connect(url) as connection:
            stored = stored_ids(connection, self.instruments.values())
        oldest = (time.time_ns() // NS_PER_DAY - 1) * NS_PER_DAY
        for name, symbol in self.symbols.items():
            known = stored.get(symbol.instrument)
            symbol.begun = name in begin or not ask
            if known is not None and (symbol.begun or known.last_ns >= oldest):
                symbol.ledger.first, symbol.ledger.after = known.first, known.last + 1
                symbol.ledger.missing = list(known.missing)
            if name in begin:
                symbol.ledger.begin(begin[name])

    async def commit(self, stop: asyncio.Event) -> None:
        """Store micro-batches until the stop, and then what is left."""
        begun = time.monotonic()
        while not stop.is_set():
            full = len(self.inbox.frames) >= self.options.batch_frames
            left = begun + self.options.batch_seconds - time.monotonic()
            if not full and left > 0:
                await pause(min(left, 0.02), stop)
                continue
            begun = time.monotonic()
            await self._commit_waiting(stop)
        while any(link.open for link in self.links):
            await asyncio.sleep(0.005)  # until nobody brings any more
        while self.inbox.frames:
            await self._commit_waiting(stop)

    async def _commit_waiting(self, stop: asyncio.Event) -> None:
        frames = self.inbox.take(self.options.batch_frames)
        if not frames:
            return
        decoded = self.feed.decode(frames, self.instruments)
        self.meter.counts["frames"] += len(frames)
        if decoded.refused:
            self.meter.counts["refused"] += len(decoded.refused)
            self.meter.last_refusal = decoded.refused[-1]
        if decoded.fault is not None:
            self.meter.last_trouble = str(decoded.fault)
            if not decoded.fault.retry:
                raise decoded.fault
            for link in self.links:
                link.cut.set()
        batch = {
            self.instruments[name]: self._sift(self.symbols[name], prints)
            for name, prints in decoded.prints.items()
        }
        await self.store.commit(batch, stop)
        done = time.time_ns()
        for name, prints in decoded.prints.items():
            ms = (done - prints.received) // 1_000_000
            self.meter.delays.add(ms)
            self.meter.run.add(ms)
            self.symbols[name].delays.add(ms)

    def _sift(self, symbol: Symbol, prints: Prints) -> pl.DataFrame:
        """The believed trades that are new, once each."""
        now = time.monotonic()
        ids, at = np.unique(prints.trades["id"].to_numpy(), return_index=True)
        believed = symbol.ledger.doubt(ids, prints.doubtful[at])
        new = np.zeros(ids.size, np.bool_)
        new[believed] = symbol.ledger.accept(ids[believed])
        self.meter.counts["repeated"] += prints.trades.height - int(new.sum() + (~believed).sum())
        symbol.trades += int(new.sum())
        symbol.lag_ms = float(
            np.median(prints.received - prints.trades["ts_event"].to_physical().to_numpy()) / 1e6
        )
        if believed.any():
            symbol.proven_at, symbol.behind = symbol.link.connects, 0
            symbol.tail_wait = self.options.quiet
            symbol.tail_due = now + symbol.tail_wait
        if not symbol.due and symbol.ledger.open():
            symbol.due = now + self.options.grace
        return prints.trades[at[new]]

    def status(self) -> Status:
        """Now; the delays begin anew."""
        symbols = {}
        for name, each in self.symbols.items():
            ledger, link, delays = each.ledger, each.link, each.delays
            whole = each.begun and link.open and each.proven_at == link.connects > 0
            symbols[name] = SymbolStatus(
                contiguous=whole and not ledger.missing and not ledger.doubted,
                last_id=ledger.last,
                trades=each.trades,
                missing=list(ledger.missing),
                given_up=list(ledger.given_up),
                clock_lag_ms=each.lag_ms,
                committed_p50_ms=delays.quantile(0.5),
                committed_p99_ms=delays.quantile(0.99),
            )
            each.delays = Delays()
        meter, now = self.meter, time.monotonic()
        told = Status(
            at_ns=time.time_ns(),
            venue=self.feed.name,
            connections=[
                {
                    "symbols": len(link.symbols),
                    "open": link.open,
                    "connects": link.connects,
                    "silent_s": round(now - link.heard, 3),
                    "trouble": link.trouble,
                }
                for link in self.links
            ],
            waiting_frames=len(self.inbox.frames),
            counts=dict(meter.counts),
            last_refusal=meter.last_refusal,
            last_trouble=meter.last_trouble,
            committed_p50_ms=meter.delays.quantile(0.5),
            committed_p99_ms=meter.delays.quantile(0.99),
            run_p99_ms=meter.run.quantile(0.99),
            symbols=symbols,
        )
        meter.delays = Delays()
        return told
