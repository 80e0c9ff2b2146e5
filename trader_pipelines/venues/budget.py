"""How much of a venue's published limits is spent, shared by everything in the process."""

import contextlib
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trader_pipelines.core.errors import VenueBannedError, VenueUnreachableError

#: A minute, and a second for requests that reach the venue later than they were sent.
WINDOW = 61.0


class Budget:
    """Weight that may be spent in any window of time, and the venue's word on waiting.

    Our own sum over a sliding window never exceeds `limit`, so no fixed window of the venue does
    either. Its headers say what others on the same address have spent besides.

    Parameters
    ----------
    name : str
        The venue, for messages.
    limit : int
        Weight that the venue allows in a window.
    window : float
        Its length, seconds.
    longest_wait : float
        A call waits no longer than this, seconds; it is refused at once when it would have to.
    usual_hold : float
        Wait after a 429 that does not say how long, seconds.
    reserve : int
        Weight left unspent for what others on this address send before we are told of it.
    bans : Path, optional
        File by which processes of this machine tell each other until when they are banned.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        window: float = WINDOW,
        longest_wait: float = 120.0,
        usual_hold: float = 5.0,
        reserve: int = 0,
        bans: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self.name = name
        self.limit = limit - reserve
        self.window = window
        self.longest_wait = longest_wait
        self.usual_hold = usual_hold
        self.bans = bans
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._spent: deque[tuple[float, int]] = deque()
        self._told: tuple[float, int] = (0.0, 0)
        self._held_until = 0.0
        self._banned_until = 0.0

    def spend(self, weight: int) -> None:
        """Take `weight` from the budget, after the wait that the limits ask for.

        Raises
        ------
        VenueBannedError
            While a ban lasts: nothing is sent.
        VenueUnreachableError
            When the wait would be longer than `longest_wait`.
        """
        while True:
            with self._lock:
                now = self._clock()
                self._banned_until = max(self._banned_until, now + self._told_ban())
                if now < self._banned_until:
                    raise self._banned(self._banned_until - now)
                wait = max(self._held_until - now, self._room_in(weight, now))
                if wait <= 0:
                    self._spent.append((now, weight))
                    self._told = (self._told[0], self._told[1] + weight)
                    return
            if wait > self.longest_wait:
                raise VenueUnreachableError(
                    f"venue {self.name} asks to wait {wait:.0f} s",
                    where=f"rate limit of venue {self.name}",
                    remedy="try again after that time, or ask for fewer symbols at once",
                    retry=True,
                )
            self._sleep(wait)

    def told(self, used: int) -> None:
        """Take the venue's own count of the weight used in its current window."""
        with self._lock:
            self._told = (self._clock(), used)

    def hold(self, seconds: float | None) -> None:
        """Send nothing for this long: 429, with or without ``Retry-After``."""
        pause = self.usual_hold if seconds is None else seconds
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + pause)

    def ban(self, seconds: float) -> VenueBannedError:
        """Send nothing and refuse every call until the ban ends: 418."""
        with self._lock:
            self._banned_until = max(self._banned_until, self._clock() + seconds)
            self._tell_ban(seconds)
            return self._banned(self._banned_until - self._clock())

    def _room_in(self, weight: int, now: float) -> float:
        while self._spent and self._spent[0][0] <= now - self.window:
            self._spent.popleft()
        total, wait = sum(spent for _, spent in self._spent) + weight, 0.0
        for moment, spent in self._spent:
            if total <= self.limit:
                break
            total, wait = total - spent, moment + self.window - now
        at, used = self._told
        if used + weight > self.limit and now < at + self.window:
            wait = max(wait, at + self.window - now)
        elif now >= at + self.window:
            self._told = (now, 0)
        return wait

    def _told_ban(self) -> float:
        """Seconds that a ban lasts of which another process has told."""
        try:
            return float(self.bans.read_text()) - time.time() if self.bans else 0.0
        except (OSError, ValueError):
            return 0.0

    def _tell_ban(self, seconds: float) -> None:
        if self.bans is None:
            return
        part = self.bans.with_suffix(f".{os.getpid()}.part")
        # Who cannot write it still keeps the ban for itself.
        with contextlib.suppress(OSError):
            self.bans.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(repr(time.time() + seconds))
            part.replace(self.bans)

    def _banned(self, seconds: float) -> VenueBannedError:
        until = datetime.fromtimestamp(time.time() + seconds, UTC)
        return VenueBannedError(
            f"venue {self.name} has banned this address until {until:%Y-%m-%d %H:%M:%S} UTC",
            where=f"rate limit of venue {self.name}",
            remedy="nothing is sent to it before then; try again after that time",
            retry=True,
        )


_SHARED: dict[tuple[str, str], Budget] = {}
_GUARD = threading.Lock()


def shared(
    name: str,
    address: str,
    limit: int,
    window: float = WINDOW,
    reserve: int = 0,
    bans: Path | None = None,
) -> Budget:
    """The one budget of this process for an address of a venue.

    Parameters
    ----------
    bans : Path, optional
        Folder of the files by which processes tell each other of bans.
    """
    file = f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    with _GUARD:
        budget = _SHARED.setdefault((name, address), Budget(name, limit, window, reserve=reserve))
        if bans is not None:
            budget.bans = bans / file
        return budget
