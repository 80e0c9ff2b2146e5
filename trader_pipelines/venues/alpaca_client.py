"""Alpaca's data over alpaca-py, a page at a time: exact numbers, time-outs, limits, our errors."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from trader_pipelines.core.errors import (
    EntitlementError,
    KeyRefusedError,
    TraderError,
    VenueUnreachableError,
)
from trader_pipelines.venues import budget as budgets
from trader_pipelines.venues.asking import (
    API_PATIENCE,
    BusyError,
    SuspectError,
    ask,
    retry_after,
)
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.patience import Patience
from trader_pipelines.venues.refusals import key_refused, unknown_symbol

#: Requests a minute of the free plan.
#: https://docs.alpaca.markets/docs/about-market-data-api#subscription-plans
LIMIT = 200
PAGE = 10_000

T = TypeVar("T")


class TokenExpiredError(Exception):
    """The venue no longer knows a page token; the pages before it are good."""


@dataclass(frozen=True)
class Client:
    """Alpaca's market data and calendar.

    Parameters
    ----------
    name : str
        The venue's name in the universe.
    key, secret : str
        Of the account; crypto data can be had without.
    url : str, optional
        In place of Alpaca's own addresses, for data and for the calendar.
    paper : bool
        Whether the key is one of a paper account.
    limit : int
        Requests a minute of the plan.
    """

    name: str = "alpaca"
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    url: str | None = field(default=None, repr=False)
    paper: bool = True
    limit: int = LIMIT
    patience: Patience = API_PATIENCE
    own_budget: Budget | None = field(default=None, repr=False)

    @cached_property
    def budget(self) -> Budget:
        """What may still be asked; by default shared by all of the process."""
        if self.own_budget is not None:
            return self.own_budget
        return budgets.shared("alpaca", f"{self.url or ''}|{self.key}", self.limit)

    def get(
        self,
        api: str,
        path: str,
        query: Mapping[str, Any],
        read: Callable[[Any], T],
        *,
        where: str,
        symbol: str = "",
    ) -> T:
        """Ask once, well: `read` checks the answer and may raise `SuspectError`.

        Parameters
        ----------
        api : str
            ``stocks``, ``crypto``, ``news`` or ``trading``.

        Raises
        ------
        TokenExpiredError
            When the query has a page token that the venue does not take.
        TraderError
            Typed: key refused, entitlement missing, unknown symbol, unreachable, bad answer.
        """
        if api != "crypto" and not (self.key and self.secret):
            raise KeyRefusedError(
                f"venue {self.name} gives nothing of {api} without a key",
                where=where,
                remedy="set ALPACA_API_KEY and ALPACA_API_SECRET",
            )
        client = self._clients[api]

        def once() -> T:
            try:
                return read(client.get(path, dict(query)))
            except _AnswerError as error:
                raise self._meaning(error, query, where, symbol) from None

        return ask(once, budget=self.budget, weight=1, patience=self.patience, where=where)

    def pages(
        self,
        api: str,
        path: str,
        query: Mapping[str, Any],
        read: Callable[[Any], T],
        *,
        where: str,
        symbol: str = "",
    ) -> Iterator[T]:
        """One page after the other, until the venue gives no token for a next one."""
        token: str | None = None
        while True:
            asked = dict(query) if token is None else {**query, "page_token": token}

            def both(got: Any) -> tuple[T, str | None]:
                return read(got), _next_token(got)

            page, following = self.get(api, path, asked, both, where=where, symbol=symbol)
            if following is not None and following == token:
                raise TokenExpiredError
            yield page
            token = following
            if token is None:
                return

    def _meaning(
        self, error: "_AnswerError", query: Mapping[str, Any], where: str, symbol: str
    ) -> Exception:
        status = error.status
        if status == 429:
            self.budget.hold(_seconds_to_reset(error.headers))
            return BusyError("it answers 429, too many requests", held=True)
        if status >= 500:
            return BusyError(f"it answers {status}")
        if status == 422 and "page_token" in query:
            return TokenExpiredError()
        return self._refusal(error, where, symbol)

    def _refusal(self, error: "_AnswerError", where: str, symbol: str) -> TraderError:
        """What no second try will change."""
        status = error.status
        if status == 403 and "subscription" in error.said:
            return EntitlementError(
                f"the key has no subscription for what venue {self.name} was asked: {error.said}",
                where=where,
                remedy="choose the feed iex, ask for data older than 15 minutes, or subscribe to "
                "the feed",
            )
        if status in (401, 403):
            return key_refused(self.name, where, f"it answers {status}")
        if status == 400 and "symbol" in error.said:
            return unknown_symbol(self.name, symbol, where)
        return VenueUnreachableError(
            f"venue {self.name} refuses the question: it answers {status}",
            where=where,
            remedy="check the symbol and ALPACA_BASE_URL; asking again changes nothing",
        )

    @cached_property
    def _clients(self) -> "_Clients":
        return _Clients(self)


class _AnswerError(Exception):
    """Any status but 200."""

    def __init__(self, status: int, headers: Mapping[str, str], said: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.said = said[:200]


class _Clients(dict[str, Any]):
    """alpaca-py's clients by name, made when first used."""

    def __init__(self, of: Client) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, api: str) -> Any:
        self[api] = client = _open(api, self._of)
        return client


def _open(api: str, of: Client) -> Any:
    from alpaca.data.historical import (
        CryptoHistoricalDataClient,
        NewsClient,
        StockHistoricalDataClient,
    )
    from alpaca.trading.client import TradingClient
    from requests import exceptions

    kinds: dict[str, Any] = {
        "stocks": StockHistoricalDataClient,
        "crypto": CryptoHistoricalDataClient,
        "news": NewsClient,
        "trading": TradingClient,
    }

    def one_request(self: Any, method: str, url: str, opts: dict[str, Any], retry: int) -> Any:  # noqa: ARG001
        """Send one request in place of alpaca-py, which has no time-out and hides the headers."""
        try:
            answer = self._session.request(method, url, timeout=of.patience.timeout, **opts)
        except exceptions.RequestException as error:
            raise BusyError(f"no answer ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise _AnswerError(answer.status_code, answer.headers, answer.text)
        try:
            return json.loads(answer.text, parse_float=str)
        except ValueError:
            raise SuspectError("the body is no JSON") from None

    kind = type("Client", (kinds[api],), {"_one_request": one_request})
    more = {"paper": of.paper} if api == "trading" else {}
    keys = (of.key or None, of.secret or None)
    return kind(*keys, raw_data=True, url_override=of.url, **more)


def _next_token(got: Any) -> str | None:
    if not isinstance(got, dict) or "next_page_token" not in got:
        raise SuspectError("no next_page_token where one belongs")
    token = got["next_page_token"]
    if token is not None and not (isinstance(token, str) and token):
        raise SuspectError(f"a next_page_token {token!r}")
    return token


def _seconds_to_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limit is lifted: ``Retry-After``, or the epoch of ``X-RateLimit-Reset``."""
    told = retry_after(headers)
    if told is not None:
        return told
    left = headers.get("X-RateLimit-Remaining", "")
    reset = headers.get("X-RateLimit-Reset", "")
    if left == "0" and reset.isdecimal():
        return min(max(0.0, int(reset) - time.time()) + 0.5, 61.0)
    return None
