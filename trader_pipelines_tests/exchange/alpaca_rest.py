"""Alpaca's market-data and calendar endpoints over the tapes.

https://docs.alpaca.markets/reference/stocktrades-1
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from aiohttp import web

from trader_pipelines_tests.exchange import bars, tapes
from trader_pipelines_tests.exchange.errors import alpaca
from trader_pipelines_tests.exchange.rows import shuffled
from trader_pipelines_tests.exchange.state import Exchange
from trader_pipelines_tests.exchange.tapes import Ints, Tape

LARGEST = 10_000
FEEDS = ("sip", "iex", "otc", "delayed_sip", "boats", "overnight")
QUARTER_HOUR = 15 * 60 * 10**9
UNITS = {"Min": 60, "T": 60, "Hour": 3600, "H": 3600}
ZONES = {"alpaca": "America/New_York", "crypto": "America/Chicago"}


@dataclass(frozen=True, slots=True)
class Group:
    """One symbol's rows of an answer: their keys, ascending, and how to write some of them."""

    symbol: str
    keys: Ints
    write: Callable[[Ints], list[bytes]]


def routes(exchange: Exchange) -> list[web.RouteDef]:
    """The endpoints, each named ``alpaca.<...>``."""

    def get(path: str, name: str, answer: Callable[[Exchange, web.Request], bytes]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=answer(exchange, request), content_type="application/json")

        return web.get(path, handler, name=name)

    return [
        get("/v2/stocks/trades", "alpaca.stocks.trades", trades),
        get("/v2/stocks/bars", "alpaca.stocks.bars", minute_bars),
        get("/v1beta3/crypto/{place}/trades", "alpaca.crypto.trades", trades),
        get("/v1beta3/crypto/{place}/bars", "alpaca.crypto.bars", minute_bars),
        get("/v1beta1/news", "alpaca.news", news),
        get("/v2/calendar", "alpaca.calendar", calendar),
    ]


def trades(exchange: Exchange, request: web.Request) -> bytes:
    """Prints of some symbols, a page of at most ten thousand over all of them together."""
    groups = [
        Group(tape.symbol, tape.id, _trade_writer(tape)) for tape in _asked(exchange, request)
    ]
    return _page(exchange, request, "trades", groups)


