"""Trades against what the venue says of them: its bars minute by minute, itself row by row."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES

#: One row a minute of a venue's own bars.
#:
#: minute  its start, UTC
#: fills   single trades
#: size    base volume * 10**instrument.size_scale
#: bought  the part of it that buyers took; null when the venue does not tell
KLINES = pl.Schema(
    {
        "minute": pl.Datetime("ns", "UTC"),
        "fills": pl.Int64(),
        "size": pl.Int64(),
        "bought": pl.Int64(),
    }
)

#: So many minutes are named one by one.
_NAMED = 20

_COUNTED = ("fills", "size", "bought")


@dataclass(frozen=True, slots=True)
class KlineReconciliation:
    """Trades against a venue's minute bars.

    Parameters
    ----------
    minutes : int
        Minutes with a trade on either side.
    differing : DataFrame
        The minutes that differ: `minute`, and ``trades - bars`` of `fills`, `size` and `bought`
        (scaled integers); ascending.
    fills : int
        Single trades that the venue's bars count.
    """

    minutes: int
    differing: pl.DataFrame
    fills: int

    @property
    def agrees(self) -> bool:
        """Whether no minute differs."""
        return self.differing.is_empty()

    def lacking(self) -> pl.DataFrame:
        """The minutes in which the bars count trades that are not there."""
        return self.differing.filter(pl.col("fills") < 0)

    def told(self, of: str = "klines") -> dict[str, str | int]:
        """For `Certificate.reconciled`: minutes compared, differing, and lacking trades by name."""
        said: dict[str, str | int] = {
            f"{of}_minutes": self.minutes,
            f"{of}_fills": self.fills,
            f"{of}_minutes_differing": self.differing.height,
        }
        if not self.agrees:
            first: datetime = self.differing["minute"][0]
            said[f"{of}_first_differing"] = first.isoformat()
            for name in _COUNTED:
                said[f"{of}_{name}_difference"] = int(self.differing[name].fill_null(0).abs().sum())
        lacking = self.lacking()
        if lacking.height:
            named = lacking["minute"].head(_NAMED).dt.strftime("%H:%M").to_list()
            more = lacking.height - len(named)
            said[f"{of}_lacking"] = " ".join(named) + (f" and {more} more" if more else "")
        return said


def by_minute(trades: pl.DataFrame) -> pl.DataFrame:
    """Minutes of trades as a venue's bars count them.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`.

    Returns
    -------
    DataFrame of schema `KLINES`
    """
    return (
        trades.lazy()
        .group_by(minute=pl.col("ts_event").dt.truncate("1m"))
        .agg(
            fills=pl.col("fills").cast(pl.Int64).sum(),
            size=pl.col("size").sum(),
            bought=pl.col("size").filter(pl.col("side") > 0).sum(),
        )
        .sort("minute")
        .collect(engine="in-memory")
        .cast(KLINES)
    )


def reconcile_with_klines(
    trades: pl.DataFrame, klines: pl.DataFrame, instrument: Instrument
) -> KlineReconciliation:
    """Compare count, volume and taker volume with the venue's bars, minute by minute.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`, on the instrument's grid.
    klines : DataFrame
        Of schema `KLINES`, on the same grid; minutes without a trade may be there or not.
    instrument : Instrument
        Whose they are, for messages.

    Raises
    ------
    ValueError
        When a frame has another schema: a mistake of the caller.
    """
    if trades.schema != TRADES or klines.schema != KLINES:
        raise ValueError(f"{instrument.id}: trades or klines are not of their schema")
    ours = by_minute(trades)
    theirs = klines.filter(pl.col("fills") > 0)
    both = ours.join(theirs, on="minute", how="full", coalesce=True, suffix="_told")
    told_side = pl.col("bought_told").is_not_null() | pl.col("fills_told").is_null()
    both = both.with_columns(
        pl.col(name).fill_null(0) - pl.col(f"{name}_told").fill_null(0) for name in _COUNTED
    ).with_columns(pl.when(told_side).then(pl.col("bought")))
    differs = pl.any_horizontal(pl.col(name).fill_null(0) != 0 for name in _COUNTED)
    differing = both.filter(differs).select("minute", *_COUNTED).sort("minute")
    return KlineReconciliation(both.height, differing, int(theirs["fills"].sum()))


@dataclass(frozen=True, slots=True)
class SourceReconciliation:
    """The same day from two sources of one venue: ids only in one, and ids with other rows."""

    only_left: int
    only_right: int
    differing: int
    common: int

    @property
    def agrees(self) -> bool:
        """Whether both hold the same rows."""
        return not (self.only_left or self.only_right or self.differing)

    def told(self, left: str = "rest", right: str = "archive") -> dict[str, str | int]:
        """For `Certificate.reconciled`."""
        return {
            f"{left}_{right}_common": self.common,
            f"{left}_only": self.only_left,
            f"{right}_only": self.only_right,
            f"{left}_{right}_differing": self.differing,
        }


def reconcile_sources(left: pl.DataFrame, right: pl.DataFrame) -> SourceReconciliation:
    """Compare two frames of schema `TRADES` by id: same ids, same rows."""
    both = left.join(right, on="id", how="inner", suffix="_right")
    others = [name for name in TRADES if name != "id"]
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_right") for name in others)
    return SourceReconciliation(
        only_left=left.height - both.height,
        only_right=right.height - both.height,
        differing=both.filter(~same).height,
        common=both.height,
    )
