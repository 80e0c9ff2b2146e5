"""Binance's public archive of the same tapes: a zip a day and its checksum.

https://github.com/binance/binance-public-data
"""

import asyncio
import hashlib
import io
import zipfile
from collections import OrderedDict
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from aiohttp import web

from trader_pipelines_tests.exchange import bars, tapes
from trader_pipelines_tests.exchange.errors import missing_file
from trader_pipelines_tests.exchange.state import Exchange
from trader_pipelines_tests.exchange.tapes import Ints, Tape

NS_PER_DAY = 86_400 * 10**9
#: From this day on spot files are stamped in microseconds.
MICROSECONDS_FROM = date(2025, 1, 1)
KEPT = 4


def routes(exchange: Exchange) -> list[web.RouteDef]:
    """``/data/spot/daily/...``, named ``archive.<kind>``."""
    kept: OrderedDict[tuple[str, str, str, str], bytes] = OrderedDict()

    async def handler(request: web.Request) -> web.Response:
        kind, symbol = request.match_info["kind"], request.match_info["symbol"]
        file = request.match_info["file"]
        checksum = file.endswith(".CHECKSUM")
        name = file.removesuffix(".CHECKSUM")
        label = "1m" if kind == "klines" else kind
        try:
            day = date.fromisoformat(name.removeprefix(f"{symbol}-{label}-").removesuffix(".zip"))
        except ValueError:
            return missing_file()
        part = _day(exchange, symbol, day)
        if part is None or file.removesuffix(".CHECKSUM") != f"{symbol}-{label}-{day}.zip":
            return missing_file()
        stamp = (kind, symbol, str(day), f"{len(part)}:{id(exchange.faults)}")
        if stamp not in kept:
            kept[stamp] = await asyncio.to_thread(_zipped, part, kind, day, name)
            if len(kept) > KEPT:
                kept.popitem(last=False)
        body = kept[stamp]
        if checksum:
            told = f"{hashlib.sha256(body).hexdigest()}  {name}\n"
            return web.Response(body=told.encode(), content_type="binary/octet-stream")
        return web.Response(body=body, content_type="application/zip")

    daily = "/data/spot/daily"
    return [
        web.get(f"{daily}/{{kind:aggTrades}}/{{symbol}}/{{file}}", handler, name="archive.agg"),
        web.get(f"{daily}/{{kind:trades}}/{{symbol}}/{{file}}", handler, name="archive.trades"),
        web.get(f"{daily}/{{kind:klines}}/{{symbol}}/1m/{{file}}", handler, name="archive.klines"),
    ]


def _day(exchange: Exchange, symbol: str, day: date) -> Tape | None:
    """The prints of a day that is over; None when the archive has no file of it."""
    key = ("binance", symbol)
    if key not in exchange.truth:
        return None
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
    if exchange.clock.now_ns() < start + NS_PER_DAY:
        return None
    tape = exchange.view(key, "archive")
    part = tapes.take(tape, slice(*tapes.between(tape, start, start + NS_PER_DAY - 1)))
    return part if len(part) else None


def _zipped(part: Tape, kind: str, day: date, name: str) -> bytes:
    units = 1000 if day >= MICROSECONDS_FROM else 1
    table = {"aggTrades": _aggregates, "trades": _trades, "klines": _klines}[kind](part, units)
    content = table.write_csv(include_header=False).encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        # A fixed time: the same day always gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name.replace(".zip", ".csv")), content)
    return held.getvalue()


def _aggregates(part: Tape, units: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "a": part.id,
            "p": _texts(part.price, part.price_dp),
            "q": _texts(part.size, part.size_dp),
            "f": part.first,
            "l": part.last,
            "T": part.ts // (1_000_000 // units),
            "m": _words(part.side < 0),
            "M": _words(np.ones(len(part), bool)),
        }
    )


def _trades(part: Tape, units: int) -> pl.DataFrame:
    rows = list(bars.expanded(part, units))
    price = np.array([row.price for row in rows], np.int64)
    size = np.array([row.size for row in rows], np.int64)
    dp = part.price_dp + part.size_dp
    return pl.DataFrame(
        {
            "id": [row.id for row in rows],
            "price": _texts(price, part.price_dp),
            "qty": _texts(size, part.size_dp),
            "quoteQty": [tapes.rounded(int(row.price) * int(row.size), dp) for row in rows],
            "time": [row.time for row in rows],
            "isBuyerMaker": _words(np.array([row.maker for row in rows], bool)),
            "isBestMatch": _words(np.ones(len(rows), bool)),
        }
    )


def _klines(part: Tape, units: int) -> pl.DataFrame:
    rows = bars.klines(part, 60, int(part.ts[0]) // 60_000_000_000 * 60_000, None, 1440)
    for row in rows:
        row[0], row[6] = row[0] * units, (row[6] + 1) * units - 1
    return pl.DataFrame(rows, orient="row", schema=[f"c{i}" for i in range(12)])


def _words(flags: np.ndarray) -> pl.Series:
    return pl.Series(flags).replace_strict({True: "True", False: "False"}, return_dtype=pl.String)


def _texts(values: Ints, dp: int) -> pl.Series:
    """Decimal strings of a whole column at once."""
    if not dp:
        return pl.Series(values).cast(pl.String)
    whole, rest = pl.Series(values // 10**dp), pl.Series(values % 10**dp)
    return whole.cast(pl.String) + "." + rest.cast(pl.String).str.zfill(dp)
