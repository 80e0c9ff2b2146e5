"""A few made-up aggregate trades, small enough to know every value by heart."""

from datetime import date

from trader_pipelines.core.trades import utc_day_bounds
from trader_pipelines.venues.patience import Patience
from trader_pipelines_tests.tapes import AggTrade

DAY = date(2020, 11, 1)
NEXT_DAY = date(2020, 11, 2)
START_MS = utc_day_bounds(DAY)[0] // 1_000_000
#: No waiting in tests.
QUICK = Patience(attempts=3, longest_wait=0.0, timeout=5.0)

TRADES_OF_DAY = (
    AggTrade(101, "13748.62000000", "0.00836900", 501, 501, START_MS, buyer_maker=False),
    AggTrade(102, "13748.62000000", "1.00000000", 502, 504, START_MS + 7, buyer_maker=True),
    AggTrade(103, "13750.01000000", "0.00000100", 505, 505, START_MS + 7, buyer_maker=True),
    AggTrade(104, "9.10000000", "25.50000000", 506, 515, START_MS + 86_399_999, buyer_maker=False),
)
TRADES_OF_NEXT_DAY = (
    AggTrade(105, "13748.63000000", "0.10000000", 516, 516, START_MS + 86_400_000, True),
)
