"""What tests ask and tell the exchange, under ``/_control``."""

import json
from typing import Any

from aiohttp import web

from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.faults import FaultError
from trader_pipelines_tests.exchange.hub import Hub
from trader_pipelines_tests.exchange.replay import Replay
from trader_pipelines_tests.exchange.state import Exchange, Key, replace_faults

PAGE = 100_000


def routes(exchange: Exchange, hub: Hub, replay: Replay) -> list[web.RouteDef]:
    """Reading with GET, telling with POST of a JSON object."""

    def get(name: str, answer: Any) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            return web.json_response(answer(request))

        return web.get(f"/_control/{name}", handler, name=f"control.{name}")

    def post(name: str, act: Any) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            told = json.loads(await request.text() or "{}")
            try:
                result = act(told)
                if hasattr(result, "__await__"):
                    result = await result
            except (FaultError, ValueError, KeyError) as error:
                return web.json_response({"error": str(error)}, status=400)
            return web.json_response(result if result is not None else {"ok": True})

        return web.post(f"/_control/{name}", handler, name=f"control.{name}.set")

    def reset(told: dict[str, Any]) -> None:
        exchange.forget(limits=bool(told.get("limits")))
        if told.get("replay"):
            exchange.revisions.clear()
            exchange.replay_started = False
        if "faults" in told:
            replace_faults(exchange, told["faults"])
        if told.get("replay"):
            replay.rewind()

    def clock(told: dict[str, Any]) -> dict[str, Any]:
        if "set_ms" in told:
            told["advance"] = told["set_ms"] / 1e3 - exchange.clock.seconds()
        if told.get("advance", 0) < 0:
            raise ValueError("the clock does not go back")
        exchange.clock.advanced += float(told.get("advance", 0))
        return {"now_ms": exchange.clock.now_ms()}

    def revise(told: dict[str, Any]) -> None:
        key = (told["venue"], told["symbol"])
        kind = told["kind"]
        if key[0] == "binance" or key not in exchange.base or kind not in ("cancel", "correct"):
            raise ValueError("revise wants venue alpaca or crypto, symbol, id, kind")
        exchange.revisions.setdefault(key, []).append((int(told["id"]), kind))
        exchange.set_faults(exchange.faults)
        replay.revise_now(key, int(told["id"]), kind)

    def steer(told: dict[str, Any]) -> dict[str, Any]:
        if "rate" in told:
            replay.set_rate(str(told["rate"]))
        if told.get("start"):
            replay.start()
        if "step" in told:
            replay.start()
            replay.step(int(told["step"]))
        return replay.report()

    async def disconnect(told: dict[str, Any]) -> dict[str, Any]:
        return {"closed": await hub.disconnect(told.get("code", 1006), told.get("venue", ""))}

    return [
        get("state", lambda _: state(exchange, hub, replay)),
        get("requests", lambda _: list(exchange.log)),
        get("symbols", lambda _: exchange.symbols()),
        get("tape", lambda request: rows(exchange, request)),
        get("sent", lambda request: sent(exchange, _key(exchange, request))),
        post("faults", lambda told: replace_faults(exchange, told)),
        post("clock", clock),
        post("revise", revise),
        post("replay", steer),
        post("disconnect", disconnect),
        post("reset", reset),
    ]


def state(exchange: Exchange, hub: Hub, replay: Replay) -> dict[str, Any]:
    """Counters, limits, bans, faults, connections, replay."""
    return {
        "now_ms": exchange.clock.now_ms(),
        "requests": dict(exchange.counters),
        "weights": dict(exchange.weights),
        "answers": dict(exchange.answers),
        "binance_limits": exchange.limits.report(),
        "alpaca_limits": exchange.alpaca_limits.report(),
        "faults": exchange.faults.report(),
        "connections": hub.report(),
        "replay": replay.report(),
    }


def rows(exchange: Exchange, request: web.Request) -> dict[str, Any]:
    """The true tape of a symbol: columns of rows ``lo`` to ``hi``, at most 100,000."""
    tape = exchange.truth[_key(exchange, request)]
    lo = int(request.query.get("lo", 0))
    hi = min(len(tape), int(request.query.get("hi", len(tape))), lo + PAGE)
    part = tapes.take(tape, slice(lo, hi))
    return {
        "count": len(tape),
        "price_dp": tape.price_dp,
        "size_dp": tape.size_dp,
        **{name: getattr(part, name).tolist() for name in tapes.COLUMNS},
    }


def sent(exchange: Exchange, key: Key) -> dict[str, Any]:
    """What the stream printed of a symbol, what somebody was sent, and what faults did."""
    told = exchange.sent[key]
    return {
        "printed": told.printed,
        "ranges": told.ranges,
        **{kind: list(ids) for kind, ids in told.done.items()},
    }


def _key(exchange: Exchange, request: web.Request) -> Key:
    key = (request.query.get("venue", "binance"), request.query["symbol"])
    if key not in exchange.base:
        raise web.HTTPNotFound(text=f"no tape of {key}")
    return key
