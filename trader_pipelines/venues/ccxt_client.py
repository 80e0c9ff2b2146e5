"""The ccxt client of one exchange: opened when first used, its answers exact, its errors ours."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from trader_pipelines.core.errors import ClockError, TraderError, VenueUnreachableError
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

#: The shortest ban, seconds, for a 418 that does not say how long it lasts.
#: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
_BAN = 120.0

T = TypeVar("T")


@dataclass(frozen=True)
class Client:
    """A ccxt exchange behind a budget.

    Parameters
    ----------
    exchange : str
        ccxt's name of it.
    name : str
        The venue's name in the universe.
    limit : int
        Weight (or requests) a minute.
    settings : mapping
        Of the ccxt exchange, over its defaults: urls, options, headers.
    used_header : str
        Header in which the venue tells the weight used in this minute; "" when it does not.
    own_budget : Budget, optional
        By default the process's own for this exchange and address.
    """

    exchange: str
    name: str
    limit: int
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    used_header: str = ""
    patience: Patience = API_PATIENCE
    own_budget: Budget | None = field(default=None, repr=False)
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: threading.RLock = field(
        default_factory=threading.RLock, init=False, repr=False, compare=False
    )

    @cached_property
    def budget(self) -> Budget:
        """What may still be asked; by default shared by all of the process."""
        if self.own_budget is not None:
            return self.own_budget
        address = json.dumps(self.settings.get("urls", ""), sort_keys=True)
        return budgets.shared(self.exchange, address, self.limit)

    def ask(self, call: Callable[[Any], T], *, weight: int, symbol: str, where: str) -> T:
        """Ask the exchange something; `call` gets the ccxt exchange and checks the answer.

        Raises
        ------
        TraderError
            Typed: unknown symbol, key refused, banned, clock off, unreachable, bad answer.
        """

        def once() -> T:
            import ccxt

            with self._lock:
                exchange = self._client
                self._last.update(status=None, headers={})
                try:
                    return call(exchange)
                except ccxt.BaseError as error:
                    # The text of a ccxt error has the whole address in it.
                    raise self._meaning(error, symbol, where) from None
                finally:
                    used = str(self._last["headers"].get(self.used_header, ""))
                    if used.isdecimal():
                        self.budget.told(int(used))

        return ask(once, budget=self.budget, weight=weight, patience=self.patience, where=where)

    @cached_property
    def _client(self) -> Any:
        import ccxt

        # The budget is ours: ccxt's own throttle knows neither the true weights nor Retry-After.
        settings = {
            "enableRateLimit": False,
            "timeout": int(self.patience.timeout * 1000),
            **self.settings,
        }
        exchange = getattr(ccxt, self.exchange)(settings)
        exchange.number = str
        exchange.on_json_response = _exact

        def note(status: int, _r: str, _u: str, _m: str, headers: Any, body: str, *_: Any) -> str:
            self._last.update(status=status, headers=headers)
            if status == 200 and body.lstrip()[:1] not in ("{", "["):
                raise SuspectError("the body is no JSON")
            return body.strip()

        exchange.on_rest_response = note
        return exchange

    def _meaning(self, error: Exception, symbol: str, where: str) -> Exception:
        """What a ccxt error means for whoever asked."""
        import ccxt

        status, headers, budget = self._last["status"], self._last["headers"], self.budget
        if status == 418:
            return budget.ban(retry_after(headers) or _BAN)
        if status == 429 or isinstance(error, ccxt.DDoSProtection):
            budget.hold(retry_after(headers))
            return BusyError("it answers 429, too many requests", held=True)
        if status is None or status >= 500:
            said = "no answer" if status is None else f"it answers {status}"
            return BusyError(f"{said} ({type(error).__name__})")
        return self._refusal(error, status, symbol, where)

    def _refusal(self, error: Exception, status: int, symbol: str, where: str) -> Exception:
        """What no second try will change."""
        import ccxt

        if isinstance(error, ccxt.BadSymbol):
            return unknown_symbol(self.name, symbol, where)
        if isinstance(error, ccxt.InvalidNonce):
            return clock_off(self.name, where, "it refuses this machine's time stamps")
        if status in (401, 403, 451) or isinstance(error, ccxt.AuthenticationError):
            return key_refused(self.name, where, f"it answers {status}")
        if status == 200:
            return BusyError(f"it answers an error ({type(error).__name__})")
        return VenueUnreachableError(
            f"venue {self.name} refuses the question: it answers {status} ({type(error).__name__})",
            where=where,
            remedy="check the symbol and the venue's address; asking again changes nothing",
        )


def _exact(text: str) -> Any:
    """JSON with decimal numbers as the venue wrote them, not as the nearest float.

    ccxt takes a body that is no JSON for an answer, and some exchanges' parsers for an empty one.
    """
    try:
        return json.loads(text, parse_float=str)
    except ValueError:
        raise SuspectError("the body is no JSON") from None


def clock_off(name: str, where: str, said: str) -> TraderError:
    """Say that the clocks differ."""
    return ClockError(
        f"this machine's clock and that of venue {name} are too far apart: {said}",
        where=where,
        remedy="set this machine's clock by NTP; days would be called over that are not",
    )


def check_clock(name: str, where: str, server_ns: int, sent_ns: int, longest: float) -> None:
    """Refuse to go on when the venue's time is not between sending and now, by `longest` seconds.

    Raises
    ------
    ClockError
        With how many seconds this machine is ahead or behind.
    """
    now = time.time_ns()
    ahead = (sent_ns - server_ns) / 1e9
    behind = (server_ns - now) / 1e9
    if max(ahead, behind) > longest:
        told = f"{ahead:.0f} s ahead of it" if ahead > behind else f"{behind:.0f} s behind it"
        raise clock_off(name, where, f"this one is {told}")
