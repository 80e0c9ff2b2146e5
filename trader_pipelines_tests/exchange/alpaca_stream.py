"""Alpaca's websockets: stocks, crypto and news, in msgpack or JSON as the client asks.

https://docs.alpaca.markets/docs/streaming-market-data
"""

import asyncio
import json
from typing import Any

import msgpack
import numpy as np
from aiohttp import WSMsgType, web

from trader_pipelines_tests.exchange import frames
from trader_pipelines_tests.exchange.alpaca_rest import parse_time
from trader_pipelines_tests.exchange.frames import Listing, Print
from trader_pipelines_tests.exchange.hub import Hub
from trader_pipelines_tests.exchange.state import Exchange, Key

CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "news")
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    406: "connection limit exceeded",
    409: "insufficient subscription",
}


class AlpacaConnection:
    """One client of a feed."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        feed: str,
        listings: dict[Key, Listing],
        *,
        json: bool,
    ) -> None:
        self.ws, self.transport, self.feed, self.json = ws, transport, feed, json
        self.listings = listings
        self.venues: tuple[str, ...] = ("crypto" if feed == "crypto" else "alpaca",)
        self.key = ""
        self.channels: dict[str, dict[str, None]] = {name: {} for name in CHANNELS}

    def subscribed(self, channel: str, symbol: str) -> bool:
        """Whether it listens to a symbol, by name or by ``*``."""
        wanted = self.channels[channel]
        return symbol in wanted or "*" in wanted

    def wants(self, key: Key) -> list[str]:
        """``json`` or ``msgpack``; ``iex`` in front where only that exchange is told."""
        venue, symbol = key
        if not self.key or venue not in self.venues or not self.subscribed("trades", symbol):
            return []
        form = "json" if self.json else "msgpack"
        return [f"iex-{form}" if self.feed == "iex" else form]

    def encode(self, form: str, item: Print, of: Listing) -> list[bytes]:
        """A print as a message."""
        if form.startswith("iex") and item.place != ord("V"):
            return []
        message = frames.alpaca_message(item, of)
        return [frames.packed_message(message, json=form.endswith("json"))]

    def bundle(self, payloads: list[bytes]) -> bytes:
        """Arrays of messages."""
        return b"".join(frames.arrays(payloads, json=self.json))

    def garbage(self, payload: bytes) -> bytes:
        """Half a message in a whole frame."""
        half = payload[: len(payload) // 2]
        if self.json:
            return frames.frame(frames.TEXT, b"[" + half)
        return frames.frame(frames.BINARY, b"\x91" + half)

    def announce(self, key: Key, ts: int, kind: str, item: Print | None, halted: bool) -> bytes:
        """A cancellation, a correction or a trading status; nothing where it is not wanted."""
        venue, symbol = key
        channel = "statuses" if kind == "status" else "trades"
        if not self.key or venue not in self.venues or not self.subscribed(channel, symbol):
            return b""
        if item is not None:
            message = frames.revision_message(item, self.listings[key], kind)
        else:
            message = {
                "T": "s",
                "S": symbol,
                "sc": "H" if halted else "T",
                "sm": "Trading Halt" if halted else "Trading Resumption",
                "rc": "T12" if halted else "",
                "rm": "Trading Halted" if halted else "",
                "z": "B",
                "t": ts,
            }
        return self.bundle([frames.packed_message(message, json=self.json)])

    async def send(self, *messages: dict[str, Any]) -> None:
        """Control messages, an array each."""
        for message in messages:
            data = self.bundle([frames.packed_message(message, json=self.json)])
            if not self.transport.is_closing():
                self.transport.write(data)

    async def refuse(self, code: int) -> None:
        """An error message."""
        await self.send({"T": "error", "code": code, "msg": ERRORS[code]})

    def summary(self) -> dict[str, Any]:
        """What it is subscribed to now; trades bring cancellations and corrections along."""
        told: dict[str, Any] = {"T": "subscription"}
        told |= {name: list(symbols) for name, symbols in self.channels.items() if name != "news"}
        if self.feed == "news":
            return {"T": "subscription", "news": list(self.channels["news"])}
        trades = list(self.channels["trades"])
        return told | {"corrections": trades, "cancelErrors": trades}


def routes(exchange: Exchange, hub: Hub) -> list[web.RouteDef]:
    """``/v2/<feed>``, ``/v1beta3/crypto/us``, and ``/stream/v1beta1/news`` beside REST's news."""

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Content-Type", "")
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        feed = request.match_info.get("feed") or request.match_info["kind"]
        connection = AlpacaConnection(
            ws, request.transport, feed, hub.listings, json="msgpack" not in asked
        )
        await connection.send({"T": "success", "msg": "connected"})
        hub.add(connection)
        try:
            async for message in ws:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await _told(exchange, hub, connection, _read(message.data))
        finally:
            hub.remove(connection)
        return ws

    return [
        web.get(r"/v2/{feed:sip|iex|delayed_sip}", handler, name="alpaca.connect"),
        web.get(r"/v1beta3/{kind:crypto}/{place}", handler, name="alpaca.connect.crypto"),
        web.get(r"/stream/v1beta1/{kind:news}", handler, name="alpaca.connect.news"),
    ]


def _read(data: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException):
        return {}
    return message if isinstance(message, dict) else {}


async def _told(
    exchange: Exchange, hub: Hub, connection: AlpacaConnection, message: dict[str, Any]
) -> None:
    action = message.get("action")
    if action == "auth":
        await _authenticate(exchange, hub, connection, message)
    elif action not in ("subscribe", "unsubscribe"):
        await connection.refuse(400)
    elif not connection.key:
        await connection.refuse(401)
    else:
        for channel in CHANNELS:
            for symbol in message.get(channel, []):
                if action == "subscribe":
                    connection.channels[channel][symbol] = None
                else:
                    connection.channels[channel].pop(symbol, None)
        await connection.send(connection.summary())
        if connection.feed == "news" and action == "subscribe":
            await _send_news(exchange, connection)
        hub.refresh()


async def _authenticate(
    exchange: Exchange, hub: Hub, connection: AlpacaConnection, message: dict[str, Any]
) -> None:
    if connection.key:
        await connection.refuse(403)
        return
    key = str(message.get("key", ""))
    entitled = exchange.entitled(key, str(message.get("secret", "")))
    twice = any(
        isinstance(other, AlpacaConnection)
        and other is not connection
        and (other.key, other.feed) == (key, connection.feed)
        and not other.transport.is_closing()
        for other in hub.connections
    )
    if entitled is None:
        await connection.refuse(402)
    elif connection.feed == "sip" and not entitled:
        await connection.refuse(409)
    elif twice:
        await connection.refuse(406)
    else:
        connection.key = key
        await connection.send({"T": "success", "msg": "authenticated"})


async def _send_news(exchange: Exchange, connection: AlpacaConnection) -> None:
    """All items once, oldest first."""
    for item in sorted(exchange.news, key=lambda item: str(item["updated_at"])):
        if any(connection.subscribed("news", symbol) for symbol in [*item["symbols"], "*"]):
            message = {"T": "n", "source": "benzinga", "content": "", **item}
            if not connection.json:
                for name in ("created_at", "updated_at"):
                    ns = int(np.int64(parse_time(item[name])))
                    message[name] = msgpack.Timestamp.from_unix_nano(ns)
            await connection.send(message)
