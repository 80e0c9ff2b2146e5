"""How a live collector proves minutes, with defaults that suit Alpaca."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Proving:
    """When minutes are held against the venue's bars; all times in seconds.

    Parameters
    ----------
    delay : float
        After a minute has ended; a venue reports some trades late. Where a plan gives recent data
        over REST only later, more than that: 15 minutes are 900.
    poll : float
        Between two looks at what is over or due.
    audit : float
        Between two comparisons of the whole session so far with its bars, which change when a trade
        is cancelled, corrected or reported late.
    slack : float
        How far the venue's stamps may be off our clock when a connection opens.
    crowded : float
        So long the venue may say that the key has a connection already, before that is an error.
    """

    delay: float = 30.0
    poll: float = 1.0
    audit: float = 300.0
    slack: float = 2.0
    crowded: float = 60.0

    @property
    def slack_ns(self) -> int:
        """`slack` in nanoseconds."""
        return int(self.slack * 1e9)

    @property
    def delay_ns(self) -> int:
        """`delay` in nanoseconds."""
        return int(self.delay * 1e9)
