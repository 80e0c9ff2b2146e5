"""The exchange as one aiohttp application: limits first, then faults, then the venue's answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from trader_pipelines_tests.exchange import (
    alpaca_rest,
    alpaca_stream,
    archive,
    binance_rest,
    binance_stream,
    control,
    errors,
)
from trader_pipelines_tests.exchange.errors import VenueError
from trader_pipelines_tests.exchange.faults import Fault
from trader_pipelines_tests.exchange.hub import Hub
from trader_pipelines_tests.exchange.limits import WEIGHTS, Refusal
from trader_pipelines_tests.exchange.replay import Replay
from trader_pipelines_tests.exchange.state import Exchange

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
INSTEAD = ("too_many", "ban", "status", "slow", "hang", "refuse")
AFTER = ("cut", "truncate", "corrupt")
TOO_MUCH = (
    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    " Please use WebSocket Streams for live updates to avoid polling the API."
)
BANNED = (
    "Way too much request weight used; IP banned until {until}."
    " Please use WebSocket Streams for live updates to avoid bans."
)


def build(exchange: Exchange) -> tuple[web.Application, Replay]:
    """The application with all its routes, and the replay that runs beside it."""
    hub = Hub(exchange)
    replay = Replay(exchange, hub)

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _gate(exchange, request, handler)

    app = web.Application(middlewares=[gate])
    for module in (binance_rest, alpaca_rest, archive):
        app.add_routes(module.routes(exchange))
    app.add_routes(binance_stream.routes(exchange, hub))
    app.add_routes(alpaca_stream.routes(exchange, hub))
    app.add_routes(control.routes(exchange, hub, replay))

    async def running(_: web.Application) -> Any:
        task = asyncio.create_task(replay.run())
        yield
        task.cancel()

    async def leave(_: web.Application) -> None:
        await hub.disconnect(1001)

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(leave)
    return app, replay


async def _gate(exchange: Exchange, request: web.Request, handler: Handler) -> web.StreamResponse:
    endpoint = str(request.match_info.route.name or "unknown")
    if endpoint.startswith("control"):
        return await handler(request)
    symbol = request.query.get("symbol") or request.query.get("symbols", "")
    symbol = symbol or request.match_info.get("symbol", "")
    weight = WEIGHTS.get(endpoint, 0)
    headers: dict[str, str] = {}
    answer: web.StreamResponse | None = None
    fault: Fault | None = None
    if endpoint in WEIGHTS:
        refusal = exchange.limits.admit(weight)
        answer = _refused(exchange, refusal) if refusal else None
    elif endpoint.startswith("alpaca.") and "connect" not in endpoint:
        key = request.headers.get("APCA-API-KEY-ID", "")
        refusal, headers = exchange.alpaca_limits.admit(key)
        answer = errors.failure(endpoint, 429) if refusal else None
    if answer is None:
        kinds = (*INSTEAD, "expired_token") if "page_token" in request.query else INSTEAD
        fault = exchange.faults.first(kinds, endpoint, symbol)
        answer = await _troubled(exchange, request, endpoint, fault) if fault else None
    if answer is None:
        try:
            answer = await handler(request)
        except VenueError as error:
            answer = error.response()
    if endpoint in WEIGHTS:
        used = str(exchange.limits.used)
        headers = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
    name = fault.kind if fault else ""
    if isinstance(answer, web.Response) and not answer.prepared:
        answer.headers.update(headers)
        after = exchange.faults.first(AFTER, endpoint, symbol) if answer.status == 200 else None
        if after:
            name = after.kind
            answer = await _damaged(request, answer, after)
    exchange.note(endpoint, request.query, answer.status, weight, name)
    return answer


def _refused(exchange: Exchange, refusal: Refusal) -> web.Response:
    words = TOO_MUCH.format(limit=exchange.limits.limit)
    if refusal.status == 418:
        words = BANNED.format(until=refusal.until_ms)
    told = {"Retry-After": str(refusal.retry_after)}
    return VenueError(refusal.status, {"code": -1003, "msg": words}, told).response()


async def _troubled(
    exchange: Exchange, request: web.Request, endpoint: str, fault: Fault
) -> web.StreamResponse | None:
    """What a fault answers instead of the venue; None when it only made the client wait."""
    binance = endpoint.startswith("binance")
    match fault.kind:
        case "slow":
            await asyncio.sleep(fault.seconds)
            return None
        case "hang" | "refuse":
            if fault.kind == "hang":
                await asyncio.sleep(fault.seconds)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        case "expired_token":
            return errors.alpaca(422, "invalid page_token").response()
        case "ban":
            if not binance:
                return errors.failure(endpoint, 403)
            return _refused(exchange, exchange.limits.ban(fault.seconds * exchange.clock.pace))
        case "too_many":
            if binance and fault.retry_after is not None:
                held = fault.retry_after * exchange.clock.pace
                return _refused(exchange, exchange.limits.refuse(held))
            body = {"code": -1003, "msg": TOO_MUCH.format(limit=exchange.limits.limit)}
            answer = errors.failure(endpoint, 429)
            if binance:
                answer = VenueError(429, body).response()
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = f"{fault.retry_after:g}"
            return answer
        case _:
            return errors.failure(endpoint, fault.status)


async def _damaged(request: web.Request, answer: web.Response, fault: Fault) -> web.StreamResponse:
    """A good answer cut, shortened, or with one bit flipped."""
    assert isinstance(answer.body, bytes)
    body = answer.body
    half = body[: len(body) // 2]
    if fault.kind == "truncate":
        answer.body = half
        return answer
    if fault.kind == "corrupt":
        middle = len(body) // 2
        answer.body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        return answer
    headers = {k: v for k, v in answer.headers.items() if k != "Content-Length"}
    cut = web.StreamResponse(status=200, headers=headers | {"Content-Length": str(len(body))})
    await cut.prepare(request)
    await cut.write(half)
    if request.transport is not None:
        request.transport.close()
    return cut
