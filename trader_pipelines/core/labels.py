"""Labels: which of three barriers the price meets first after a bar is known."""

import numpy as np
import polars as pl

from trader_pipelines.core.bars import NS_PER_MINUTE
from trader_pipelines.core.features.windows import fold

#: Which barrier ended it; `both` when one bar met both, see `triple_barrier`.
TOUCHED = pl.Enum(["lower", "time", "upper", "both"])

LABELS = pl.Schema(
    {
        "ts": pl.Datetime("ns", "UTC"),
        "label": pl.Int8(),
        "touched": TOUCHED,
        "exit_return": pl.Float64(),
        "ts_exit": pl.Datetime("ns", "UTC"),
    }
)

_LOWER, _TIME, _UPPER, _BOTH = range(4)


def triple_barrier(
    bars: pl.DataFrame, horizon: int, width: float, vol_look_back: int
) -> pl.DataFrame:
    """What became of a position opened at each bar's close: the label and when it was known.

    Parameters
    ----------
    bars : DataFrame
        Minute bars of one instrument and day, of `trader_pipelines.core.bars.bar_schema`.
    horizon : int
        Minutes of time, at least 1, after which the time barrier ends it.
    width : float
        Of the price barriers, positive: they lie at plus and minus ``width * volatility *
        sqrt(horizon)`` of log price around the close.
    vol_look_back : int
        Log returns of one bar, at least 1, whose root mean square is the volatility. The last is
        the return of the bar itself, so all are known at `ts`.

    Returns
    -------
    DataFrame
        Of `LABELS`, ascending by `ts`:

        - ``ts``: the bar's `ts_close`, when the decision is taken; UTC.
        - ``label``: sign of `exit_return`; 0 only where the price is exactly what it was.
        - ``touched``: the barrier that ended it.
        - ``exit_return``: log return from the close to the exit.
        - ``ts_exit``: when the label is known, ``ts < ts_exit <= ts + horizon``; UTC.

        There is no row for a bar whose horizon ends after the last bar does, so that no label
        looks past the frame; none where fewer than `vol_look_back` returns are known; and none
        where these are all zero, for barriers without distance decide nothing.

    Raises
    ------
    ValueError
        For a parameter out of its range.

    Notes
    -----
    Lopez de Prado, Advances in Financial Machine Learning (2018), sections 3.2 to 3.4; with the
    path followed by each bar's extremes instead of closes. A bar that opens beyond a barrier ends
    it at its open (the price jumped, nobody traded at the barrier); one that reaches a barrier
    later ends it at the barrier. Where one bar reaches both, which came first is unknown: its close
    decides, and `touched` says ``both``. Every rule is the same for up and down: mirrored prices
    give mirrored labels.
    """
    if horizon < 1 or vol_look_back < 1 or not width > 0:
        raise ValueError(
            f"triple barrier needs horizon >= 1, width > 0 and vol_look_back >= 1, got {horizon}, "
            f"{width}, {vol_look_back}"
        )
    if bars.is_empty():
        return LABELS.to_frame()
    price = {
        name: bars[name].to_numpy().astype(np.float64) for name in ("open", "high", "low", "close")
    }
    known = bars["ts_close"].to_physical().to_numpy()
    deadline = known + horizon * NS_PER_MINUTE
    barrier = width * np.sqrt(horizon) * _volatility(price["close"], vol_look_back)
    # NaN compares as False: rows without volatility fall out here.
    rows = np.flatnonzero((barrier > 0) & (deadline <= known[-1]))
    touched, exit_return, ts_exit = _exits(price, known, deadline, barrier, rows)
    return pl.DataFrame(
        {
            "ts": known[rows],
            "label": np.sign(exit_return).astype(np.int8),
            "touched": TOUCHED.categories.gather(touched),
            "exit_return": exit_return,
            "ts_exit": ts_exit,
        },
        schema=LABELS,
    )


def _volatility(close: np.ndarray, n: int) -> np.ndarray:
    returns = np.log(close[1:] / close[:-1])
    return np.append(np.nan, np.sqrt(fold(np.add, returns**2, n) / n))


def _exits(
    price: dict[str, np.ndarray],
    known: np.ndarray,
    deadline: np.ndarray,
    barrier: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow all positions at once, one bar a step, dropping those that ended."""
    entry = price["close"][rows]
    final = np.searchsorted(known, deadline[rows], side="right") - 1
    touched = np.full(rows.size, _TIME, dtype=np.uint8)
    exit_return = np.log(price["close"][final] / entry)
    ts_exit = deadline[rows]
    alive = np.arange(rows.size)
    step = 0
    while alive.size:
        step += 1
        alive = alive[rows[alive] + step <= final[alive]]
        bar, distance = rows[alive] + step, barrier[rows[alive]]
        opened, high, low, close = (
            np.log(price[name][bar] / entry[alive]) for name in ("open", "high", "low", "close")
        )
        up, down = high >= distance, low <= -distance
        jumped = np.abs(opened) >= distance
        met = up | down
        ended = alive[met]
        both = up & down & ~jumped
        at = np.where(jumped, opened, np.where(both, close, np.where(up, distance, -distance)))
        kind = np.where(both, _BOTH, np.where(at > 0, _UPPER, _LOWER))
        touched[ended], exit_return[ended], ts_exit[ended] = kind[met], at[met], known[bar[met]]
        alive = alive[~met]
    return touched, exit_return, ts_exit
