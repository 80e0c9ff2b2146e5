"""When a venue trades: the session of a moment, and the minutes of a stretch that lie in one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from trader_pipelines.collector.windows.minutes import MINUTE
from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.sessions import day_bounds, days_of

_EPOCH = date(1970, 1, 1)


@dataclass
class Hours:
    """Sessions of a calendar, looked up once a day.

    Parameters
    ----------
    calendar : str
        `UTC_DAYS`, or a calendar of exchange_calendars.
    """

    calendar: str
    known: dict[date, tuple[int, int] | None] = field(default_factory=dict)

    def day(self, ns: int) -> date:
        """The trading day that a moment belongs to, whether or not it has a session."""
        return _EPOCH + timedelta(days=int(days_of(self.calendar, np.array([ns]))[0]))

    def session(self, day: date) -> tuple[int, int] | None:
        """First nanosecond and the one after the last; None on a day without a session."""
        if day not in self.known:
            try:
                self.known[day] = day_bounds(self.calendar, day)
            except MissingDataError:
                self.known[day] = None
        return self.known[day]

    def inside(self, ns: int) -> bool:
        """Whether the venue trades at that moment."""
        session = self.session(self.day(ns))
        return session is not None and session[0] <= ns < session[1]

    def minutes(self, first: int, until: int) -> Iterator[int]:
        """Starts of the minutes from one to before another that lie in a session, ascending."""
        if until <= first:
            return
        day, last = self.day(first), self.day(until - 1)
        while day <= last:
            session = self.session(day)
            if session is not None:
                low = max(session[0], first - first % MINUTE)
                yield from range(low, min(session[1], until), MINUTE)
            day += timedelta(days=1)
