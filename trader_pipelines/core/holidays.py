"""Weekdays on which an exchange is closed: exchange_calendars' answers, kept as a table.

The code location cuts its partitions by them each time it loads, and asking the library costs a
third of a second and pandas. A test holds every day of the table against the library.
"""

from datetime import date
from functools import cache

#: By calendar and year: month and day of each weekday without a session.
_CLOSED = {
    "XNYS": {
        2010: "0101 0118 0215 0402 0531 0705 0906 1125 1224",
        2011: "0117 0221 0422 0530 0704 0905 1124 1226",
        2012: "0102 0116 0220 0406 0528 0704 0903 1029 1030 1122 1225",
        2013: "0101 0121 0218 0329 0527 0704 0902 1128 1225",
        2014: "0101 0120 0217 0418 0526 0704 0901 1127 1225",
        2015: "0101 0119 0216 0403 0525 0703 0907 1126 1225",
        2016: "0101 0118 0215 0325 0530 0704 0905 1124 1226",
        2017: "0102 0116 0220 0414 0529 0704 0904 1123 1225",
        2018: "0101 0115 0219 0330 0528 0704 0903 1122 1205 1225",
        2019: "0101 0121 0218 0419 0527 0704 0902 1128 1225",
        2020: "0101 0120 0217 0410 0525 0703 0907 1126 1225",
        2021: "0101 0118 0215 0402 0531 0705 0906 1125 1224",
        2022: "0117 0221 0415 0530 0620 0704 0905 1124 1226",
        2023: "0102 0116 0220 0407 0529 0619 0704 0904 1123 1225",
        2024: "0101 0115 0219 0329 0527 0619 0704 0902 1128 1225",
        2025: "0101 0109 0120 0217 0418 0526 0619 0704 0901 1127 1225",
        2026: "0101 0119 0216 0403 0525 0619 0703 0907 1126 1225",
        2027: "0101 0118 0215 0326 0531 0618 0705 0906 1125 1224",
        2028: "0117 0221 0414 0529 0619 0704 0904 1123 1225",
        2029: "0101 0115 0219 0330 0528 0619 0704 0903 1122 1225",
        2030: "0101 0121 0218 0419 0527 0619 0704 0902 1128 1225",
        2031: "0101 0120 0217 0411 0526 0619 0704 0901 1127 1225",
        2032: "0101 0119 0216 0326 0531 0618 0705 0906 1125 1224",
        2033: "0117 0221 0415 0530 0620 0704 0905 1124 1226",
        2034: "0102 0116 0220 0407 0529 0619 0704 0904 1123 1225",
        2035: "0101 0115 0219 0323 0528 0619 0704 0903 1122 1225",
        2036: "0101 0121 0218 0411 0526 0619 0704 0901 1127 1225",
        2037: "0101 0119 0216 0403 0525 0619 0703 0907 1126 1225",
        2038: "0101 0118 0215 0423 0531 0618 0705 0906 1125 1224",
        2039: "0117 0221 0408 0530 0620 0704 0905 1124 1226",
    }
}


@cache
def years(calendar: str) -> range:
    """The years that the table has of a calendar; none of one that it does not have."""
    known = _CLOSED.get(calendar, {})
    return range(min(known, default=0), max(known, default=-1) + 1)


@cache
def holidays(calendar: str) -> frozenset[date]:
    """Weekdays without a session in the `years` of a calendar."""
    return frozenset(
        date(year, int(day[:2]), int(day[2:]))
        for year, days in _CLOSED[calendar].items()
        for day in days.split()
    )
