"""A market that never was: trades drawn from a seed, with a known dose of predictability.

Everything is drawn from streams keyed by seed, symbol, day and purpose, never by the effect: the
same seed with another effect keeps its stamps and sizes, and no draw depends on which day was
asked for before.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from trader_pipelines.core.instruments import Instrument

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTES = 1_440
US_PER_MINUTE = 60_000_000

#: Standard deviation of a minute's return, on average over the day.
MINUTE_VOLATILITY = 5e-4
#: Of all trades, those that print a new price.
MOVING_SHARE = 0.4
#: Of the moving trades, those whose aggressor is told by the move itself.
TELLING_SHARE = 0.5
#: Log-odds of an up move per unit of effect and flow, at one move a minute.
GAIN = 1.0
#: Minutes after which order flow, and activity, have lost half of what they were.
FLOW_HALF_LIFE = 5
ACTIVITY_HALF_LIFE = 30
#: Trades that one burst holds on average, and the mean delay within it.
BURST_TRADES = 3
BURST_DELAY_US = 1.5e6
#: Of the trades of a burst, those that share the stamp of its first.
SWEEP_SHARE = 0.35
#: Median trade, in quote currency; the tail has index 2 and is cut at this many medians.
MEDIAN_NOTIONAL = 500.0
LARGEST_MEDIANS = 10_000.0


@dataclass(frozen=True, slots=True)
class Market:
    """What a synthetic market is drawn from.

    Parameters
    ----------
    seed : int
        Which of all markets.
    effect : float
        How strongly earlier order flow tilts later moves, 0 (not at all) to 1.
    trades_per_day : int
        On average.
    """

    seed: int
    effect: float
    trades_per_day: int

    @property
    def moves_per_minute(self) -> float:
        """Price changes a minute, on average."""
        return self.trades_per_day * MOVING_SHARE / MINUTES

    @property
    def step(self) -> float:
        """Relative size of one price move."""
        return min(0.05, MINUTE_VOLATILITY / math.sqrt(self.moves_per_minute))

    def stream(self, *key: object) -> np.random.Generator:
        """Random numbers of their own for every key, the same on every machine."""
        text = "\x1f".join(map(str, (self.seed, *key)))
        digest = hashlib.sha256(text.encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


@dataclass(frozen=True, slots=True)
class DayPlan:
    """What of a day is known without drawing the days before it.

    Parameters
    ----------
    first_id, trades, moves, ups : int
        First id, number of trades, of price moves among them, and of up moves among those.
    ups_before, downs_before : int
        Moves of all earlier days since the instrument is listed.
    """

    first_id: int
    trades: int
    moves: int
    ups: int
    ups_before: int
    downs_before: int


def plan_day(market: Market, symbol: str, index: int) -> DayPlan:
    """Plan of the day that lies `index` days after the instrument was listed.

    The up moves of a day are Binomial(moves, 1/2) whatever the effect; the effect only decides
    where in the day they fall. So no earlier day needs to be drawn to know today's open.
    """
    spread = np.exp(0.2 * market.stream(symbol, "counts").standard_normal(index + 1))
    trades = np.maximum(1, np.rint(market.trades_per_day * spread)).astype(np.int64)
    moves = np.rint(MOVING_SHARE * trades).astype(np.int64)
    ups = market.stream(symbol, "ups").binomial(moves, 0.5)
    return DayPlan(
        first_id=1 + int(trades[:-1].sum()),
        trades=int(trades[-1]),
        moves=int(moves[-1]),
        ups=int(ups[-1]),
        ups_before=int(ups[:-1].sum()),
        downs_before=int((moves - ups)[:-1].sum()),
    )


def start_ticks(symbol: str) -> int:
    """First price of a symbol in ticks: 1 to 6 million (10,000 to 60,000 at a tick of 0.01)."""
    digest = hashlib.sha256(symbol.encode()).digest()
    return int(1e6 * 6 ** (int.from_bytes(digest[:6], "little") / 2**48))


def price_ticks(market: Market, symbol: str, ups: Ints, downs: Ints) -> Ints:
    """Price after so many moves, on the tick grid.

    An up move multiplies by ``1 + step``, a down move by ``1 - step``: the fair game is a
    martingale, symmetric in returns, and stays positive.
    """
    # ups * log(1 + step) + downs * log(1 - step), without the difference of two large numbers.
    step = market.step
    log = (ups - downs) * math.atanh(step) + (ups + downs) * (0.5 * math.log1p(-(step**2)))
    ticks: Floats = np.rint(start_ticks(symbol) * np.exp(log))
    return np.maximum(1, ticks).astype(np.int64)


def minute_noise(market: Market, symbol: str, day: date, name: str, half_life: int) -> Floats:
    """AR(1) of unit variance by the minute, one long series through all midnights.

    Returns
    -------
    ndarray of float64, shape (1441,)
        The last minute of the day before, then the minutes of `day`. The series is a moving
        average over the last ``12 * half_life`` minutes (older ones weigh less than 1/4096), so a
        day is drawn from its own shocks and those of the day before.
    """
    decay = 0.5 ** (1 / half_life)
    weights = decay ** np.arange(12 * half_life)
    weights /= math.sqrt(float(np.sum(weights**2)))
    shocks = [
        market.stream(symbol, d, name).standard_normal(MINUTES)
        for d in (day - timedelta(days=1), day)
    ]
    return np.convolve(np.concatenate(shocks)[-MINUTES - weights.size :], weights, "valid")


def stamps(market: Market, symbol: str, day: date, trades: int) -> Ints:
    """Nanoseconds since midnight of the day's trades, ascending, on whole microseconds.

    Bursts arrive at a rate of two humps (European and American hours) times a slowly varying
    activity; a burst holds one trade or many, some at the same stamp.
    """
    rng = market.stream(symbol, day, "arrivals")
    hour = (np.arange(MINUTES) + 0.5) / 60
    humps = 0.5 + np.exp(-(((hour - 8.5) / 2.5) ** 2)) + 1.3 * np.exp(-(((hour - 15) / 3) ** 2))
    activity = minute_noise(market, symbol, day, "activity", ACTIVITY_HALF_LIFE)[1:]
    # Whole numbers from here on: the last bit of an exponential is not the same on every machine.
    weight = np.maximum(1, np.rint(1e6 * humps * np.exp(0.5 * activity))).astype(np.int64)
    reached = np.concatenate(([0], np.cumsum(weight)))
    bursts = -(-trades // BURST_TRADES)
    level = (rng.random(bursts) * reached[-1]).astype(np.int64)
    minute = np.searchsorted(reached, level, side="right") - 1
    starts = minute * US_PER_MINUTE + (level - reached[minute]) * US_PER_MINUTE // weight[minute]
    # Squaring the draw crowds the followers into few bursts: most are single, some are long.
    followers = trades - bursts
    burst = (bursts * rng.random(followers) ** 2).astype(np.int64)
    delay = np.rint(-BURST_DELAY_US * np.log1p(-rng.random(followers))).astype(np.int64)
    delay[rng.random(followers) < SWEEP_SHARE] = 0
    at = np.concatenate((starts, starts[burst] + delay))
    day_us = MINUTES * US_PER_MINUTE
    return 1_000 * np.sort(np.where(at < day_us, at, 2 * day_us - 1 - at))


def place_ups(logits: Floats, tilt: Floats, ups: int) -> Ints:
    """Signs of a day's moves, 1 or -1: the `ups` highest of logistic noise plus tilt go up.

    With `ups` drawn from Binomial(n, 1/2) and no tilt these are independent fair coins; with a
    tilt, the log-odds of each move are shifted by it.
    """
    signs = np.full(logits.size, -1, np.int64)
    if ups:
        signs[np.argpartition(logits + tilt, logits.size - ups)[logits.size - ups :]] = 1
    return signs


def draw_day(market: Market, instrument: Instrument, day: date) -> dict[str, Ints]:
    """All trades of a day, vectorised.

    Returns
    -------
    dict of ndarray of int64
        ``id``, ``at`` (nanoseconds since midnight), ``ticks``, ``lots``, ``side``.
    """
    symbol = instrument.symbol
    plan = plan_day(market, symbol, (day - instrument.since).days)
    at = stamps(market, symbol, day, plan.trades)
    minute = at // (1_000 * US_PER_MINUTE)
    flow = minute_noise(market, symbol, day, "flow", FLOW_HALF_LIFE)

    rng = market.stream(symbol, day, "moves")
    movers = np.sort(np.argsort(rng.random(plan.trades))[: plan.moves])
    uniform = rng.random(plan.moves) + 2.0**-54
    # Only flow of the minute before tilts a move: `flow` starts one minute early.
    gain = market.effect * min(1.0, GAIN / math.sqrt(market.moves_per_minute))
    signs = place_ups(np.log(uniform / (1 - uniform)), gain * flow[minute[movers]], plan.ups)
    up = np.zeros(plan.trades, np.int64)
    down = np.zeros(plan.trades, np.int64)
    up[movers], down[movers] = signs > 0, signs < 0
    ups, downs = plan.ups_before + np.cumsum(up), plan.downs_before + np.cumsum(down)

    rng = market.stream(symbol, day, "sides")
    buys = rng.random(plan.trades) < 0.5 + 0.5 * np.tanh(0.6 * flow[minute + 1])
    side = np.where(buys, 1, -1)
    telling = rng.random(plan.moves) < TELLING_SHARE
    side[movers[telling]] = signs[telling]

    return {
        "id": plan.first_id + np.arange(plan.trades),
        "at": at,
        "ticks": price_ticks(market, symbol, ups, downs),
        "lots": _lots(market, instrument, day, plan.trades),
        "side": side,
    }


def _lots(market: Market, instrument: Instrument, day: date, trades: int) -> Ints:
    rng = market.stream(instrument.symbol, day, "sizes")
    lot_value = start_ticks(instrument.symbol) * float(instrument.tick_size * instrument.lot_size)
    median = max(25.0, MEDIAN_NOTIONAL / lot_value)
    medians = np.exp(rng.standard_normal(trades)) / np.sqrt(1 - rng.random(trades))
    return np.maximum(1, np.rint(median * np.minimum(medians, LARGEST_MEDIANS))).astype(np.int64)
