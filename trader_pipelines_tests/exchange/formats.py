"""Tape files: the recordings under the market-data folder, plain tables, and made-up tapes."""

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trader_pipelines_tests.exchange.tapes import Ints, Tape, aggregate, build

DP = 8  # Binance writes eight decimals
CRYPTO_ID = 1 << 61  # Alpaca's crypto ids lie beyond 2**53
QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD", "EUR", "TRY", "BTC", "ETH", "BNB")
ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "Symbol", "s"),
    "id": ("id", "trade_id", "tradeId", "TradeId", "agg_trade_id", "a", "t"),
    "ts": ("ts", "ts_event", "timestamp", "time", "TransactionTime", "transact_time", "T"),
    "price": ("price", "Price", "p"),
    "size": ("size", "quantity", "qty", "amount", "Quantity", "q"),
    "side": ("side",),
    "maker": ("buyer_maker", "isBuyerMaker", "is_buyer_maker", "IsBuyerMarketMaker", "m"),
    "first": ("first", "first_trade_id", "f"),
    "last": ("last", "last_trade_id", "l"),
    "place": ("exchange", "x"),
}
#: Columns that only tables of raw trades have; their ids are not aggregate ids.
RAW = {"TradeId", "quoteQty", "local_timestamp", "t"}


class TapeError(ValueError):
    """A tape that cannot be read as one."""


def load(spec: str) -> list[Tape]:
    """Tapes of one ``--tape``: ``[venue=]path[#SYMBOL]`` or ``[venue=]synthetic:N:RATE:SECONDS``.

    Returns
    -------
    list of Tape
        One a symbol.

    Raises
    ------
    TapeError
        With the file and what it lacks.
    """
    named = re.match(r"^(binance|alpaca|crypto)=(.*)$", spec)
    venue, rest = (named[1], named[2]) if named else ("", spec)
    if rest.startswith("synthetic:"):
        return synthetic(rest, venue or "binance")
    path, _, symbol = rest.partition("#")
    file = Path(path)
    if not file.is_file():
        raise TapeError(f"no tape at {path!r}")
    frame = _table(file)
    columns = set(frame.columns)
    if {"trade_date", "seq", "sale_condition"} <= columns:
        return [_listed(part, venue or "alpaca") for part in frame.partition_by("symbol")]
    names = {
        role: next((alias for alias in aliases if alias in columns), "")
        for role, aliases in ALIASES.items()
    }
    lacking = [role for role in ("ts", "price", "size") if not names[role]]
    if lacking:
        raise TapeError(f"{path}: no column for {', '.join(lacking)} among {sorted(columns)}")
    raw = bool(RAW & columns)
    if names["symbol"] and not symbol:
        return [
            _tape(part, names, str(key[0]).replace("-", ""), venue, raw=raw)
            for key, part in frame.partition_by(names["symbol"], as_dict=True).items()
        ]
    return [_tape(frame, names, symbol or _symbol_of(file), venue, raw=raw)]


def _table(file: Path) -> pl.DataFrame:
    if file.name.endswith(".parquet"):
        return pl.read_parquet(file)
    if file.name.endswith((".csv", ".csv.gz")):
        return pl.read_csv(file, infer_schema=False)
    data = gzip.decompress(file.read_bytes()) if file.name.endswith(".gz") else file.read_bytes()
    if data.lstrip()[:1] == b"[":
        return pl.DataFrame(_rows(json.loads(data)), infer_schema_length=None)
    wanted = (b'"e":"trade"', b'"e":"aggTrade"')
    lines = (line for line in data.splitlines() if any(mark in line for mark in wanted))
    frames = (json.loads(line.partition(b" ")[2]) for line in lines)
    rows = [frame.get("data", frame) for frame in frames]
    if not rows:
        raise TapeError(f"{file}: neither trade frames nor a table")
    # The market's own prints only: liquidations and insurance-fund prints are no trades.
    kept = [row for row in rows if row.get("X", "MARKET") == "MARKET"]
    return pl.DataFrame(kept, infer_schema_length=None)


def _rows(items: list[Any]) -> list[dict[str, Any]]:
    if items and isinstance(items[0], list):  # freqtrade: time, id, type, side, price, amount, cost
        keys = ("timestamp", "id", "type", "side", "price", "amount")
        return [dict(zip(keys, item, strict=False)) for item in items]
    if items and "info" in items[0]:  # ccxt's trades, with what the venue sent inside
        return [{**item["info"], "s": item["symbol"].replace("/", "")} for item in items]
    return list(items)


