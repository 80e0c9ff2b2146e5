"""Features of what was traded: order flow, volume, size, liquidity, and the hour of the day."""

from math import pi

import polars as pl

from trader_pipelines.core.features.feature import Feature
from trader_pipelines.core.features.price import log_return
from trader_pipelines.core.features.windows import ratio, window_sum, window_z
from trader_pipelines.core.trades import NS_PER_DAY

_VOLUME, _NOTIONAL, _TRADES = (pl.col(name) for name in ("volume", "notional", "trades"))
_BOUGHT, _SOLD = pl.col("buy_volume"), pl.col("sell_volume")


def _imbalance(bars: int) -> Feature:
    return Feature(
        name=f"imbalance_{bars}",
        formula=f"sum_{bars}(buy - sell) / sum_{bars}(buy + sell) of aggressors; 0 for none",
        unit="1, from -1 to 1",
        look_back=bars,
        source="Chordia, Roll & Subrahmanyam (2002), Journal of Financial Economics 65(1), 111-130",
        expr=ratio(window_sum(_BOUGHT - _SOLD, bars), window_sum(_BOUGHT + _SOLD, bars)),
    )


def _vwap_deviation(bars: int) -> pl.Expr:
    volume = window_sum(_VOLUME, bars)
    vwap = window_sum(_NOTIONAL, bars) / volume
    return pl.when(volume == 0).then(0.0).otherwise((pl.col("close") / vwap).log())


def _relative(x: pl.Expr, short: int, long: int) -> pl.Expr:
    return ratio(window_sum(x, short) / short, window_sum(x, long) / long)


def _trade_size(bars: int) -> pl.Expr:
    return ratio(window_sum(_VOLUME, bars), window_sum(_TRADES, bars))


def _angle() -> pl.Expr:
    return pl.col("clock") * (2 * pi / NS_PER_DAY)


FLOW_FEATURES = (
    _imbalance(1),
    _imbalance(5),
    _imbalance(15),
    _imbalance(30),
    Feature(
        name="signed_volume_z_60",
        formula="(v - mean_60(v)) / std_60(v), v = buy - sell; 0 when constant",
        unit="standard deviations",
        look_back=60,
        source="Chordia & Subrahmanyam (2004), Journal of Financial Economics 72(3), 485-518",
        expr=window_z(_BOUGHT - _SOLD, 60),
    ),
    Feature(
        name="vwap_deviation_30",
        formula="ln(c / (sum_30(notional) / sum_30(volume))); 0 for no volume",
        unit="log return",
        look_back=30,
        source="Berkowitz, Logue & Noser (1988), Journal of Finance 43(1), 97-112",
        expr=_vwap_deviation(30),
    ),
    Feature(
        name="volume_ratio_5_60",
        formula="mean_5(volume) / mean_60(volume); 0 for no volume",
        unit="1, from 0 to 12",
        look_back=60,
        source="Karpoff (1987), Journal of Financial and Quantitative Analysis 22(1), 109-126",
        expr=_relative(_VOLUME, 5, 60),
    ),
    Feature(
        name="trade_count_z_60",
        formula="(n - mean_60(n)) / std_60(n), n = trades; 0 when constant",
        unit="standard deviations",
        look_back=60,
        source="Jones, Kaul & Lipson (1994), Review of Financial Studies 7(4), 631-651",
        expr=window_z(_TRADES, 60),
    ),
    Feature(
        name="trade_size_ratio_5_60",
        formula="(sum_5(volume) / sum_5(trades)) / (sum_60(volume) / sum_60(trades)); 0 for none",
        unit="1",
        look_back=60,
        source="Barclay & Warner (1993), Journal of Financial Economics 34(3), 281-305",
        expr=ratio(_trade_size(5), _trade_size(60)),
    ),
    Feature(
        name="illiquidity_ratio_15_60",
        formula="mean_15(a) / mean_60(a), a = |ln(c / c[-1])| / notional, 0 for none; 0 when flat",
        unit="1, from 0 to 4",
        look_back=61,
        source="Amihud (2002), Journal of Financial Markets 5(1), 31-56",
        expr=_relative(ratio(log_return(1).abs(), _NOTIONAL), 15, 60),
    ),
    Feature(
        name="time_of_day_sin",
        formula="sin(2 pi t), t = share of the venue's day passed at the bar's close",
        unit="1, from -1 to 1",
        look_back=1,
        source="Admati & Pfleiderer (1988), Review of Financial Studies 1(1), 3-40",
        expr=_angle().sin(),
    ),
    Feature(
        name="time_of_day_cos",
        formula="cos(2 pi t), t = share of the venue's day passed at the bar's close",
        unit="1, from -1 to 1",
        look_back=1,
        source="Admati & Pfleiderer (1988), Review of Financial Studies 1(1), 3-40",
        expr=_angle().cos(),
    ),
)
