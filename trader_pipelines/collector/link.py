"""One websocket connection: kept open, watched for silence, its frames queued as they come."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trader_pipelines.collector.options import Options
from trader_pipelines.core.errors import SettingsError
from trader_pipelines.venues.asking import retry_after
from trader_pipelines.venues.refusals import key_refused
from trader_pipelines.venues.stream import Feed, Frame

if TYPE_CHECKING:
    import aiohttp

STEADY = 10.0  # seconds after which a connection counts as a good one
BAN = 120.0  # seconds, of a 418 that does not tell how long: the venue's shortest


@dataclass
class Inbox:
    """Frames that wait to be stored; who brings more than it holds has to wait."""

    limit: int
    frames: list[Frame] = field(default_factory=list)
    room: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, most: int) -> list[Frame]:
        """The oldest that wait."""
        taken, self.frames = self.frames[:most], self.frames[most:]
        if len(self.frames) < self.limit:
            self.room.set()
        return taken


@dataclass
class Link:
    """A connection for some symbols and what has become of it."""

    feed: Feed
    symbols: Sequence[str]
    inbox: Inbox
    options: Options
    connects: int = 0
    open: bool = False
    heard: float = 0.0
    trouble: str = ""
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, read, and connect again, until the stop.

        Raises
        ------
        KeyRefusedError, SettingsError
            When the venue refuses the very first connection in a way that waiting does not mend.
        """
        import aiohttp

        failures = 0
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not stop.is_set():
                begun, told = time.monotonic(), 0.0
                try:
                    async with asyncio.timeout(15):
                        ws = await session.ws_connect(
                            self.feed.url,
                            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                            max_msg_size=1 << 24,
                        )
                    try:
                        await self._attend(ws, stop)
                    finally:
                        self.open = False
                        await ws.close()
                except aiohttp.WSServerHandshakeError as error:
                    told = self._refused(error.status, error.headers or {})
                except aiohttp.InvalidURL:
                    raise _no_websocket(self.feed, "no address") from None
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self.trouble = f"{type(error).__name__}: {error}"
                if stop.is_set():
                    return
                steady = time.monotonic() - begun > STEADY
                failures = 0 if steady else failures + 1
                wait = back_off(self.options, 0 if told else failures)
                await pause(told + wait, stop)

    def _refused(self, status: int, headers: Mapping[str, str]) -> float:
        """Seconds that the venue asks to wait before the next attempt."""
        self.trouble = f"the venue answers {status} to the connection"
        if status in (418, 429):
            told = retry_after(headers)
            if told is None:
                told = BAN if status == 418 else 0.0
            self.trouble += f"; asked again after {told:g} s" if told else ""
            return told
        if not self.connects and status in (401, 403, 451):
            raise key_refused(self.feed.name, self.feed.url, f"it answers {status}")
        if not self.connects and status < 500:
            raise _no_websocket(self.feed, f"it answers {status}")
        return 0.0

    async def _attend(
        self, ws: "aiohttp.ClientWebSocketResponse[Any]", stop: asyncio.Event
    ) -> None:
        for message in self.feed.opening(self.symbols):
            await ws.send_str(message)
        self.connects += 1
        self.open, self.heard, probed = True, time.monotonic(), False
        self.cut.clear()
        reading = asyncio.create_task(self._read(ws))
        ends = [asyncio.create_task(event.wait()) for event in (stop, self.cut)]
        try:
            while True:
                wait = self.options.silence / 8
                done, _ = await asyncio.wait(
                    [reading, *ends], timeout=wait, return_when="FIRST_COMPLETED"
                )
                if done:
                    break
                full = len(self.inbox.frames) >= self.inbox.limit
                quiet = 0.0 if full else time.monotonic() - self.heard
                if quiet > self.options.silence:
                    self.trouble = f"no frame for {quiet:.1f} s"
                    break
                if quiet < self.options.silence / 2:
                    probed = False
                elif not probed:
                    probed = True
                    await ws.send_str(self.feed.probe())
        finally:
            for task in (reading, *ends):
                task.cancel()
            await asyncio.gather(reading, *ends, return_exceptions=True)

    async def _read(self, ws: "aiohttp.ClientWebSocketResponse[Any]") -> None:
        from aiohttp import WSMsgType

        inbox, now = self.inbox, time.time_ns
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                self.heard = time.monotonic()
                inbox.frames.append((now(), message.data))
                if len(inbox.frames) >= inbox.limit:
                    inbox.room.clear()
                    await inbox.room.wait()
                    self.heard = time.monotonic()
        self.trouble = f"the venue closed the connection, code {ws.close_code}"


def _no_websocket(feed: Feed, said: str) -> SettingsError:
    return SettingsError(
        f"there is no stream of venue {feed.name} at this address: {said}",
        where=feed.url,
        remedy="correct the address of the venue's stream in the settings, or unset it",
    )


def back_off(options: Options, failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, jittered."""
    longest = min(options.back_off_cap, options.back_off * 2.0 ** min(failures, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, unless it is time to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
