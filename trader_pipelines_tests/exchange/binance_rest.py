"""Binance's public REST endpoints over the tapes.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

import json
import re
from email.utils import formatdate
from itertools import islice
from typing import Any

import numpy as np
from aiohttp import web

from trader_pipelines_tests.exchange import bars, tapes
from trader_pipelines_tests.exchange.errors import binance
from trader_pipelines_tests.exchange.formats import split
from trader_pipelines_tests.exchange.rows import Row, spoiled
from trader_pipelines_tests.exchange.state import Exchange
from trader_pipelines_tests.exchange.tapes import Tape

LARGEST = 1000
READS = {
    "ping": (),
    "time": (),
    "exchangeInfo": ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
    "aggTrades": ("symbol", "fromId", "startTime", "endTime", "limit"),
    "trades": ("symbol", "limit"),
    "historicalTrades": ("symbol", "limit", "fromId"),
    "klines": ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"),
}


def routes(exchange: Exchange) -> list[web.RouteDef]:
    """The endpoints, each named ``binance.<endpoint>``."""

    def get(name: str, answer: Any) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            unread = [key for key in request.query if key not in READS[name]]
            if unread:
                raise binance(
                    400,
                    -1104,
                    "Not all sent parameters were read; read"
                    f" '{len(request.query) - len(unread)}' parameter(s) but was sent"
                    f" '{len(request.query)}'.",
                )
            body = answer(exchange, request)
            return web.Response(
                body=body if isinstance(body, bytes) else json.dumps(body).encode(),
                content_type="application/json",
                headers={"Date": formatdate(exchange.clock.now_ns() / 1e9, usegmt=True)},
            )

        return web.get(f"/api/v3/{name}", handler, name=f"binance.{name}")

    return [
        get("ping", lambda *_: {}),
        get("time", lambda ex, request: {"serverTime": ex.clock.now_ms() * _units(request)}),
        get("exchangeInfo", exchange_info),
        get("aggTrades", agg_trades),
        get("trades", recent_trades),
        get("historicalTrades", historical_trades),
        get("klines", klines),
    ]


def agg_trades(exchange: Exchange, request: web.Request) -> bytes:
    """Aggregate trades by `fromId`, by time, or the latest ones."""
    tape = _tape(exchange, request)
    limit = _limit(request)
    from_id, start, end = (_integer(request, k) for k in ("fromId", "startTime", "endTime"))
    if from_id is not None and (start is not None or end is not None):
        raise binance(400, -1128, "Combination of optional parameters invalid.")
    if from_id is not None:
        lo = int(np.searchsorted(tape.id, from_id, "left"))
        hi = min(len(tape), lo + limit)
    else:
        lo, hi = _window(tape, start, end, limit)
    page = tapes.take(tape, slice(lo, hi))
    rows = [
        Row(i, p, q, f, last, t, maker)
        for i, p, q, f, last, t, maker in zip(
            page.id.tolist(),
            [tapes.text(v, page.price_dp) for v in page.price.tolist()],
            [tapes.text(v, page.size_dp) for v in page.size.tolist()],
            page.first.tolist(),
            page.last.tolist(),
            (page.ts // (1_000_000 // _units(request))).tolist(),
            (page.side < 0).tolist(),
            strict=True,
        )
    ]
    rows = spoiled(exchange.faults, "binance.aggTrades", tape.symbol, rows)
    return b"[" + b",".join(row.aggregate() for row in rows) + b"]"


def recent_trades(exchange: Exchange, request: web.Request) -> bytes:
    """The latest raw trades."""
    tape = _tape(exchange, request)
    last = int(tape.last[-1]) if len(tape) else 0
    return _raw(exchange, "binance.trades", tape, last - _limit(request) + 1, request)


def historical_trades(exchange: Exchange, request: web.Request) -> bytes:
    """Raw trades from `fromId` on, or the latest ones; their ids are not aggregate ids."""
    tape = _tape(exchange, request)
    from_id = _integer(request, "fromId")
    if from_id is None:
        from_id = (int(tape.last[-1]) if len(tape) else 0) - _limit(request) + 1
    return _raw(exchange, "binance.historicalTrades", tape, from_id, request)


def _raw(
    exchange: Exchange, endpoint: str, tape: Tape, from_id: int, request: web.Request
) -> bytes:
    limit = _limit(request)
    lo = int(np.searchsorted(tape.last, from_id, "left"))
    # Every print holds at least one raw trade, so this many are enough.
    fills = bars.expanded(tapes.take(tape, slice(lo, lo + limit + 1)), _units(request))
    rows = list(islice((row for row in fills if row.id >= from_id), limit))
    rows = spoiled(exchange.faults, endpoint, tape.symbol, rows)
    return b"[" + b",".join(row.raw(tape.price_dp, tape.size_dp) for row in rows) + b"]"


def klines(exchange: Exchange, request: web.Request) -> Any:
    """Bars of the whole tape: also of prints that REST has lost, as the venue's own are."""
    symbol = _symbol(exchange, request)
    seconds = bars.INTERVALS.get(request.query.get("interval", ""))
    if seconds is None:
        raise binance(400, -1120, "Invalid interval.")
    tape = exchange.view(("binance", symbol), "klines")
    limit = _limit(request)
    start, end = _integer(request, "startTime"), _integer(request, "endTime")
    rows = bars.klines(tape, seconds, start, end, limit)
    if rows and exchange.faults.first(["wrong_kline"], "binance.klines", symbol):
        rows[len(rows) // 2][8] += 1
    return rows


def exchange_info(exchange: Exchange, request: web.Request) -> dict[str, Any]:
    """The symbols of the tapes in the venue's shape."""
    listed = [symbol for venue, symbol in exchange.truth if venue == "binance"]
    if "symbol" in request.query:
        asked = [request.query["symbol"]]
    elif "symbols" in request.query:
        asked = json.loads(request.query["symbols"])
    else:
        asked = listed
    if not set(asked) <= set(listed):
        raise binance(400, -1121, "Invalid symbol.")
    limit = exchange.limits.limit
    return {
        "timezone": "UTC",
        "serverTime": exchange.clock.now_ms(),
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": limit,
            },
            {
                "rateLimitType": "RAW_REQUESTS",
                "interval": "MINUTE",
                "intervalNum": 5,
                "limit": 61_000,
            },
        ],
        "exchangeFilters": [],
        "symbols": [_listing(exchange, symbol) for symbol in asked],
    }


