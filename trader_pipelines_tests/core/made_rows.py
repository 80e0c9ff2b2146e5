"""Training sets made up for the tests of learning: minute rows, one feature that may know a little."""

import numpy as np
import polars as pl

MINUTE = np.timedelta64(60, "s")


def made_rows(
    seed: int,
    strength: float,
    *,
    symbols: int = 2,
    days: int = 14,
    rows: int = 1_400,
    features: int = 6,
    horizon: int = 30,
) -> pl.DataFrame:
    """A training set whose up-moves have log-odds ``strength * f0``; 0 is pure noise."""
    rng = np.random.default_rng(seed)
    start = np.datetime64("2024-01-01T00:35", "ns")
    minutes = (np.arange(days)[:, None] * 1_440 + np.arange(rows)).ravel() * MINUTE
    parts = []
    for number in range(symbols):
        ts = start + minutes
        x = rng.normal(size=(ts.size, features))
        up = rng.random(ts.size) < 1.0 / (1.0 + np.exp(-strength * x[:, 0]))
        ts_exit = ts + rng.integers(1, horizon + 1, ts.size) * MINUTE
        parts.append(
            pl.DataFrame(
                {
                    "ts": utc(ts),
                    "symbol": f"S{number}",
                    **{f"f{column}": x[:, column] for column in range(features)},
                    "up": up.astype(np.int8),
                    "exit_return": np.where(up, 1e-3, -1e-3),
                    "ts_exit": utc(ts_exit),
                }
            )
        )
    return pl.concat(parts).sort("ts", "symbol")


def names(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name[0] == "f" and name[1:].isdigit()]


def utc(stamps: np.ndarray) -> pl.Series:
    return pl.Series(stamps.astype("datetime64[ns]")).dt.replace_time_zone("UTC")
