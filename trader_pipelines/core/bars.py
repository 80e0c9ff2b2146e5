"""Minute bars from trades, exact to the last digit, and the proof that the two agree."""

import numpy as np
import polars as pl

from trader_pipelines.core.errors import BadTradeError
from trader_pipelines.core.instruments import Instrument

NS_PER_MINUTE = 60_000_000_000

_QUANTITIES = ("volume", "buy_volume", "sell_volume", "notional", "trades", "prints")


def bar_schema(instrument: Instrument) -> pl.Schema:
    """Columns of a bar, for one instrument.

    Parameters
    ----------
    instrument : Instrument
        Its scales fix the scale of `notional`.

    Returns
    -------
    Schema
        ``ts_open``, ``ts_close`` in nanoseconds UTC: the bar holds trades of
        ``ts_open <= ts_event < ts_close`` and is known from `ts_close` on. Prices are
        ``price * 10**price_scale``, volumes ``size * 10**size_scale``; `notional` is the exact sum
        of price times size, in quote units; `vwap` in quote units; `trades` counts single fills as
        venues do, `prints` the rows they came in.
    """
    return pl.Schema(
        {
            "ts_open": pl.Datetime("ns", "UTC"),
            "ts_close": pl.Datetime("ns", "UTC"),
            "open": pl.Int64(),
            "high": pl.Int64(),
            "low": pl.Int64(),
            "close": pl.Int64(),
            "volume": pl.Int64(),
            "buy_volume": pl.Int64(),
            "sell_volume": pl.Int64(),
            "notional": pl.Decimal(38, instrument.price_scale + instrument.size_scale),
            "vwap": pl.Float64(),
            "trades": pl.Int64(),
            "prints": pl.Int64(),
        }
    )


