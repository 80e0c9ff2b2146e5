"""What Alpaca tells besides trades: its trading calendar and its news."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from trader_pipelines.venues.alpaca_api import rfc3339
from trader_pipelines.venues.alpaca_client import Client, TokenExpiredError
from trader_pipelines.venues.asking import SuspectError

_NEWS_PAGE = 50
_NEWS_KEYS = {"id", "headline", "created_at", "updated_at", "symbols", "url"}


@dataclass(frozen=True, slots=True)
class TradingDay:
    """A day of Alpaca's calendar; hours in New York."""

    day: date
    opens: time
    closes: time


def calendar(client: Client, first: date, last: date) -> tuple[TradingDay, ...]:
    """Trading days as Alpaca has them, both ends included; for comparison with `core.sessions`.

    Raises
    ------
    TraderError
        As `trader_pipelines.venues.alpaca_client.Client.get`.
    """

    def read(got: Any) -> tuple[TradingDay, ...]:
        if not isinstance(got, list):
            raise SuspectError(f"a {type(got).__name__} where a list of days belongs")
        try:
            return tuple(
                TradingDay(
                    date.fromisoformat(row["date"]),
                    time.fromisoformat(row["open"]),
                    time.fromisoformat(row["close"]),
                )
                for row in got
            )
        except (KeyError, TypeError, ValueError):
            raise SuspectError("a row that is no day of a calendar") from None

    asked = {"start": first.isoformat(), "end": last.isoformat()}
    where = f"venue {client.name}, calendar"
    return client.get("trading", "/calendar", asked, read, where=where)


def news(
    client: Client, symbols: tuple[str, ...], start: int, end: int
) -> Iterator[list[dict[str, Any]]]:
    """News items page by page, the oldest first, as Alpaca wrote them.

    Parameters
    ----------
    start, end : int
        Nanoseconds since the epoch; items updated from `start` to before `end`.

    Raises
    ------
    TokenExpiredError
        Pages before it are good; ask again from the last item's ``updated_at``.
    TraderError
    """

    def read(got: Any) -> list[dict[str, Any]]:
        items = got.get("news") if isinstance(got, dict) else None
        if not isinstance(items, list):
            raise SuspectError("no list of news")
        for item in items:
            if not isinstance(item, dict) or not set(item) >= _NEWS_KEYS:
                raise SuspectError(f"{str(item)[:20]!r} is no news item")
        return items

    query = {
        "symbols": ",".join(symbols),
        "start": rfc3339(start),
        "end": rfc3339(end - 1),
        "sort": "asc",
        "limit": _NEWS_PAGE,
        "include_content": "true",
    }
    where = f"venue {client.name}, news"
    for page in client.pages("news", "/news", query, read, where=where):
        if page:
            yield page


__all__ = ["TokenExpiredError", "TradingDay", "calendar", "news"]
