"""What an exchange of ccxt can do with its trades, stated and never guessed."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Paging(StrEnum):
    """How the next page of trades is asked for."""

    #: ccxt's own `since`, milliseconds, that stamp included.
    SINCE = "since"
    #: A parameter of the exchange in nanoseconds, that stamp excluded.
    CURSOR = "cursor"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """An exchange as `trader_pipelines.venues.ccxt_venue.CcxtVenue` has to know it.

    Parameters
    ----------
    exchange : str
        ccxt's name of it.
    sequential_ids : bool
        Whether a symbol's ids count up by one, so that a hole is a lost trade.
    largest_page : int
        Trades that one answer holds at most.
    requests_a_minute : int
        That the venue allows, by its own documentation.
    paging : Paging
        How pages follow each other.
    history : timedelta, optional
        How far back the venue gives trades; None for all of them.
    cursor : str
        The parameter of `Paging.CURSOR`.
    stamp_at : int or str, optional
        Where in ccxt's ``info`` the venue's own stamp lies, in decimal seconds; None takes ccxt's
        milliseconds.
    """

    exchange: str
    sequential_ids: bool
    largest_page: int
    requests_a_minute: int
    paging: Paging = Paging.SINCE
    history: timedelta | None = None
    cursor: str = ""
    stamp_at: int | str | None = None


#: https://docs.kraken.com/api/docs/rest-api/get-recent-trades and
#: https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits (about one public call a second)
KRAKEN = Capabilities(
    "kraken",
    sequential_ids=True,
    largest_page=1000,
    requests_a_minute=60,
    paging=Paging.CURSOR,
    cursor="since",
    stamp_at=2,
)

KNOWN = {"kraken": KRAKEN}
