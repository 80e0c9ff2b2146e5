"""Who listens: connections, what each is subscribed to, and delivery to all of them."""

import asyncio
import contextlib
from typing import Any, Protocol

from aiohttp import web

from trader_pipelines_tests.exchange.frames import Listing, Print
from trader_pipelines_tests.exchange.state import Exchange, Key

SLOW = 32 << 20  # a client that leaves so many bytes unread is cut off, as venues do


class Connection(Protocol):
    """One websocket of a client."""

    ws: web.WebSocketResponse
    transport: asyncio.Transport
    venues: tuple[str, ...]

    def wants(self, key: Key) -> list[str]:
        """Names of the forms in which it wants a symbol's prints."""
        ...

    def encode(self, form: str, item: Print, of: Listing) -> list[bytes]:
        """A print in one form; equal for all connections that want that form."""
        ...

    def bundle(self, payloads: list[bytes]) -> bytes:
        """The frames of some payloads."""
        ...

    def garbage(self, payload: bytes) -> bytes:
        """A frame that holds half a payload."""
        ...


class Hub:
    """All connections of an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.connections: set[Connection] = set()
        self.listings = {
            key: Listing(tape.venue, tape.symbol, tape.price_dp, tape.size_dp)
            for key, tape in exchange.base.items()
        }
        self.listeners: dict[Key, list[tuple[Connection, list[str]]]] = {}
        self.opened = 0
        self.cut_off = 0

    def add(self, connection: Connection) -> None:
        """A client has connected."""
        self.opened += 1
        self.connections.add(connection)
        self.refresh()

    def remove(self, connection: Connection) -> None:
        """A client has gone."""
        self.connections.discard(connection)
        self.refresh()

    def refresh(self) -> None:
        """Read again who wants what."""
        self.listeners = {
            key: [(c, forms) for c in self.connections if (forms := c.wants(key))]
            for key in self.listings
        }

    def subscribed(self) -> int:
        """How many symbols somebody listens to."""
        return sum(bool(listeners) for listeners in self.listeners.values())

    def deliver(self, items: list[Print]) -> None:
        """Write prints to everybody who wants them; shared forms are encoded once."""
        outgoing: dict[Connection, list[bytes]] = {}
        for item in items:
            listeners = self.listeners[item.key]
            if not listeners:
                continue
            shared: dict[str, list[bytes]] = {}
            for connection, forms in listeners:
                held = outgoing.setdefault(connection, [])
                for form in forms:
                    payloads = shared.get(form)
                    if payloads is None:
                        payloads = connection.encode(form, item, self.listings[item.key])
                        shared[form] = payloads
                    if item.garbled and payloads:
                        self._flush(connection, held)
                        self.write(connection, connection.garbage(payloads[0]))
                    held.extend(payloads)
        for connection, held in outgoing.items():
            self._flush(connection, held)

    def _flush(self, connection: Connection, held: list[bytes]) -> None:
        if held:
            self.write(connection, connection.bundle(held))
            held.clear()

    def write(self, connection: Connection, data: bytes) -> None:
        """Write frames; a client that does not read is cut off."""
        if connection.transport.is_closing():
            return
        connection.transport.write(data)
        if connection.transport.get_write_buffer_size() > SLOW:
            self.cut_off += 1
            connection.transport.abort()

    def waiting(self) -> int:
        """The most bytes that a live client has not read yet."""
        return max(
            (
                c.transport.get_write_buffer_size()
                for c in self.connections
                if not c.transport.is_closing()
            ),
            default=0,
        )

    async def disconnect(self, code: int, venue: str = "") -> int:
        """Close connections: with a close code, or without a word when it is 1006."""
        chosen = [c for c in self.connections if not venue or venue in c.venues]
        for connection in chosen:
            # Prints after this moment are not for this client any more.
            self.connections.discard(connection)
        self.refresh()
        for connection in chosen:
            if code == 1006:
                await self._drained(connection)
                connection.transport.close()
            else:
                with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
                    await asyncio.wait_for(connection.ws.close(code=code), 5)
        return len(chosen)

    async def _drained(self, connection: Connection) -> None:
        for _ in range(1000):
            if not connection.transport.get_write_buffer_size():
                return
            await asyncio.sleep(0.002)

    def report(self) -> dict[str, Any]:
        """For the control endpoint."""
        return {
            "open": len(self.connections),
            "opened": self.opened,
            "cut_off": self.cut_off,
            "subscribed_symbols": self.subscribed(),
        }
