"""Binance's websocket: raw and combined streams, subscriptions, pings, its limits.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from typing import Any

from aiohttp import WSMsgType, web

from trader_pipelines_tests.exchange import frames
from trader_pipelines_tests.exchange.frames import Listing, Print
from trader_pipelines_tests.exchange.hub import Hub
from trader_pipelines_tests.exchange.limits import Sliding
from trader_pipelines_tests.exchange.state import Exchange, Key

LARGEST = 1024  # streams a connection
MESSAGES = 5  # a second


class BinanceConnection:
    """One client of Binance's streams."""

    venues: tuple[str, ...] = ("binance",)

    def __init__(
        self,
        exchange: Exchange,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        streams: list[str],
        *,
        wrapped: bool,
        micro: bool = False,
    ) -> None:
        self.exchange, self.ws, self.transport = exchange, ws, transport
        self.streams = dict.fromkeys(streams)
        self.wrapped, self.micro = wrapped, micro
        self.pong_at = time.monotonic()

    def wants(self, key: Key) -> list[str]:
        """``agg``, ``raw``; ``+`` in the wrapping of combined streams, ``u`` in microseconds."""
        venue, symbol = key
        if venue != "binance":
            return []
        mark = ("u" if self.micro else "") + ("+" if self.wrapped else "")
        name = symbol.lower()
        forms = (("agg", f"{name}@aggTrade"), ("raw", f"{name}@trade"))
        return [form + mark for form, stream in forms if stream in self.streams]

    def encode(self, form: str, item: Print, of: Listing) -> list[bytes]:
        """Payloads of a print."""
        raw = form.startswith("raw")
        if self.micro:
            item = replace(item, micro=True)
        make = frames.raw_trades if raw else frames.agg_trade
        payloads = make(item, of, self.exchange.clock.skew_ms)
        if not form.endswith("+"):
            return payloads
        stream = f"{of.symbol.lower()}@{'trade' if raw else 'aggTrade'}"
        return [frames.combined(stream, payload) for payload in payloads]

    def bundle(self, payloads: list[bytes]) -> bytes:
        """A text frame a payload, in one piece."""
        return b"".join([frames.frame(frames.TEXT, payload) for payload in payloads])

    def garbage(self, payload: bytes) -> bytes:
        """Half a payload."""
        return frames.frame(frames.TEXT, payload[: len(payload) // 2])

    def told(self, text: str) -> dict[str, Any]:
        """Obey a SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS; the answer."""
        try:
            message = json.loads(text)
            method, asked = message["method"], message.get("params", [])
        except (ValueError, TypeError, KeyError):
            return _refusal(2, "Invalid request: invalid JSON or no method", None)
        number = message.get("id")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self.streams), "id": number}
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return _refusal(2, f"Invalid request: unknown variant {method}", number)
        if not isinstance(asked, list) or not all(isinstance(s, str) for s in asked):
            return _refusal(2, "Invalid request: request params must be strings", number)
        if method == "SUBSCRIBE":
            if len(self.streams) + len(asked) > LARGEST:
                return _refusal(2, "Invalid request: too many streams", number)
            self.streams |= dict.fromkeys(asked)
        else:
            for stream in asked:
                self.streams.pop(stream, None)
        return {"result": None, "id": number}


def _refusal(code: int, words: str, number: Any) -> dict[str, Any]:
    return {"error": {"code": code, "msg": words}, "id": number}


def routes(exchange: Exchange, hub: Hub) -> list[web.RouteDef]:
    """``/ws``, ``/ws/<streams>``, ``/stream?streams=``, and the same below ``/stream``."""

    async def handler(request: web.Request) -> web.StreamResponse:
        wrapped = request.path == "/stream"
        named = request.query.get("streams", "") if wrapped else request.match_info["streams"]
        if not exchange.connects.admit():
            return web.Response(status=429, headers={"Retry-After": "300"})
        ws = web.WebSocketResponse(autoping=False, compress=False)
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        streams = [name for name in named.split("/") if "@" in name]
        micro = request.query.get("timeUnit", "").upper() == "MICROSECOND"
        connection = BinanceConnection(
            exchange, ws, request.transport, streams, wrapped=wrapped, micro=micro
        )
        hub.add(connection)
        pinging = asyncio.create_task(_ping(connection, exchange.options.ping_seconds))
        try:
            await _listen(connection, hub)
        finally:
            pinging.cancel()
            hub.remove(connection)
        return ws

    return [
        web.get(r"/ws{streams:(?:/.*)?}", handler, name="binance.connect"),
        web.get("/stream", handler, name="binance.connect.combined"),
        # ccxt takes an address for a spot one by its "/stream".
        web.get(r"/stream/ws{streams:(?:/.*)?}", handler, name="binance.connect.spot"),
    ]


async def _listen(connection: BinanceConnection, hub: Hub) -> None:
    incoming = Sliding(connection.exchange.clock, MESSAGES, 1.0)
    ws = connection.ws
    async for message in ws:
        if not incoming.admit():
            await ws.close(code=1008, message=b"Too many requests")
            return
        if message.type == WSMsgType.PING:
            await ws.pong(message.data)
        elif message.type == WSMsgType.PONG:
            connection.pong_at = time.monotonic()
        elif message.type == WSMsgType.TEXT:
            answer = connection.told(message.data)
            # The answer goes first: nothing of a stream comes before it.
            await ws.send_str(json.dumps(answer))
            hub.refresh()


async def _ping(connection: BinanceConnection, seconds: float) -> None:
    """A ping every 20 seconds; a client without a pong for three of them is let go."""
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(seconds)
            if time.monotonic() - connection.pong_at > 3 * seconds:
                connection.transport.close()
                return
            await connection.ws.ping(str(int(time.time() * 1000)).encode())
