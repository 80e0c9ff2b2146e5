"""What an exchange of ccxt can do with its trades, stated and never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any


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
    params : mapping
        What each question for trades has to say besides: ``sort: ASC`` of an exchange that gives
        the latest first.
    """

    exchange: str
    sequential_ids: bool
    largest_page: int
    requests_a_minute: int
    paging: Paging = Paging.SINCE
    history: timedelta | None = None
    cursor: str = ""
    stamp_at: int | str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


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


def capabilities(exchange: str, stated: Mapping[str, Any]) -> Capabilities:
    """What an exchange can do: known here, stated in the universe, or both.

    Parameters
    ----------
    exchange : str
        ccxt's name of it.
    stated : mapping
        Fields of `Capabilities`; ``history_days`` for `history`.

    Raises
    ------
    ValueError
        Saying what to write, for a field that is unknown, missing or of another kind.
    """
    if not isinstance(stated, Mapping):
        raise ValueError("write a mapping of what the exchange can do")
    told = dict(stated)
    kinds = {
        "sequential_ids": bool,
        "largest_page": int,
        "requests_a_minute": int,
        "paging": str,
        "history_days": int,
        "cursor": str,
        "stamp_at": (int, str),
        "params": Mapping,
    }
    for name, value in told.items():
        if name not in kinds:
            raise ValueError(f"{name} is not known; known: {', '.join(kinds)}")
        if not isinstance(value, kinds[name]) or (  # type: ignore[arg-type]
            kinds[name] is int and (isinstance(value, bool) or value < 1)
        ):
            raise ValueError(f"{name} cannot be {value!r}")
    if "paging" in told:
        if told["paging"] not in list(Paging):
            raise ValueError(f"paging is one of: {', '.join(Paging)}")
        told["paging"] = Paging(told["paging"])
    if "history_days" in told:
        told["history"] = timedelta(days=told.pop("history_days"))
    known = KNOWN.get(exchange)
    cursor = told.get("cursor") or (known.cursor if known else "")
    if told.get("paging") is Paging.CURSOR and not cursor:
        raise ValueError("state cursor, the parameter that takes the stamp to go on from")
    if known:
        return replace(known, **told)
    if missing := [
        n for n in ("sequential_ids", "largest_page", "requests_a_minute") if n not in told
    ]:
        raise ValueError(f"state {', '.join(missing)}: {exchange} is not known here")
    return Capabilities(exchange, **told)
