"""Which minutes are asked for over REST at once: as few questions as the pages allow."""

from collections.abc import Iterator

from trader_pipelines.collector.windows.hours import Hours
from trader_pipelines.collector.windows.minutes import MINUTE, Ledger

#: Trades that are asked for and replaced at once: five pages.
MOST = 50_000
#: Trades that are asked for again between two minutes, rather than by a question of its own.
BETWEEN = 1_000


def stretches(ledger: Ledger, hours: Hours, over: int, now: float) -> Iterator[tuple[int, int]]:
    """Stretches of one session that hold every minute that is open, over and due.

    Parameters
    ----------
    over : int
        End of the last minute that may be asked for, nanoseconds.
    now : float
        Monotonic seconds.

    Yields
    ------
    tuple of int
        First nanosecond, and the one after the last.
    """
    first = end = fills = 0
    for start in sorted(ledger.open):
        if ledger.open[start].due > now or start + MINUTE > over or not hours.inside(start):
            continue
        own = _fills(ledger, start)
        gap = sum(_fills(ledger, each) for each in range(end, start, MINUTE)) if end else 0
        if end and (
            fills + gap + own > MOST
            or gap > BETWEEN
            or hours.day(start) != hours.day(first)
            or any(ledger.waits(each, now) for each in range(end, start, MINUTE))
        ):
            yield first, end
            end = 0
        if not end:
            first, fills, gap = start, 0, 0
        end, fills = start + MINUTE, fills + gap + own
    if end:
        yield first, end


def _fills(ledger: Ledger, start: int) -> int:
    """How many trades to expect of a minute: what is stored, or what the bar counts."""
    minute, found = ledger.minutes.get(start), ledger.open.get(start)
    stored = minute.fills if minute is not None else 0
    return max(stored, found.expected if found is not None else 0)
