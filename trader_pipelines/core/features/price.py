"""Features of price alone: returns, volatility, place in the range, memory."""

from math import log

import polars as pl

from trader_pipelines.core.features.feature import Feature
from trader_pipelines.core.features.windows import (
    lag,
    ratio,
    window_max,
    window_min,
    window_sum,
    window_z,
)

_OPEN, _HIGH, _LOW, _CLOSE = (pl.col(name) for name in ("open", "high", "low", "close"))


def log_return(bars: int) -> pl.Expr:
    """Log return of the close over some bars; exactly 0 for equal closes."""
    return (_CLOSE / lag(_CLOSE, bars)).log()


def _return(bars: int) -> Feature:
    return Feature(
        name=f"return_{bars}",
        formula=f"ln(c / c[-{bars}])",
        unit="log return",
        look_back=bars + 1,
        source="Campbell, Lo & MacKinlay (1997), The Econometrics of Financial Markets, ch. 1.4",
        expr=log_return(bars),
    )


def _realised(bars: int) -> pl.Expr:
    return (window_sum(log_return(1) ** 2, bars) / bars).sqrt()


def _garman_klass(bars: int) -> pl.Expr:
    variance = 0.5 * (_HIGH / _LOW).log() ** 2 - (2 * log(2) - 1) * (_CLOSE / _OPEN).log() ** 2
    # No bar's term is negative but by rounding, for open and close lie in its range.
    return (window_sum(variance, bars) / bars).clip(lower_bound=0.0).sqrt()


def _range_position(bars: int) -> pl.Expr:
    high, low = window_max(_HIGH, bars), window_min(_LOW, bars)
    return ratio((_CLOSE - low) - (high - _CLOSE), high - low)


def _strength(bars: int) -> pl.Expr:
    return ratio(_CLOSE - lag(_CLOSE, bars), window_sum((_CLOSE - lag(_CLOSE, 1)).abs(), bars))


def _autocorrelation(bars: int) -> pl.Expr:
    now, before = log_return(1), lag(log_return(1), 1)
    squares = window_sum(now**2, bars) * window_sum(before**2, bars)
    return ratio(window_sum(now * before, bars), squares.sqrt())


def _variance_ratio(step: int, bars: int) -> pl.Expr:
    steps = bars - step + 1
    long = window_sum(log_return(step) ** 2, steps) / steps
    short = window_sum(log_return(1) ** 2, bars) / bars * step
    return ratio(long - short, short)


PRICE_FEATURES = (
    _return(1),
    _return(5),
    _return(15),
    _return(60),
    Feature(
        name="realised_volatility_15",
        formula="sqrt(mean_15(r^2)), r = ln(c / c[-1])",
        unit="log return a bar",
        look_back=16,
        source="Andersen & Bollerslev (1998), International Economic Review 39(4), 885-905",
        expr=_realised(15),
    ),
    Feature(
        name="volatility_ratio_15_60",
        formula="sqrt(mean_15(r^2)) / sqrt(mean_60(r^2)), r = ln(c / c[-1]); 0 when flat",
        unit="1",
        look_back=61,
        source="Corsi (2009), Journal of Financial Econometrics 7(2), 174-196",
        expr=ratio(_realised(15), _realised(60)),
    ),
    Feature(
        name="parkinson_30",
        formula="sqrt(mean_30(ln(h / l)^2) / (4 ln 2))",
        unit="log return a bar",
        look_back=30,
        source="Parkinson (1980), Journal of Business 53(1), 61-65",
        expr=(window_sum((_HIGH / _LOW).log() ** 2, 30) / (30 * 4 * log(2))).sqrt(),
    ),
    Feature(
        name="garman_klass_30",
        formula="sqrt(mean_30(0.5 ln(h / l)^2 - (2 ln 2 - 1) ln(c / o)^2))",
        unit="log return a bar",
        look_back=30,
        source="Garman & Klass (1980), Journal of Business 53(1), 67-78",
        expr=_garman_klass(30),
    ),
    Feature(
        name="range_position_30",
        formula="((c - min_30(l)) - (max_30(h) - c)) / (max_30(h) - min_30(l)); 0 when flat",
        unit="1, from -1 at the low to 1 at the high",
        look_back=30,
        source="Lane (1984), Lane's Stochastics, Technical Analysis of Stocks & Commodities",
        expr=_range_position(30),
    ),
    Feature(
        name="strength_14",
        formula="(c - c[-14]) / sum_14(|c - c[-1]|) = RSI / 50 - 1 with plain sums; 0 when flat",
        unit="1, from -1 to 1",
        look_back=15,
        source="Wilder (1978), New Concepts in Technical Trading Systems, section VI",
        expr=_strength(14),
    ),
    Feature(
        name="bollinger_z_20",
        formula="(c - mean_20(c)) / std_20(c), population; 0 when flat",
        unit="standard deviations",
        look_back=20,
        source="Bollinger (2001), Bollinger on Bollinger Bands",
        expr=window_z(_CLOSE, 20),
    ),
    Feature(
        name="autocorrelation_30",
        formula="sum_30(r r[-1]) / sqrt(sum_30(r^2) sum_30(r[-1]^2)), r = ln(c / c[-1]); 0 if flat",
        unit="1, from -1 to 1",
        look_back=32,
        source="Roll (1984), Journal of Finance 39(4), 1127-1139",
        expr=_autocorrelation(30),
    ),
    Feature(
        name="variance_ratio_5_60",
        formula="mean_56(ln(c / c[-5])^2) / (5 mean_60(ln(c / c[-1])^2)) - 1; 0 when flat",
        unit="1; 0 for a random walk",
        look_back=61,
        source="Lo & MacKinlay (1988), Review of Financial Studies 1(1), 41-66",
        expr=_variance_ratio(5, 60),
    ),
)
