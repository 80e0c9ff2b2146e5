"""One batch after the other into the hot store, however long the database is away."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial

import polars as pl

from trader_pipelines.collector.aside import aside
from trader_pipelines.collector.link import back_off, pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.status import Meter
from trader_pipelines.core.errors import DatabaseUnreachableError, TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.stores.live import LiveWriter


class Store:
    """The writer, for one batch at a time."""

    def __init__(self, writer: LiveWriter, options: Options, meter: Meter) -> None:
        self._writer, self._options, self._meter = writer, options, meter
        self._lock = asyncio.Lock()
        self._stuck = False  # a thread that nobody waits for still holds the writer

    def close(self) -> None:
        """Let the database go."""
        if not self._stuck:
            self._writer.close()

    async def commit(self, batch: Mapping[Instrument, pl.DataFrame], stop: asyncio.Event) -> None:
        """Commit, again and again while the database is away.

        Raises
        ------
        TraderError
            What another try cannot mend; and after the stop, when the database has not taken the
            batch within `Options.drain`.
        """
        failures, deadline = 0, 0.0
        async with self._lock:
            while True:
                writing = asyncio.ensure_future(aside(partial(self._writer.write, batch)))
                try:
                    deadline = await _settled(writing, stop, deadline, self._options.drain)
                    if not writing.done():
                        raise _not_taken(batch, self._options.drain)
                    self._meter.counts["stored"] += writing.result()
                    self._meter.counts["contradictions"] = self._writer.contradictions
                    return
                except TraderError as error:
                    self._meter.counts["store_failures"] += 1
                    self._meter.last_trouble = str(error)
                    if not error.retry or (deadline and time.monotonic() > deadline):
                        raise
                finally:
                    self._stuck = not writing.done()
                    writing.cancel()
                failures += 1
                wait = back_off(self._options, failures)
                await (asyncio.sleep(min(wait, 1.0)) if stop.is_set() else pause(wait, stop))


def _not_taken(batch: Mapping[Instrument, pl.DataFrame], drain: float) -> DatabaseUnreachableError:
    count = sum(trades.height for trades in batch.values())
    return DatabaseUnreachableError(
        f"the database did not take the last {count} trades within {drain:g} s of the stop",
        where="live collector, hot store",
        remedy="mend the database and start the collector again: what is not stored is asked "
        "for over REST, by its ids",
    )


async def _settled(
    writing: "asyncio.Future[int]", stop: asyncio.Event, deadline: float, drain: float
) -> float:
    """Wait for a write, after the stop no longer than `drain`; the deadline that came of it."""
    if not stop.is_set():
        ended = asyncio.ensure_future(stop.wait())
        await asyncio.wait((writing, ended), return_when="FIRST_COMPLETED")
        ended.cancel()
    if stop.is_set():
        deadline = deadline or time.monotonic() + drain
        await asyncio.wait((writing,), timeout=max(0.0, deadline - time.monotonic()))
    return deadline
