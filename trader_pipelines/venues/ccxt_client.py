"""The ccxt client of one exchange: opened when first used, its answers exact, its errors ours."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from trader_pipelines.core.errors import (
    ClockError,
    SettingsError,
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

#: The shortest ban, seconds, for a 418 that does not say how long it lasts.
#: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
_BAN = 120.0

#: Weight that other processes of this address may have under way: ten pages of trades.
_RESERVE = 40

T = TypeVar("T")


class Clocks(NamedTuple):
    """The venue's time as an answer told it, and ours around it; nanoseconds since the epoch."""

    server: int
    sent: int
    received: int


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
    url : str
        Scheme and host of its API in place of its own; the paths stay the exchange's.
    used_header : str
        Header in which the venue tells the weight used in this minute; "" when it does not.
    own_budget : Budget, optional
        By default the process's own for this exchange and address.
    bans : Path, optional
        Folder by which the processes of this machine tell each other of bans.
    """

    exchange: str
    name: str
    limit: int
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    url: str = field(default="", repr=False)
    used_header: str = ""
    patience: Patience = API_PATIENCE
    own_budget: Budget | None = field(default=None, repr=False)
    bans: Path | None = field(default=None, repr=False)
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: threading.RLock = field(
        default_factory=threading.RLock, init=False, repr=False, compare=False
    )

    @cached_property
    def budget(self) -> Budget:
        """What may still be asked; by default shared by all of the process."""
        if self.own_budget is not None:
            return self.own_budget
        address = json.dumps([self.settings.get("urls", ""), self.url], sort_keys=True)
        # Who tells the weight used tells that of other processes too, an answer late.
        reserve = min(_RESERVE, self.limit // 4) if self.used_header else 0
        return budgets.shared(self.exchange, address, self.limit, reserve=reserve, bans=self.bans)

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
                sent = time.time_ns()
                try:
                    answer = call(exchange)
                    self._last["clocks"] = _clocks(self._last["headers"], sent)
                    return answer
                except ccxt.BaseError as error:
                    # The text of a ccxt error has the whole address in it.
                    raise self._meaning(error, symbol, where) from None
                finally:
                    used = str(self._last["headers"].get(self.used_header, ""))
                    if used.isdecimal():
                        self.budget.told(int(used))

        return ask(once, budget=self.budget, weight=weight, patience=self.patience, where=where)

    @property
    def clocks(self) -> Clocks | None:
        """What the ``Date`` of the last good answer said, which costs no request of its own."""
        told: Clocks | None = self._last.get("clocks")
        return told

    @cached_property
    def _client(self) -> Any:
        import ccxt

        # The budget is ours: ccxt's own throttle knows neither the true weights nor Retry-After.
        settings = {
            "enableRateLimit": False,
            "timeout": int(self.patience.timeout * 1000),
            **self.settings,
        }
        if self.exchange not in ccxt.exchanges:
            near = get_close_matches(self.exchange, ccxt.exchanges, n=3)
            raise SettingsError(
                f"ccxt knows no exchange {self.exchange!r}",
                where=f"universe, venues.{self.name}.exchange",
                remedy=f"write its name in ccxt{': ' if near else ''}{', '.join(near)}",
            )
        exchange = getattr(ccxt, self.exchange)(settings)
        if self.url:
            exchange.urls["api"] = _moved(exchange.urls["api"], self.url.rstrip("/"))
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


def _moved(address: Any, base: str) -> Any:
    """Addresses of ccxt, nested as it nests them, with another scheme and host."""
    if isinstance(address, Mapping):
        return {name: _moved(each, base) for name, each in address.items()}
    return base + urlsplit(str(address)).path.rstrip("/") if address else address


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


def check_clocks(name: str, clocks: Clocks, longest: float) -> None:
    """Refuse to go on when the venue's time is not between sending and receiving, by `longest` s.

    Raises
    ------
    ClockError
        With how many seconds this machine is ahead or behind.
    """
    ahead = (clocks.sent - clocks.server) / 1e9
    behind = (clocks.server - clocks.received) / 1e9
    if max(ahead, behind) > longest:
        told = f"{ahead:.0f} s ahead of it" if ahead > behind else f"{behind:.0f} s behind it"
        raise clock_off(name, f"clock of venue {name}", f"this one is {told}")


def _clocks(headers: Mapping[str, str], sent: int) -> Clocks | None:
    """The ``Date`` of an answer and the ``Age`` of a cached one; None without them."""
    try:
        server = parsedate_to_datetime(str(headers.get("Date", ""))).timestamp()
        server += float(headers.get("Age", 0))
    except ValueError:
        return None
    server += 0.5  # whole seconds are told
    return Clocks(int(server * 1e9), sent, time.time_ns())
