"""Collect trades of a venue that does not count them: told by its stream, proven by its bars.

Without counted ids a lost trade leaves no hole. So a minute is the unit of truth: it is proven when
count, volume and average price of what is stored are those of the venue's own minute bar. Every
minute in which a connection began or ended, a frame could not be read or a trade was taken back,
and every one that differs from its bar, is asked for over REST and replaced whole.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from trader_pipelines.collector.link import pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.status import Status
from trader_pipelines.collector.windows.intake import WindowIntake
from trader_pipelines.collector.windows.options import Proving
from trader_pipelines.collector.windows.proving import Prover, Rest
from trader_pipelines.collector.windows.status import status
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.stores.live import LiveWriter
from trader_pipelines.venues.stream_alpaca import AlpacaFeed


async def collect_windows(
    feed: AlpacaFeed,
    instruments: Iterable[Instrument],
    database_url: str,
    rest: Rest,
    calendar: str,
    *,
    stop: asyncio.Event,
    report: Callable[[Status], None],
    options: Options | None = None,
    proving: Proving | None = None,
    begin: int | None = None,
    now: Callable[[], int] = time.time_ns,
) -> Status:
    """Collect trades until `stop` is set; what was received by then is committed.

    Parameters
    ----------
    feed : AlpacaFeed
        The venue's stream.
    instruments : iterable of Instrument
        What to collect.
    database_url : str
        Of a database whose schema is ready.
    rest : Rest
        The same venue over REST.
    calendar : str
        What its trading days are: ``UTC``, or ``XNYS``.
    stop : Event
        Set to end it.
    report : callable
        Told a `Status` every `Options.report` seconds; its symbols are
        `collector.windows.status.WindowsStatus`.
    begin : int, optional
        From which nanosecond on its day has to be whole. Without it, from the beginning of the
        session that is on, so that today can become complete.
    now : callable
        The venue's clock, nanoseconds since the epoch.

    Returns
    -------
    Status
        Of the end.

    Raises
    ------
    TraderError
        What another try cannot mend: a refused key, a missing entitlement, an unknown symbol, a
        second connection with the same key, another grid in the store.
    """
    options = options or Options()
    writer = LiveWriter(database_url, calendar)
    intake = WindowIntake(
        feed, tuple(instruments), writer, calendar, options, proving or Proving(), now
    )
    await asyncio.to_thread(intake.resume, database_url, begin)
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(intake.link.run(stop))
            group.create_task(intake.commit(stop))
            group.create_task(Prover(intake, rest, database_url).run(stop))
            group.create_task(_reporting(intake, report, stop))
    except BaseExceptionGroup as errors:
        failure = errors.exceptions[0]
    finally:
        intake.store.close()
    if failure is not None:
        raise failure
    return status(intake)


async def _reporting(
    intake: WindowIntake, report: Callable[[Status], None], stop: asyncio.Event
) -> None:
    while not stop.is_set():
        await pause(intake.options.report, stop)
        if not stop.is_set():
            report(status(intake))
