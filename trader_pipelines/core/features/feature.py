"""What a feature is: a name, a formula for people, and the same formula for polars."""

from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about a market, known when a bar closes.

    Parameters
    ----------
    name : str
        Column name.
    formula : str
        For a person: o, h, l, c are the bar's prices, ``c[-5]`` the close five bars ago, ``sum_n``
        and ``mean_n`` run over the last n bars with this one.
    unit : str
        Of the value; nothing depends on the scale of price or size.
    look_back : int
        How many bars, this one included, it takes to know it. It depends on no other bar.
    source : str
        Where the formula comes from.
    expr : Expr
        Over the Float64 columns of `BAR_COLUMNS`, `ts_close`, and `clock`: nanoseconds since
        midnight on the venue's clock at the bar's close, Float64. NaN where bars are too few.
    """

    name: str
    formula: str
    unit: str
    look_back: int
    source: str
    expr: pl.Expr = field(compare=False, repr=False)


#: Columns that formulas may use. All are in the bars' integer scales, as floats: prices in ticks of
#: ``10**-price_scale``, volumes in lots of ``10**-size_scale``, `notional` in products of the two.
BAR_COLUMNS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "buy_volume",
    "sell_volume",
    "notional",
    "trades",
)
