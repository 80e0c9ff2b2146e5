"""The venue `synthetic`: the embedded default, needs no network and is marked for what it is."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, utc_day_bounds
from trader_pipelines.venues.base import DayTrades
from trader_pipelines.venues.days import Today, check_day, utc_today
from trader_pipelines.venues.synthetic_market import Market, draw_day, plan_day

MOST_TRADES_PER_DAY = 20_000_000


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A market drawn from a seed; the same bytes every time, in any process and order.

    Parameters
    ----------
    seed : int
        Which of all markets, 0 or more.
    effect : float
        How strongly earlier order flow tilts later price moves: 0 gives a market that nothing
        can predict, 0.3 a weak effect that minute bars can show, 1 a plain one.
    trades_per_day : int
        Average trades a symbol and day, 1 to 10 million.
    name : str
        The venue's name in the universe.
    today : callable
        Tells the current UTC day.

    Raises
    ------
    SettingsError
        When one of these is out of its range.
    """

    seed: int
    effect: float
    trades_per_day: int
    name: str = "synthetic"
    today: Today = utc_today

    def __post_init__(self) -> None:
        _check("seed", self.seed, self.seed >= 0, "0 or more")
        _check("effect", self.effect, 0 <= self.effect <= 1, "a number from 0 to 1")
        few_enough = 1 <= self.trades_per_day <= MOST_TRADES_PER_DAY
        _check("trades_per_day", self.trades_per_day, few_enough, f"1 to {MOST_TRADES_PER_DAY}")

    @property
    def synthetic(self) -> bool:
        """True: no market ever printed these trades."""
        return True

    @property
    def sequential_ids(self) -> bool:
        """True: ids of a symbol count up by one, through all midnights."""
        return True

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        """All trades of one UTC day.

        Parameters
        ----------
        instrument : Instrument
            Of this venue, listed on `day`. Its `since` is the day on which ids start at 1.
        day : date
            A UTC day that is over.

        Returns
        -------
        DayTrades
            `reconciled` holds ``expected_first_id`` and ``expected_trades``, as the seed has them.

        Raises
        ------
        UnknownSymbolError, DayNotOverError
            When there can be no such day.
        """
        check_day(self.name, instrument, day, self.today)
        market = Market(self.seed, float(self.effect), self.trades_per_day)
        drawn = draw_day(market, instrument, day)
        plan = plan_day(market, instrument.symbol, (day - instrument.since).days)
        start, _ = utc_day_bounds(day)
        trades = pl.DataFrame(
            {
                "id": drawn["id"],
                "ts_event": start + drawn["at"],
                "price": drawn["ticks"] * _units(instrument.tick_size, instrument.price_scale),
                "size": drawn["lots"] * _units(instrument.lot_size, instrument.size_scale),
                "side": drawn["side"],
                "fills": pl.repeat(1, plan.trades, dtype=pl.Int32, eager=True),
            }
        ).cast(TRADES)
        return DayTrades(
            trades,
            source=f"synthetic market, seed {self.seed}, effect {float(self.effect):g}, "
            f"{self.trades_per_day} trades a day",
            reconciled={"expected_first_id": plan.first_id, "expected_trades": plan.trades},
        )


def _units(step: Decimal, scale: int) -> int:
    """One step of a grid as a stored integer."""
    return int(step.scaleb(scale))


def _check(key: str, value: float, good: bool, allowed: str) -> None:
    if not good:
        raise SettingsError(
            f"{key} is {value}",
            where=f"settings of the synthetic venue, {key}",
            remedy=f"give {allowed}",
        )
