"""Collect a venue's trades as they happen: stream in, holes refilled, everything committed once."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from trader_pipelines.collector.aside import unless
from trader_pipelines.collector.intake import Intake
from trader_pipelines.collector.link import back_off, pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.refilling import mend
from trader_pipelines.collector.source import Source
from trader_pipelines.collector.status import Status
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.stores.live import LiveWriter


async def collect(
    source: Source,
    instruments: Iterable[Instrument],
    database_url: str,
    *,
    stop: asyncio.Event,
    report: Callable[[Status], None],
    options: Options | None = None,
    begin: Mapping[str, int] | None = None,
) -> Status:
    """Collect trades until `stop` is set; what was received by then is committed.

    Parameters
    ----------
    source : Source
        The venue's stream and REST.
    instruments : iterable of Instrument
        What to collect.
    database_url : str
        Of a database whose schema is ready.
    stop : Event
        Set to end it.
    report : callable
        Told a `Status` every `Options.report` seconds.
    begin : mapping, optional
        By symbol, the first id that has to be there, where it is not `Source.begin` that tells.

    Returns
    -------
    Status
        Of the end.

    Raises
    ------
    TraderError
        What another try cannot mend: an unknown symbol, a refused key, another grid in the store;
        or a database that does not take what is left at the stop.
    """
    options = options or Options()
    intake = Intake(source.feed, tuple(instruments), LiveWriter(database_url), options)
    ask = source.begin is not None
    await _resume(intake, partial(intake.resume, database_url, begin or {}, ask=ask), stop)
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for link in intake.links:
                group.create_task(link.run(stop))
            group.create_task(intake.commit(stop))
            group.create_task(mend(intake, source, stop))
            group.create_task(_reporting(intake, report, stop))
    except BaseExceptionGroup as errors:
        failure = errors.exceptions[0]
    finally:
        intake.store.close()
    if failure is not None:
        raise failure
    return intake.status()


async def _resume(intake: Intake, resume: Callable[[], None], stop: asyncio.Event) -> None:
    """Learn what is stored; a database that is away just now is asked again a few times."""
    for failures in range(1, intake.options.tries + 1):
        try:
            await unless(stop, resume)
            return
        except TraderError as error:
            if not error.retry or failures == intake.options.tries:
                raise
        await pause(back_off(intake.options, failures), stop)


async def _reporting(intake: Intake, report: Callable[[Status], None], stop: asyncio.Event) -> None:
    while not stop.is_set():
        await pause(intake.options.report, stop)
        if not stop.is_set():
            report(intake.status())
