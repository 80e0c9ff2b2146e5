"""What a collector is given of a venue that counts its trades: stream, REST, and where to begin."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.stream import Feed

#: Trades of the ids from first to last, both included, that the venue's REST has: of schema
#: `TRADES`. Runs in a thread; may raise, and is then asked again.
Refill = Callable[[Instrument, int, int], pl.DataFrame]

#: The first id that has to be there: of today, so that today can become complete. In a thread.
Begin = Callable[[Instrument], int]


@dataclass(frozen=True, slots=True)
class Source:
    """A venue that is collected by ids.

    Parameters
    ----------
    feed : Feed
        The venue's stream.
    refill : callable
        ``(instrument, first_id, last_id) -> DataFrame`` of the trades that REST has.
    begin : callable, optional
        ``(instrument) -> int``. Without it, a symbol of which nothing is stored begins at the
        first print that comes.
    """

    feed: Feed
    refill: Refill
    begin: Begin | None = None