def _symbol_of(file: Path) -> str:
    found = re.match(r"([A-Z0-9]{2,})_?([A-Z]{2,})?(?=[-_.])", file.name)
    if not found:
        raise TapeError(f"{file}: which symbol? Say it as {file.name}#SYMBOL")
    return found[1] + (found[2] if found[2] and not found[1].endswith(QUOTES) else "")


def _tape(
    frame: pl.DataFrame, names: dict[str, str], symbol: str, venue: str, *, raw: bool
) -> Tape:
    def ints(role: str) -> Ints | None:
        return _ints(frame[names[role]]) if names[role] else None

    price, price_dp = _scaled(frame[names["price"]])
    size, size_dp = _scaled(frame[names["size"]])
    ids = ints("id")
    tape = build(
        "binance",
        symbol,
        price_dp=price_dp,
        size_dp=size_dp,
        id=np.arange(1, frame.height + 1) if ids is None else ids,
        ts=_nanoseconds(frame[names["ts"]]),
        price=price,
        size=size,
        side=_side(frame, names),
        first=ints("first"),
        last=ints("last"),
        place=_place(frame, names),
    )
    if venue in ("alpaca", "crypto"):
        return _elsewhere(tape, venue)
    if raw:
        return aggregate(tape)
    if not names["first"] and len(tape):
        # A raw id space of its own, one raw trade a print.
        start = tape.id + tape.id[0] // 7
        return replace(tape, first=start, last=start)
    return tape


def _elsewhere(tape: Tape, venue: str) -> Tape:
    order = np.arange(len(tape), dtype=np.int64)
    crypto = venue == "crypto"
    return replace(
        tape,
        venue=venue,
        symbol="/".join(split(tape.symbol)) if crypto else tape.symbol,
        number=CRYPTO_ID + tape.id if crypto else tape.id,
        id=2 * order,
        first=2 * order,
        last=2 * order,
        ts=tape.ts + _within(tape.ts),
    )


def _group_start(keys: Ints) -> Ints:
    """For each row, the first row of its run of equal neighbours."""
    if not len(keys):
        return keys
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return np.repeat(starts, np.diff(np.append(starts, len(keys))))


def _within(ts: Ints) -> Ints:
    """Nanoseconds after the millisecond that keep the order of prints of one millisecond."""
    return (np.arange(len(ts)) - _group_start(ts)) * 997 % 1_000_000


def _listed(frame: pl.DataFrame, venue: str) -> Tape:
    """A US equity tape: trade numbers restart every day on every exchange."""
    told = ["price", "size", "exchange", "sale_condition"]
    frame = frame.sort("trade_date", "seq").with_columns(
        day=pl.col("trade_date").rank("dense").cast(pl.Int64),
        new=pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in told),
    )
    ts, place = _nanoseconds(frame["ts"]), _letters(frame["exchange"])
    # Exact duplicates share their nanosecond: only the number tells them apart.
    distinct = frame["new"].cast(pl.Int64).cum_sum().to_numpy()
    nanos = (distinct - distinct[_group_start(ts)] + 1) * 997
    group = frame["day"].to_numpy() * 256 + place
    by_group = np.argsort(group, kind="stable")
    counted = np.empty(frame.height, np.int64)
    counted[by_group] = np.arange(frame.height) - _group_start(group[by_group]) + 1
    price, price_dp = _scaled(frame["price"])
    order = np.arange(frame.height, dtype=np.int64)
    return build(
        venue,
        str(frame["symbol"][0]),
        price_dp=price_dp,
        size_dp=0,
        id=2 * order,
        ts=ts + nanos,
        price=price,
        size=frame["size"].cast(pl.Int64).to_numpy(),
        side=np.zeros(frame.height, np.int64),
        number=counted,
        place=place,
    )


def _ints(column: pl.Series) -> Ints:
    return column.cast(pl.Int64).to_numpy()


def _letters(column: pl.Series) -> Ints:
    codes = {letter: ord(letter[0]) for letter in column.unique().drop_nulls() if letter}
    return column.replace_strict(codes, default=0, return_dtype=pl.Int64).to_numpy()


def _place(frame: pl.DataFrame, names: dict[str, str]) -> Ints | None:
    name = names["place"]
    if not name or frame[name].dtype != pl.String or frame[name].str.len_chars().max() != 1:
        return None
    return _letters(frame[name])


