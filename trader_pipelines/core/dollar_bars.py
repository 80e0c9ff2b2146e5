"""Dollar bars: one bar each time a fixed amount of money has changed hands."""

import numpy as np
import polars as pl

from trader_pipelines.core.bars import bar_schema, summarise, vwap
from trader_pipelines.core.instruments import Instrument


def dollar_bar_schema(instrument: Instrument) -> pl.Schema:
    """Columns of a dollar bar: those of `bar_schema` and `complete`.

    `ts_open` and `ts_close` are the stamps of its first and last trade; the bar is known with that
    last trade. `complete` is False for the day's last bar when it did not reach the threshold.
    """
    return pl.Schema({**bar_schema(instrument), "complete": pl.Boolean()})


def dollar_bars(trades: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    """Bars that close with the trade at which their notional reaches ``instrument.dollar_bar``.

    Parameters
    ----------
    trades : DataFrame
        Of schema `trader_pipelines.core.trades.TRADES`.
    instrument : Instrument
        Gives the scales and the threshold, in quote units.

    Returns
    -------
    DataFrame
        Of `dollar_bar_schema`, in order of trade `id`. Empty for no trades.

    Notes
    -----
    Lopez de Prado, Advances in Financial Machine Learning (2018), section 2.3.1: a bar is the
    shortest run of trades, counted from its own first one, whose money reaches the threshold. A
    trade is never split: what it exceeds the threshold by stays in the bar that it closes, and the
    next bar counts from zero. (Cutting the day's running total at multiples of the threshold
    would carry the excess over, and gives other, and more, bars.)
    """
    if trades.is_empty():
        return dollar_bar_schema(instrument).to_frame()
    if not trades["id"].is_sorted():
        trades = trades.sort("id")
    total = trades.select(pl.col("price").cast(pl.Int128) * pl.col("size")).to_series().cum_sum()
    closing = closing_trades(total, threshold(instrument))
    last = closing if closing[-1:] == [trades.height - 1] else [*closing, trades.height - 1]
    prints = np.diff(np.asarray(last), prepend=-1)
    number = pl.Series("bar", np.repeat(np.arange(prints.size), prints))
    return (
        summarise(trades.with_columns(number), "bar", instrument)
        .rename({"ts_first": "ts_open", "ts_last": "ts_close"})
        .pipe(lambda bars: bars.with_columns(vwap(bars, instrument)))
        .with_columns(complete=pl.col("bar") < len(closing))
        .select(dollar_bar_schema(instrument).names())
    )


def threshold(instrument: Instrument) -> int:
    """The least scaled notional that reaches ``instrument.dollar_bar``."""
    dollars, parts = instrument.dollar_bar.as_integer_ratio()
    scale: int = 10 ** (instrument.price_scale + instrument.size_scale)
    return max(1, -(-dollars * scale // parts))


def closing_trades(total: pl.Series, least: int) -> list[int]:
    """Row of the last trade of every complete bar.

    Parameters
    ----------
    total : Series of Int128, shape (n,)
        Running notional, scaled; it never falls.
    least : int
        Scaled notional at which a bar closes, positive.

    Returns
    -------
    list of int
        Ascending rows. One binary search a bar: bars are few where trades are many.

    Notes
    -----
    Running totals of a busy day exceed 64 bits and are searched in 128, exactly.
    """
    rows: list[int] = []
    end = total[-1]
    reached = 0
    while end - reached >= least:
        row = total.search_sorted(reached + least, side="left")
        rows.append(row)
        reached = total[row]
        # What lies within 2**62 of here fits in 64 bits, where numpy searches twenty times faster.
        stop = total.search_sorted(reached + 2**62, side="right")
        near = (total[row:stop] - total[row : row + 1]).cast(pl.Int64).to_numpy()
        target = least
        while target <= near[-1]:
            step = int(near.searchsorted(target))
            rows.append(row + step)
            target = int(near[step]) + least
        reached = total[rows[-1]]
    return rows