def minute_bars(exchange: Exchange, request: web.Request) -> bytes:
    """Bars of any number of minutes or hours, or of one day of the venue's zone."""
    timeframe = re.fullmatch(r"(\d+)(Min|T|Hour|H|Day|D)", request.query.get("timeframe", ""))
    if not timeframe:
        raise alpaca(400, f"invalid timeframe: {request.query.get('timeframe', '')}")
    groups = []
    for tape in _asked(exchange, request):
        rows = bars.alpaca_bars(tape, _opens(tape, int(timeframe[1]), timeframe[2]))
        name = str(request.match_info.route.name)
        if rows and exchange.faults.first(["wrong_kline"], name, tape.symbol):
            rows[len(rows) // 2]["n"] += 1
        keys = np.array([row["ns"] for row in rows], np.int64)
        groups.append(Group(tape.symbol, keys, _bar_writer(rows)))
    return _page(exchange, request, "bars", groups)


def _opens(tape: Tape, count: int, unit: str) -> Ints:
    if unit in UNITS:
        width = count * UNITS[unit] * 10**9
        return tape.ts // width * width
    local = pl.from_numpy(tape.ts).to_series().cast(pl.Datetime("ns", "UTC"))
    days = local.dt.convert_time_zone(ZONES[tape.venue]).dt.truncate("1d")
    return days.dt.convert_time_zone("UTC").dt.timestamp("ns").to_numpy()


def _trade_writer(tape: Tape) -> Callable[[Ints], list[bytes]]:
    crypto = tape.venue == "crypto"

    def write(rows: Ints) -> list[bytes]:
        part = tapes.take(tape, rows)
        columns = (part.price, part.size, part.number, part.place, part.update, part.side)
        told = zip(stamps(part.ts), *(column.tolist() for column in columns), strict=True)
        written = []
        for stamp, price, size, number, place, update, side in told:
            tail = (
                f'"tks":"{"B" if side > 0 else "S"}"'
                if crypto
                else f'"x":"{chr(place) if place else "D"}","c":["@"],"z":"B"'
            )
            flag = f',"u":"{tapes.UPDATES[update]}"' if update else ""
            written.append(
                f'{{"t":"{stamp}","p":{tapes.number(price, part.price_dp)},'
                f'"s":{tapes.number(size, part.size_dp)},"i":{number},{tail}{flag}}}'.encode()
            )
        return written

    return write


def _bar_writer(rows: list[dict[str, Any]]) -> Callable[[Ints], list[bytes]]:
    def write(chosen: Ints) -> list[bytes]:
        picked = [rows[i] for i in chosen.tolist()]
        told = stamps(np.array([row["ns"] for row in picked], np.int64))
        return [
            json.dumps({"t": stamp, **{k: v for k, v in row.items() if k != "ns"}}).encode()
            for stamp, row in zip(told, picked, strict=True)
        ]

    return write


def stamps(ns: Ints) -> list[str]:
    """RFC 3339 with as many digits as are needed, up to nanoseconds."""
    written = np.datetime_as_string(ns.astype("datetime64[ns]"), unit="ns").tolist()
    return [f"{text.rstrip('0').rstrip('.')}Z" for text in written]


def _page(exchange: Exchange, request: web.Request, what: str, groups: list[Group]) -> bytes:
    """Symbols in order, then time; the token says where the next page begins."""
    falling = request.query.get("sort", "asc") == "desc"
    left, token = _limit(request, 1000, LARGEST), _token(request)
    parts: list[bytes] = []
    following: str | None = None
    for group in sorted(groups, key=lambda g: g.symbol):
        if token and group.symbol < token[0]:
            continue
        order = np.arange(len(group.keys))[:: -1 if falling else 1]
        if token and group.symbol == token[0]:
            keys = group.keys[order]
            order = order[keys <= token[1]] if falling else order[keys >= token[1]]
        if left == 0 and len(order):
            following = _make_token(group.symbol, int(group.keys[order[0]]))
            break
        rows = group.write(order[:left])
        rows = shuffled(exchange.faults, str(request.match_info.route.name), group.symbol, rows)
        if rows:
            parts.append(json.dumps(group.symbol).encode() + b":[" + b",".join(rows) + b"]")
        if len(order) > left:
            following = _make_token(group.symbol, int(group.keys[order[left]]))
            break
        left -= len(order)
    inside = b",".join(parts)
    return b'{"%s":{%s},"next_page_token":%s}' % (
        what.encode(),
        inside,
        json.dumps(following).encode(),
    )


def _asked(exchange: Exchange, request: web.Request) -> list[Tape]:
    """The tapes of the asked symbols inside the asked time, or the refusal."""
    crypto = "crypto" in str(request.match_info.route.name)
    venue = "crypto" if crypto else "alpaca"
    sip = True if crypto else authorized(exchange, request, 403, "forbidden.")
    now = exchange.clock.now_ns()
    start = _time(request, "start")
    end = _time(request, "end")
    if start is None:
        start = now // (86_400 * 10**9) * 86_400 * 10**9
    feed = request.query.get("feed", "sip")
    if not crypto:
        if feed not in FEEDS:
            raise alpaca(400, f"invalid feed: {feed}")
        if not re.fullmatch(r"-?|\d{4}-\d\d-\d\d", request.query.get("asof", "")):
            raise alpaca(400, f"invalid asof: {request.query['asof']}")
        if feed == "sip" and not sip and (end is None or end > now - QUARTER_HOUR):
            raise alpaca(403, "subscription does not permit querying recent SIP data")
    symbols = [symbol for symbol in request.query.get("symbols", "").split(",") if symbol]
    if not symbols:
        raise alpaca(400, "symbols is required")
    found = []
    for symbol in sorted(set(symbols)):
        if not re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+" if crypto else r"[A-Z][A-Z.]{0,9}", symbol):
            raise alpaca(400, f"invalid symbol: {symbol}")
        if (venue, symbol) not in exchange.truth:
            continue
        tape = exchange.view((venue, symbol), "rest")
        tape = tapes.take(tape, slice(*tapes.between(tape, start, end)))
        found.append(tapes.take(tape, tape.place == ord("V")) if feed == "iex" else tape)
    return found


def authorized(exchange: Exchange, request: web.Request, status: int, words: str) -> bool:
    """Whether the key may have SIP; a key that is unknown is refused."""
    headers = request.headers
    sip = exchange.entitled(
        headers.get("APCA-API-KEY-ID", ""), headers.get("APCA-API-SECRET-KEY", "")
    )
    if sip is None:
        raise alpaca(status, words)
    return sip


def news(exchange: Exchange, request: web.Request) -> bytes:
    """News items, the latest first."""
    authorized(exchange, request, 403, "forbidden.")
    wanted = {symbol for symbol in request.query.get("symbols", "").split(",") if symbol}
    start, end = _time(request, "start"), _time(request, "end")
    content = request.query.get("include_content", "false").lower() == "true"
    falling = request.query.get("sort", "desc") != "asc"
    items = []
    for item in exchange.news:
        ns = parse_time(item["updated_at"])
        if wanted and not wanted & set(item["symbols"]):
            continue
        if (start is None or ns >= start) and (end is None or ns <= end):
            items.append((ns, item["id"], item))
    items.sort(key=lambda entry: entry[:2], reverse=falling)
    limit, token = _limit(request, 10, 50), _token(request)
    begin = 0
    if token:
        begin = next((i for i, entry in enumerate(items) if entry[1] == token[1]), len(items))
    page = [
        {"source": "benzinga", **item, "content": item.get("content", "") if content else ""}
        for _, _, item in items[begin : begin + limit]
    ]
    more = begin + limit < len(items)
    following = _make_token("news", items[begin + limit][1]) if more else None
    return json.dumps({"news": page, "next_page_token": following}).encode()


def calendar(exchange: Exchange, request: web.Request) -> bytes:
    """Trading days with their hours in New York."""
    authorized(exchange, request, 401, "unauthorized")
    first = request.query.get("start", "")[:10]
    last = request.query.get("end", "")[:10] or "9999"
    return json.dumps([day for day in _days() if first <= day["date"] <= last]).encode()


@cache
def _days() -> list[dict[str, str]]:
    import exchange_calendars

    schedule = exchange_calendars.get_calendar("XNYS", start=date(2010, 1, 4)).schedule
    zone = "America/New_York"
    opens = schedule["open"].dt.tz_convert(zone).dt.strftime("%H:%M")
    closes = schedule["close"].dt.tz_convert(zone).dt.strftime("%H:%M")
    return [
        {
            "date": day.strftime("%Y-%m-%d"),
            "open": opened,
            "close": closed,
            "session_open": "0400",
            "session_close": "2000" if closed == "16:00" else "1700",
        }
        for day, opened, closed in zip(schedule.index, opens, closes, strict=True)
    ]


def _limit(request: web.Request, default: int, largest: int) -> int:
    value = request.query.get("limit", str(default))
    if not value.isdigit() or not 1 <= int(value) <= largest:
        raise alpaca(400, f"invalid limit: {value} is not between 1 and {largest}")
    return int(value)


def _make_token(symbol: str, key: int) -> str:
    return base64.b64encode(f"{symbol}|{key}".encode()).decode()


def _token(request: web.Request) -> tuple[str, int] | None:
    value = request.query.get("page_token")
    if not value:
        return None
    try:
        symbol, _, key = base64.b64decode(value, validate=True).decode().rpartition("|")
        return symbol, int(key)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise alpaca(422, "invalid page_token") from None


def _time(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if not value:
        return None
    try:
        return parse_time(value)
    except ValueError:
        raise alpaca(400, f"invalid {name}: {value}") from None


def parse_time(value: str) -> int:
    """Nanoseconds since the epoch of RFC 3339 text (up to nine digits) or of a day."""
    found = re.fullmatch(r"([^.]*?)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?", value)
    if not found:
        raise ValueError(value)
    moment = datetime.fromisoformat(found[1] + (found[3] or "").replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int((found[2] or "0").ljust(9, "0"))
