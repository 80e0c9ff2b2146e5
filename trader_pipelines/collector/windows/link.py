"""The one connection that a venue allows a key: kept open, its frames queued as they come."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trader_pipelines.collector.link import STEADY, back_off, pause
from trader_pipelines.collector.options import Options
from trader_pipelines.core.errors import ConnectionLimitError, TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.stream_alpaca import AlpacaFeed, Frame

#: In place of a frame: from here on somebody listens again; the venue's clock, nanoseconds.
Mark = tuple[int, None]


@dataclass
class AlpacaLink:
    """A connection for some symbols and what has become of it.

    Parameters
    ----------
    crowded : float
        Seconds for which the venue may say that the key has a connection already: it takes a while
        to notice that one was killed.
    now : callable
        The venue's clock, nanoseconds.
    """

    feed: AlpacaFeed
    instruments: Sequence[Instrument]
    options: Options
    crowded: float
    now: Callable[[], int] = time.time_ns
    frames: list[Frame | Mark] = field(default_factory=list)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    connects: int = 0
    open: bool = False
    heard: float = 0.0
    trouble: str = ""

    def take(self, most: int) -> list[Frame | Mark]:
        """The oldest that wait to be stored."""
        taken, self.frames = self.frames[:most], self.frames[most:]
        if len(self.frames) < self.options.queue_frames:
            self.room.set()
        return taken

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, read, and connect again, until the stop.

        Raises
        ------
        TraderError
            What no further try can mend.
        """
        failures, refused_since = 0, 0.0
        while not stop.is_set():
            begun = time.monotonic()
            try:
                async with asyncio.timeout(15):
                    ws = await self.feed.open(self.instruments)
                refused_since = 0.0
                try:
                    await self._attend(ws, stop)
                finally:
                    self.open = False
                    await ws.close()
            except TraderError as error:
                self.trouble = str(error)
                full = isinstance(error, ConnectionLimitError)
                refused_since = (refused_since or begun) if full else 0.0
                if not error.retry or (full and begun - refused_since > self.crowded):
                    raise
            except (OSError, TimeoutError) as error:
                self.trouble = f"{type(error).__name__}: {error}"
            if stop.is_set():
                return
            failures = 0 if time.monotonic() - begun > STEADY else failures + 1
            await pause(back_off(self.options, failures), stop)

    async def _attend(self, ws: Any, stop: asyncio.Event) -> None:
        self.cut.clear()
        self.connects += 1
        self.frames.append((self.now(), None))
        self.open, self.heard = True, time.monotonic()
        reading = asyncio.create_task(self._read(ws))
        ends = [asyncio.create_task(event.wait()) for event in (stop, self.cut)]
        try:
            await asyncio.wait([reading, *ends], return_when="FIRST_COMPLETED")
            if reading.done():
                reading.result()
        finally:
            for task in (reading, *ends):
                task.cancel()
            await asyncio.gather(reading, *ends, return_exceptions=True)

    async def _read(self, ws: Any) -> None:
        from websockets import ConnectionClosed

        try:
            while True:
                data = await ws.recv()
                self.heard = time.monotonic()
                self.frames.append(
                    (time.time_ns(), data if isinstance(data, bytes) else data.encode())
                )
                if len(self.frames) >= self.options.queue_frames:
                    self.room.clear()
                    await self.room.wait()
        except ConnectionClosed as closed:
            self.trouble = f"the connection was closed: {closed}"
