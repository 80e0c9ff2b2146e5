"""Collect a venue's trades as they happen: stream in, holes refilled, everything committed once."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping

from trader_pipelines.collector.intake import Intake
from trader_pipelines.collector.link import pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.refilling import Refill, mend
from trader_pipelines.collector.status import Status
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.stores.live import LiveWriter
from trader_pipelines.venues.stream import Feed


async def collect(
    feed: Feed,
    instruments: Iterable[Instrument],
    database_url: str,
    refill: Refill,
    *,
    options: Options | None = None,
    begin: Mapping[str, int] | None = None,
    stop: asyncio.Event | None = None,
    report: Callable[[Status], None] | None = None,
) -> Status:
    """Collect trades until `stop` is set; what was received by then is committed.

    Parameters
    ----------
    feed : Feed
        The venue's stream.
    instruments : iterable of Instrument
        What to collect.
    database_url : str
        Of a database whose schema is ready.
    refill : callable
        ``(instrument, first_id, last_id) -> DataFrame`` of the trades that REST has; in a thread.
    begin : mapping, optional
        By symbol, the first id that has to be there. Without it, a symbol of which nothing is
        stored begins at the first print that comes.
    report : callable, optional
        Told a `Status` every `Options.report` seconds and at the end.

    Raises
    ------
    TraderError
        What another try cannot mend: an unknown symbol, a refused key, another grid in the store.
    """
    options, stop = options or Options(), stop or asyncio.Event()
    writer = LiveWriter(database_url)
    intake = Intake(feed, tuple(instruments), writer, options)
    await asyncio.to_thread(intake.resume, database_url, begin or {})
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for link in intake.links:
                group.create_task(link.run(stop))
            group.create_task(intake.commit(stop))
            group.create_task(mend(intake, refill, stop))
            if report is not None:
                group.create_task(_reporting(intake, report, stop))
    except BaseExceptionGroup as errors:
        failure = errors.exceptions[0]
    finally:
        writer.close()
    if failure is not None:
        raise failure
    status = intake.status()
    if report is not None:
        report(status)
    return status


async def _reporting(intake: Intake, report: Callable[[Status], None], stop: asyncio.Event) -> None:
    while not stop.is_set():
        await pause(intake.options.report, stop)
        if not stop.is_set():
            report(intake.status())


def print_line(status: Status) -> None:
    """A status as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(status.as_dict()) + "\n")
    sys.stdout.flush()


def run(
    feed: Feed,
    instruments: Iterable[Instrument],
    database_url: str,
    refill: Refill,
    *,
    options: Options | None = None,
    begin: Mapping[str, int] | None = None,
    report: Callable[[Status], None] = print_line,
) -> int:
    """`collect` as a process: SIGTERM and SIGINT drain, commit and return 0."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await collect(
            feed,
            instruments,
            database_url,
            refill,
            options=options,
            begin=begin,
            stop=stop,
            report=report,
        )

    asyncio.run(main())
    return 0
