"""Trades and bars for tests: by hand, from the tapes, and random ones of every awkward kind."""

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import strategies as st

from trader_pipelines.core.bars import NS_PER_MINUTE, bar_schema
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, utc_day_bounds

DAY = date(2024, 1, 2)
MIDNIGHT, _ = utc_day_bounds(DAY)


def an_instrument(
    tick: str = "0.01", lot: str = "0.001", dollar_bar: str = "1000000"
) -> Instrument:
    return Instrument(
        "binance",
        "BTCUSDT",
        Decimal(tick),
        Decimal(lot),
        date(2017, 8, 17),
        dollar_bar=Decimal(dollar_bar),
    )


def trades_of(*rows: tuple[int, float, int, int, int, int]) -> pl.DataFrame:
    """Rows of (id, seconds after midnight, price, size, side, fills)."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    ids, seconds, price, size, side, fills = columns
    stamps = [MIDNIGHT + round(second * 1_000_000_000) for second in seconds]
    return pl.DataFrame([ids, stamps, price, size, side, fills], schema=TRADES)


def tape(market_data: Path, symbol: str, instrument: Instrument) -> pl.DataFrame:
    """Hours of 2020-11-01 as Binance's socket sent them."""
    folder = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    frames = [
        frame
        for path in sorted(folder.glob(f"{symbol}_*_trades.json.gz"))
        for frame in json.loads(gzip.decompress(path.read_bytes()))
    ]
    assert frames, f"no frames of {symbol} in {folder}"
    rows = {
        int(frame["a"]): (
            int(frame["a"]),
            int(frame["T"]) * 1_000_000,
            int(Decimal(frame["p"]).scaleb(instrument.price_scale)),
            int(Decimal(frame["q"]).scaleb(instrument.size_scale)),
            -1 if frame["m"] else 1,
            int(frame["l"]) - int(frame["f"]) + 1,
        )
        for frame in frames
    }
    return pl.DataFrame([rows[key] for key in sorted(rows)], schema=TRADES, orient="row")


@st.composite
def random_trades(draw: st.DrawFn, most: int = 60, top: int = 10**6) -> pl.DataFrame:
    """Up to `most` trades in id order over some minutes; stamps may step back."""
    row = st.tuples(
        st.integers(0, 8 * 60 * 1000),
        st.integers(1, top),
        st.integers(1, top),
        st.sampled_from([-1, 0, 1]),
        st.integers(1, 5),
    )
    rows = draw(st.lists(row, max_size=most))
    if draw(st.booleans()):
        rows.sort(key=lambda r: r[0])
    step = draw(st.integers(1, 3))
    return trades_of(*((7 + i * step, r[0] / 1000, *r[1:]) for i, r in enumerate(rows)))


#: Kinds of market a stretch of bars can be: volatility of log price, share of minutes without a
#: trade, size of a bar's volume.
REGIMES = {
    "walk": (1e-3, 0.1, 10**5),
    "near_flat": (2e-7, 0.2, 10**5),
    "flat": (0.0, 0.2, 10**3),
    "empty": (0.0, 1.0, 1),
    "wild": (0.5, 0.1, 10**9),
    "huge_volume": (1e-3, 0.0, 10**15),
}


@st.composite
def random_bars(draw: st.DrawFn, low: int = 70, high: int = 150) -> pl.DataFrame:
    """Bars as `minute_bars` makes them, in stretches of regimes."""
    height = draw(st.integers(low, high))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = draw(st.lists(st.sampled_from(sorted(REGIMES)), min_size=1, max_size=5))
    cuts = np.sort(rng.integers(0, height + 1, len(names) - 1))
    lengths = np.diff(cuts, prepend=0, append=height)
    regimes = np.array([REGIMES[name] for name in names]).repeat(lengths, axis=0)
    return made_bars(rng, *regimes.T)


def made_bars(
    rng: np.random.Generator,
    volatility: np.ndarray,
    emptiness: np.ndarray,
    volume_size: np.ndarray,
    start: int = MIDNIGHT,
    price: int = 10**9,
) -> pl.DataFrame:
    """One bar for each entry of the arrays, by the minute from `start`."""
    height = volatility.size
    empty = rng.random(height) < emptiness
    empty[0] = False
    step = np.where(empty, 0.0, rng.normal(0, 1, height) * volatility)
    close = np.clip(price * np.exp(np.cumsum(step)), 1, 1e15).round().astype(np.int64)
    # An empty minute repeats the close before it to the last digit.
    before = np.append(close[0], close[:-1])
    spread = np.exp(np.abs(rng.normal(0, 1, (2, height))) * volatility)
    high = np.where(empty, close, np.maximum(close, before) * spread[0]).round().astype(np.int64)
    low = np.where(empty, close, np.minimum(close, before) / spread[1]).round().astype(np.int64)
    low = np.maximum(low, 1)
    total = np.where(empty, 0, rng.integers(1, volume_size.astype(np.int64) + 1))
    bought = (total * rng.random(height)).astype(np.int64)
    sold = ((total - bought) * rng.choice([1.0, 1.0, 0.0], height)).astype(np.int64)
    opens = start + np.arange(height) * NS_PER_MINUTE
    instrument = an_instrument()
    notional = pl.Series(close).cast(pl.Int128) * pl.Series(total)
    return pl.DataFrame(
        {
            "ts_open": pl.Series(opens).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
            "ts_close": pl.Series(opens + NS_PER_MINUTE)
            .cast(pl.Datetime("ns"))
            .dt.replace_time_zone("UTC"),
            "open": before,
            "high": high,
            "low": low,
            "close": close,
            "volume": total,
            "buy_volume": bought,
            "sell_volume": sold,
            "notional": notional.reinterpret(dtype=bar_schema(instrument)["notional"]),
            "vwap": close / 100,
            "trades": np.where(empty, 0, rng.integers(1, 50, height)),
            "prints": np.where(empty, 0, 1),
        },
        schema_overrides=bar_schema(instrument),
    )


def walk_bars(height: int, seed: int = 1, start: int = MIDNIGHT) -> pl.DataFrame:
    """Bars of an ordinary market."""
    one = np.ones(height)
    return made_bars(np.random.default_rng(seed), 1e-3 * one, 0.1 * one, 10**5 * one, start)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(DAY.year, DAY.month, DAY.day, hour, minute, second, tzinfo=UTC)
