"""A collector as a process: signals stop it, gently the first time."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from trader_pipelines.collector.status import Status

#: Told of every status of a collector.
Report = Callable[[Status], None]

#: Collects until the event is set and returns the last status; however the venue is collected.
Collecting = Callable[[asyncio.Event, Report], Coroutine[Any, Any, Status]]

#: What a shell says of a command that was ended by SIGINT.
_INTERRUPTED = 128 + signal.SIGINT
_SHOW_CURSOR = "\x1b[?25h"


def run(collecting: Collecting, report: Report) -> Status:
    """Collect until SIGTERM or SIGINT, commit what was received, and return the last status.

    A second SIGINT ends the process at once: what it had not committed is asked for over REST
    when the next one starts.

    Raises
    ------
    TraderError
        Of `collecting`.
    """

    async def main() -> Status:
        stop = asyncio.Event()

        def interrupt() -> None:
            if stop.is_set():
                if sys.stdout.isatty():
                    sys.stdout.write(_SHOW_CURSOR)  # a live table has hidden it
                sys.stdout.flush()
                os._exit(_INTERRUPTED)
            stop.set()

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, interrupt)

        def tell(status: Status) -> None:
            try:
                report(status)
            except BrokenPipeError:  # nobody reads any more: an end like any other
                stop.set()

        return await collecting(stop, tell)

    return asyncio.run(main())
