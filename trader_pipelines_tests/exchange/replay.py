"""The market going on: prints leave in the order of their times, once, for whoever listens."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from trader_pipelines_tests.exchange.frames import Print
from trader_pipelines_tests.exchange.hub import Hub
from trader_pipelines_tests.exchange.state import Exchange, Key, Sent, iso_ns

TICK = 0.005
LARGEST = 2000
PAUSE_AT = 256 << 10  # at rate ``max``, wait while a client has so many bytes to read
REVISED_AFTER = 20
SENT = ("id", "price", "size", "side", "first", "last", "number", "place")


class Replay:
    """Prints the tapes at the chosen rate and lets the stream's faults at them."""

    def __init__(self, exchange: Exchange, hub: Hub) -> None:
        self.exchange, self.hub = exchange, hub
        self.rate = exchange.options.rate
        self.keys: list[Key] = list(exchange.base)
        self.wake = asyncio.Event()
        self.rewind()

    def rewind(self) -> None:
        """Stand at the beginning again, as if nothing had been printed."""
        self.position = self.total = self.printed = 0
        self.allowed = self.deaf = 0
        self.done = self.interrupted = False
        self.begun = self.ended = 0.0
        self.mark = (0.0, 0)
        self.held: list[tuple[int, Print]] = []
        self.revisions: deque[tuple[int, Print, str]] = deque()
        self.halts: list[tuple[int, Key, bool]] = []
        self.exchange.replay_started = False
        self.exchange.sent = {key: Sent() for key in self.keys}
        self.exchange.set_faults(self.exchange.faults)
        self._order()

    def _order(self) -> None:
        """Order the prints of all symbols by time; set where the replay begins."""
        market = self.exchange.market
        self.ts = np.concatenate([market[key].ts for key in self.keys] or [np.array([], np.int64)])
        self.owner = np.repeat(
            np.arange(len(self.keys), dtype=np.int32), [len(market[key]) for key in self.keys]
        )
        self.order = np.argsort(self.ts, kind="stable").astype(np.int64)
        self.total = len(self.order)
        live = self.exchange.options.live_from
        edge = 0 if live in ("", "start") else iso_ns(live)
        self.position = int(np.searchsorted(self.ts[self.order], edge)) if self.total else 0
        if live:
            for key, tape in market.items():
                row = int(np.searchsorted(tape.ts, edge))
                self.exchange.printed_to[key] = int(tape.id[row - 1]) if row else -1
        if self.exchange.options.clock == "tape" and self.total:
            first, last = int(self.ts[self.order[0]]), int(self.ts.max())
            self.exchange.clock.tape_ns = (edge or first) if live else last
        self.halts = sorted(
            (iso_ns(f.start) + int(over * f.seconds * 1e9), key, not over)
            for f in self.exchange.faults.entries
            for key in self.keys
            for over in (0, 1)
            if f.kind == "halt" and key[0] == "alpaca" and f.hits("alpaca.stream", key[1])
        )

    def set_rate(self, rate: str) -> None:
        """Change the rate from here on."""
        self.rate = rate
        self.mark = (time.monotonic(), self.position)
        self.wake.set()

    def step(self, count: int) -> None:
        """At rate ``manual``, let so many more prints go."""
        self.allowed += count
        self.wake.set()

    def start(self) -> None:
        """Begin, whoever listens."""
        if not self.exchange.replay_started:
            self._order()  # faults set since then may have moved the market
            self.exchange.replay_started = True
            self.begun = time.monotonic()
            self.set_rate(self.rate)

    async def run(self) -> None:
        """Print until the tape ends, and again after a rewind."""
        while True:
            if self.position >= self.total and not self.held and not self.revisions:
                if not self.done:
                    self.done, self.ended = True, time.monotonic()
                await self._sleep(0.05)
            elif not self.exchange.replay_started:
                needed = self.exchange.options.start_symbols
                if needed and self.hub.subscribed() >= needed:
                    self.start()
                else:
                    await self._sleep(0.02)
            elif count := self._due():
                await self._publish(count)
                if self.rate == "max":
                    await self._read()
                await asyncio.sleep(0)
            else:
                await self._sleep(TICK)

    async def _sleep(self, seconds: float) -> None:
        self.wake.clear()
        try:
            await asyncio.wait_for(self.wake.wait(), seconds)
        except TimeoutError:
            return

    async def _read(self) -> None:
        while self.hub.waiting() > PAUSE_AT:
            await asyncio.sleep(0.001)

    def _due(self) -> int:
        left = self.total - self.position
        if left <= 0:
            return 1 if self.held or self.revisions else 0
        if self.rate == "manual":
            count = min(self.allowed, left, LARGEST)
            self.allowed -= count
            return count
        if self.deaf:
            return min(self.deaf, left)
        if self.rate == "max":
            return min(500, left) if self.hub.subscribed() else 0
        since, from_position = self.mark
        elapsed = time.monotonic() - since
        if self.rate.startswith("x"):
            origin = int(self.ts[self.order[min(from_position, self.total - 1)]])
            now = origin + int(elapsed * float(self.rate[1:]) * 1e9)
            rows = self.order[self.position : self.position + LARGEST]
            return int(np.searchsorted(self.ts[rows], now, "right"))
        return min(int(elapsed * float(self.rate)) - (self.position - from_position), left, LARGEST)

    def _take(self, count: int) -> Iterator[Print]:
        rows = self.order[self.position : self.position + count]
        block = self.exchange.block
        columns = [block[name][rows].tolist() for name in SENT]
        owners, times = self.owner[rows].tolist(), self.ts[rows].tolist()
        for owner, ts, told in zip(owners, times, zip(*columns, strict=True), strict=True):
            trade_id, price, size, side, first, last, number, place = told
            yield Print(
                self.keys[owner], trade_id, ts, price, size, side, first, last, number, place
            )

    async def _publish(self, count: int) -> None:
        exchange = self.exchange
        items = list(self._take(count))
        self.interrupted = False
        holes = any(f.kind == "hole" and "stream" in f.where for f in exchange.faults.entries)
        revised = any(exchange.revised_ids.values())
        out: list[Print] = []
        plain = not (exchange.faults.streaming or holes or self.held or self.deaf or revised)
        done = 0
        for item in items:
            if self.interrupted and self.rate == "max" and not self.deaf:
                break  # go on when somebody listens again
            done += 1
            self.printed += 1
            if plain:
                self._send(item, out)
            else:
                if exchange.options.live_from:
                    # A stall may follow: REST does not wait for the stream.
                    exchange.printed_to[item.key] = item.id
                await self._troubled(item, out)
        del items[done:]
        self.position += done
        if self.position >= self.total:
            self._release(out, everything=True)
        self._note_printed(items)
        self.hub.deliver(out)
        self._revise(everything=self.position >= self.total)

    def _send(self, item: Print, out: list[Print]) -> None:
        out.append(item)
        if self.hub.listeners[item.key]:
            self.exchange.sent[item.key].add(item.id, 1 if item.key[0] == "binance" else 2)

    async def _troubled(self, item: Print, out: list[Print]) -> None:
        """One print past the faults of the stream."""
        exchange, sent = self.exchange, self.exchange.sent[item.key]
        kind = exchange.revised_ids[item.key].get(item.id)
        if kind:
            self.revisions.append((self.printed + REVISED_AFTER, item, kind))
        if self.deaf:
            self.deaf -= 1
            sent.note("unheard", item.id)
            return
        lost = any(a <= item.id <= b for a, b in exchange.lost(item.key, "stream"))
        copies = 0 if lost else 1
        late = 0
        for fault in exchange.faults.streaming:
            if not fault.hits(f"{item.key[0]}.stream", item.key[1]) or not fault.fires():
                continue
            sent.note(fault.kind, item.id)
            match fault.kind:
                case "drop":
                    copies = 0
                case "duplicate":
                    copies *= 2
                case "reorder":
                    late = max(late, fault.by)
                case "garble":
                    item.garbled = True
                case "stream_mixed_ids":
                    item.raw_id = True
                case "stream_microseconds":
                    item.micro = True
                case "stall":
                    self._flush(out)
                    await asyncio.sleep(fault.seconds)
                case _:  # disconnect: the print itself is the first that nobody hears
                    self._flush(out)
                    await self.hub.disconnect(fault.code)
                    self.interrupted = True
                    sent.note("unheard", item.id)
                    self.deaf, copies = fault.lose, 0
        if copies and late:
            self.held += [(self.printed + late, item)] * copies
        else:
            for _ in range(copies):
                self._send(item, out)
        self._release(out)

    def _flush(self, out: list[Print]) -> None:
        self.hub.deliver(out)
        out.clear()

    def _release(self, out: list[Print], *, everything: bool = False) -> None:
        due = [pair for pair in self.held if everything or pair[0] <= self.printed]
        if due:
            self.held = [pair for pair in self.held if pair not in due]
            for _, item in due:
                self._send(item, out)

    def _note_printed(self, items: list[Print]) -> None:
        exchange = self.exchange
        for item in items:
            exchange.sent[item.key].printed += 1
        if exchange.options.live_from:
            exchange.printed_to.update((item.key, item.id) for item in items)
        if items and exchange.clock.tape_ns is not None:
            exchange.clock.tape_ns = max(exchange.clock.tape_ns, items[-1].ts)
        while self.halts and items and self.halts[0][0] <= items[-1].ts:
            moment, key, halted = self.halts.pop(0)
            self.announce(key, moment, "status", halted=halted)

    def _revise(self, *, everything: bool) -> None:
        while self.revisions and (everything or self.revisions[0][0] <= self.printed):
            _, item, kind = self.revisions.popleft()
            self.announce(item.key, item.ts, kind, item=item)

    def revise_now(self, key: Key, trade_id: int, kind: str) -> None:
        """Tell of a revision that came by control, if the print is out already."""
        tape = self.exchange.market[key]
        row = int(np.searchsorted(tape.id, trade_id))
        if row < len(tape) and tape.id[row] == trade_id:
            told = (int(getattr(tape, name)[row]) for name in SENT)
            trade, price, size, side, first, last, number, place = told
            ts = int(tape.ts[row])
            item = Print(key, trade, ts, price, size, side, first, last, number, place)
            self.announce(key, ts, kind, item=item)

    def announce(
        self, key: Key, ts: int, kind: str, *, item: Print | None = None, halted: bool = False
    ) -> None:
        """Tell Alpaca's clients of a revision or of a halt."""
        for connection in list(self.hub.connections):
            tell = getattr(connection, "announce", None)
            if tell is not None:
                self.hub.write(connection, tell(key, ts, kind, item, halted))

    def report(self) -> dict[str, Any]:
        """For the control endpoint."""
        until = self.ended or time.monotonic()
        seconds = until - self.begun if self.begun else 0.0
        return {
            "started": self.exchange.replay_started,
            "done": self.done,
            "rate": self.rate,
            "position": self.position,
            "total": self.total,
            "printed": self.printed,
            "seconds": seconds,
            "trades_per_s": self.printed / seconds if seconds else 0.0,
        }
