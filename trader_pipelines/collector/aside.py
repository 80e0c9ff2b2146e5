"""Blocking calls in threads that nobody has to wait for: a stop leaves them behind."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def aside(call: Callable[[], T]) -> T:
    """Run a blocking call in a thread of its own; to cancel means to leave it to itself.

    Not `asyncio.to_thread`, whose threads a process waits for at its end: a REST question that
    sits out a rate limit, or a commit to a server that has stopped, would hold it up for minutes.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        if not told.done():
            settle()

    def body() -> None:
        settle: Callable[[], None]
        try:
            value = call()
            settle = lambda: told.set_result(value)  # noqa: E731
        except BaseException as error:  # noqa: BLE001  it is raised where it is awaited
            caught = error
            settle = lambda: told.set_exception(caught)  # noqa: E731
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(tell, settle)

    threading.Thread(target=body, daemon=True).start()
    return await told


async def unless(stop: asyncio.Event, call: Callable[[], T]) -> T | None:
    """`aside`, given up with None when it is time to stop."""
    asked, ended = asyncio.ensure_future(aside(call)), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((asked, ended), return_when="FIRST_COMPLETED")
        return asked.result() if asked.done() else None
    finally:
        asked.cancel()
        ended.cancel()