def _listing(exchange: Exchange, symbol: str) -> dict[str, Any]:
    tape = exchange.base["binance", symbol]
    base, quote = split(symbol)
    tick = tapes.text(1, tapes.step(tape.price, tape.price_dp)[1]) if len(tape) else "0.01"
    lot = tapes.text(1, tapes.step(tape.size, tape.size_dp)[1]) if len(tape) else "0.01"
    filters = [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": tick,
            "maxPrice": "1000000.00000000",
            "tickSize": tick,
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": lot,
            "maxQty": "9000000.00000000",
            "stepSize": lot,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
    ]
    return {
        "symbol": symbol,
        "status": "HALT" if exchange.halted(symbol) else "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _symbol(exchange: Exchange, request: web.Request) -> str:
    symbol = request.query.get("symbol", "")
    if not symbol:
        raise binance(
            400,
            -1102,
            "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
        )
    if not re.fullmatch(r"[A-Z0-9\-_.]{1,20}", symbol):
        raise binance(
            400,
            -1100,
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        )
    if ("binance", symbol) not in exchange.truth:
        raise binance(400, -1121, "Invalid symbol.")
    return symbol


def _tape(exchange: Exchange, request: web.Request) -> Tape:
    return exchange.view(("binance", _symbol(exchange, request)), "rest")


def _integer(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"\d{1,20}", value):
        raise binance(
            400,
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.",
        )
    return int(value)


def _limit(request: web.Request) -> int:
    limit = _integer(request, "limit")
    return 500 if not limit else min(limit, LARGEST)


def _units(request: web.Request) -> int:
    """Stamps a millisecond: a thousand when the client asks for microseconds."""
    asked = request.headers.get("X-MBX-TIME-UNIT", "").upper()
    return 1000 if asked == "MICROSECOND" else 1


def _window(tape: Tape, start: int | None, end: int | None, limit: int) -> tuple[int, int]:
    """From `start` on when it is given, else the last ones before `end`."""
    end_ns = None if end is None else (end + 1) * 1_000_000 - 1
    lo, hi = tapes.between(tape, None if start is None else start * 1_000_000, end_ns)
    return (lo, min(hi, lo + limit)) if start is not None else (max(lo, hi - limit), hi)