def _side(frame: pl.DataFrame, names: dict[str, str]) -> Ints:
    if names["maker"]:
        maker = frame[names["maker"]].cast(pl.String).str.to_lowercase().is_in(["true", "1"])
        return np.where(maker.to_numpy(), -1, 1).astype(np.int64)
    if not names["side"]:
        return np.zeros(frame.height, np.int64)
    known = {"buy": 1, "b": 1, "1": 1, "sell": -1, "s": -1, "-1": -1}
    told = frame[names["side"]].cast(pl.String).str.to_lowercase()
    return told.replace_strict(known, default=0, return_dtype=pl.Int64).to_numpy()


def _scaled(column: pl.Series) -> tuple[Ints, int]:
    """Integers and their decimals: from strings as they are, from floats with eight."""
    if column.dtype == pl.String:
        return scaled(column.to_list())
    if column.dtype.is_integer():
        return _ints(column), 0
    return np.rint(column.to_numpy() * 10**DP).astype(np.int64), DP


def scaled(values: Sequence[str]) -> tuple[Ints, int]:
    """Decimal strings as integers with the decimals of the longest."""
    values = [format(float(v), f".{DP}f") if "E" in v.upper() else v for v in values]
    parts = [value.partition(".") for value in values]
    dp = max((len(part) for _, _, part in parts), default=0)
    return np.array([int(w + p.ljust(dp, "0")) for w, _, p in parts], np.int64), dp


def _nanoseconds(column: pl.Series) -> Ints:
    """Nanoseconds of times given as datetimes, as text, or as s, ms, us or ns since the epoch."""
    if column.dtype == pl.String:
        if not column.str.contains(r"^\d+$").all():
            column = column.str.strip_suffix("Z").str.replace("T", " ", literal=True)
            column = column.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns")
        else:
            column = column.cast(pl.Int64)
    if column.dtype == pl.Datetime:
        return column.dt.timestamp("ns").to_numpy()
    values = _ints(column)
    limits = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))
    biggest = int(values.max()) if len(values) else 0
    return values * next((factor for limit, factor in limits if biggest < limit), 1)


def split(symbol: str) -> tuple[str, str]:
    """Base and quote: ``BTCUSDT`` is BTC and USDT."""
    for quote in QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol, "USD"


def synthetic(spec: str, venue: str) -> list[Tape]:
    """Made-up tapes, ``synthetic:SYMBOLS:RATE:SECONDS[:START]``.

    RATE counts trades a second over all symbols together; START is an ISO time (UTC), by default
    2024-01-02. The same text gives the same tapes.
    """
    try:
        _, symbols, rate, seconds, *more = spec.split(":", 4)
        count, total = int(symbols), int(float(rate) * float(seconds))
        start = datetime.fromisoformat(more[0] if more else "2024-01-02").replace(tzinfo=UTC)
    except ValueError as error:
        raise TapeError(f"{spec!r} is not synthetic:SYMBOLS:RATE:SECONDS[:START]") from error
    origin = int(start.timestamp()) * 10**9
    each = total // count
    names = [f"SYN{i:03d}USDT" for i in range(count)]
    if venue == "alpaca":  # letters only: SYAA, SYAB, ...
        names = [f"SY{chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(count)]
    return [_made_up(i, each, origin, float(seconds), name, venue) for i, name in enumerate(names)]


def _made_up(index: int, rows: int, origin: int, seconds: float, symbol: str, venue: str) -> Tape:
    rng = np.random.default_rng(index)
    steps: NDArray[np.int64] = rng.integers(-3, 4, rows)
    price = 100_00 * (index + 1) + np.abs(np.cumsum(steps))
    ids = 1_000_000 + np.arange(rows, dtype=np.int64)
    spread = np.arange(rows) * (seconds * 1e3 / max(rows, 1))
    tape = build(
        "binance",
        symbol,
        price_dp=DP,
        size_dp=DP,
        id=ids,
        ts=origin + spread.astype(np.int64) * 10**6,
        price=price * 10**6,
        size=rng.integers(1, 10_000, rows) * 10**4,
        side=rng.integers(0, 2, rows) * 2 - 1,
        first=ids + 5_000_000,
        last=ids + 5_000_000,
    )
    return tape if venue == "binance" else _elsewhere(tape, venue)