def minute_bars(trades: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    """Bars of one minute each, equal to the venue's own.

    A minute without a trade between the first and the last traded one is filled as venues do: open,
    high, low and close are the close before it, nothing was traded. Before the first and after the
    last trade nothing is invented.

    Parameters
    ----------
    trades : DataFrame
        Of schema `trader_pipelines.core.trades.TRADES`. First and last price of a minute go by
        `id`, because that is the order of the venue's book; stamps may step back.
    instrument : Instrument
        Whose trades they are.

    Returns
    -------
    DataFrame
        Of `bar_schema`, one row a minute, ascending without a gap. Empty for no trades.
    """
    minute = pl.col("ts_event").dt.truncate("1m").alias("ts_open")
    traded = summarise(trades.with_columns(minute), "ts_open", instrument).sort("ts_open")
    if traded.is_empty():
        return bar_schema(instrument).to_frame()
    grid = pl.datetime_range(
        traded["ts_open"][0], traded["ts_open"][-1], "1m", time_unit="ns", eager=True
    ).alias("ts_open")
    price = pl.col("close").forward_fill()
    return (
        grid.to_frame()
        .join(traded, on="ts_open", how="left", maintain_order="left")
        .with_columns(
            pl.col("open", "high", "low", "close").fill_null(price),
            pl.col(_QUANTITIES).fill_null(0),
            ts_close=pl.col("ts_open").dt.offset_by("1m"),
        )
        .pipe(lambda bars: bars.with_columns(vwap(bars, instrument)))
        .select(bar_schema(instrument).names())
    )


def summarise(trades: pl.DataFrame, key: str, instrument: Instrument) -> pl.DataFrame:
    """What a bar says of its trades, for every value of `key`.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES` and a column `key` that names each trade's bar.
    key : str
        That column.
    instrument : Instrument
        Whose trades they are.

    Returns
    -------
    DataFrame
        `key`, `ts_first` and `ts_last` of its trades, and the columns of `bar_schema` from `open`
        on but `vwap`; one row a bar, in order of first appearance by `id`.

    Notes
    -----
    Products and their sums are taken in 128 bits: a day of Bitcoin exceeds 64, and so does one
    block of shares on a grid of six decimals.

    Raises
    ------
    BadTradeError
        When the sizes add up to more than 64 bits hold: nothing wraps silently.
    """
    if not trades["id"].is_sorted():
        trades = trades.sort("id")
    _check_volume(trades, instrument)
    size, side = pl.col("size"), pl.col("side")
    return (
        trades.with_columns(
            buy=size * (side == 1),
            sell=size * (side == -1),
            notional=pl.col("price").cast(pl.Int128) * size,
        )
        .group_by(key, maintain_order=True)
        .agg(
            ts_first=pl.col("ts_event").first(),
            ts_last=pl.col("ts_event").last(),
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=size.sum(),
            buy_volume=pl.col("buy").sum(),
            sell_volume=pl.col("sell").sum(),
            notional=pl.col("notional").sum(),
            trades=pl.col("fills").cast(pl.Int64).sum(),
            prints=pl.len().cast(pl.Int64),
        )
        .with_columns(
            notional=pl.col("notional").reinterpret(dtype=bar_schema(instrument)["notional"]),
        )
    )


def _check_volume(trades: pl.DataFrame, instrument: Instrument) -> None:
    # No notional needs a check: it is at most the highest price times this, below 2**126.
    volume = trades.select(pl.col("size").cast(pl.Int128).sum()).item()
    if volume > 2**63 - 1:
        raise BadTradeError(
            f"the sizes of {trades.height} trades add up to {volume} lots of "
            f"{instrument.lot_size}, more than 64 bits hold",
            where=f"{instrument.id}, lot_size in the universe",
            remedy="check the trades; else give the symbol a coarser lot_size",
        )


def vwap(bars: pl.DataFrame, instrument: Instrument) -> pl.Series:
    """Volume-weighted mean price of every bar, in quote units.

    Parameters
    ----------
    bars : DataFrame
        With `low`, `high`, `close`, `volume` and `notional` of `bar_schema`.
    instrument : Instrument
        Whose bars they are.

    Returns
    -------
    Series of Float64
        The close where nothing was traded. Never outside the bar's range, which the rounding of a
        quotient could leave by a bit.
    """
    low, high, close, volume = (
        bars[name].to_numpy().astype(np.float64) for name in ("low", "high", "close", "volume")
    )
    notional = bars["notional"].to_physical().cast(pl.Float64).to_numpy()
    mean = np.divide(notional, volume, out=close, where=volume > 0).clip(low, high)
    # In numpy: polars multiplies by the inverse of a scalar, and 57 / 100 is 0.5700000000000001.
    return pl.Series("vwap", mean / 10**instrument.price_scale)


def reconcile(bars: pl.DataFrame, trades: pl.DataFrame) -> list[str]:
    """Columns of minute bars that do not follow from the trades.

    Reckoned another way than the bars were: every bar is compared with the slice of the trades
    between its stamps, quantities as running totals, in 128 bits.

    Parameters
    ----------
    bars : DataFrame
        Of `bar_schema`, as stored.
    trades : DataFrame
        Of schema `TRADES`, as stored.

    Returns
    -------
    list of str
        Names of columns in which at least one bar is wrong, in the order of the schema;
        ``ts_open`` when bars are not consecutive minutes or leave a trade out. Empty when all adds
        up.
    """
    if bars.is_empty() or trades.is_empty():
        return [] if bars.height == trades.height else ["ts_open"]
    minute = pl.col("ts_event").to_physical() // NS_PER_MINUTE
    trades = trades.with_columns(minute=minute).sort("minute", "id")
    minutes = trades["minute"].to_numpy()
    opens = bars["ts_open"].to_physical().to_numpy()
    closes = bars["ts_close"].to_physical().to_numpy()
    whole = np.arange(minutes[0], minutes[-1] + 1) * NS_PER_MINUTE
    if not (np.array_equal(opens, whole) and np.array_equal(closes, whole + NS_PER_MINUTE)):
        return ["ts_open"]
    first = np.searchsorted(minutes, opens // NS_PER_MINUTE)
    last = np.append(first[1:], minutes.size) - 1
    wrong = {*_wrong_prices(bars, trades["price"].to_numpy(), first, last)}
    wrong |= {*_wrong_quantities(bars, trades, last)}
    return [name for name in bars.columns if name in wrong]


def _wrong_prices(
    bars: pl.DataFrame, price: np.ndarray, first: np.ndarray, last: np.ndarray
) -> list[str]:
    traded = last >= first
    # A minute is preceded by the last trade before it, so an empty one repeats that trade's price.
    close = price[last]
    truth = {"open": np.where(traded, price[first], close), "close": close}
    for name, extreme in (("high", np.maximum), ("low", np.minimum)):
        truth[name] = close.copy()
        truth[name][traded] = extreme.reduceat(price, first[traded])
    return [
        name for name, values in truth.items() if not np.array_equal(bars[name].to_numpy(), values)
    ]


def _wrong_quantities(bars: pl.DataFrame, trades: pl.DataFrame, last: np.ndarray) -> list[str]:
    size, side = pl.col("size").cast(pl.Int128), pl.col("side")
    running = trades.select(
        volume=size.cum_sum(),
        buy_volume=pl.when(side > 0).then(size).otherwise(0).cum_sum(),
        sell_volume=pl.when(side < 0).then(size).otherwise(0).cum_sum(),
        notional=(size * pl.col("price")).cum_sum(),
        trades=pl.col("fills").cast(pl.Int128).cum_sum(),
        prints=pl.int_range(1, pl.len() + 1, dtype=pl.Int128),
    )[last]
    stored = bars.select(pl.col(_QUANTITIES).to_physical().cast(pl.Int128).cum_sum())
    wrong = [name for name in _QUANTITIES if not stored[name].equals(running[name])]
    # The bars do not say their price scale, so one factor must turn every mean price into its VWAP.
    traded = running.select(
        pl.col("volume", "notional") - pl.col("volume", "notional").shift(1, fill_value=0)
    )
    mean = traded["notional"].cast(pl.Float64) / traded["volume"].cast(pl.Float64)
    price = pl.when(mean.is_finite()).then(mean).otherwise("close")
    factor = bars.select(pl.col("vwap") / price)["vwap"].to_numpy()
    return wrong if np.allclose(factor, factor[0], rtol=1e-12, atol=0) else [*wrong, "vwap"]
