"""Rate limits as the venues publish them: weights a minute, refusals, and bans that grow."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from trader_pipelines_tests.exchange.clock import Clock

#: Weights of https://developers.binance.com/docs/binance-spot-api-docs/rest-api/, GET endpoints.
WEIGHTS = {
    "binance.ping": 1,
    "binance.time": 1,
    "binance.exchangeInfo": 20,
    "binance.trades": 25,
    "binance.historicalTrades": 25,
    "binance.aggTrades": 4,
    "binance.klines": 2,
}
MAX_BAN = 3 * 86_400.0  # "from 2 minutes to 3 days"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served, and how long that lasts."""

    status: int
    retry_after: int | None
    until_ms: int


@dataclass
class BinanceLimits:
    """Request weight a minute of one address; who goes on after a 429 is banned.

    A request over `limit` is answered 429 until the minute ends. `patience` further requests in
    that time are answered 429 too, the next one bans the address: `first_ban` seconds, five
    times as long each time again, at most three days.
    """

    clock: Clock
    limit: int = 6000
    patience: int = 3
    first_ban: float = 120.0
    minute: int = -1
    used: int = 0
    peak: int = 0
    refused_until: float = 0.0
    banned_until: float = 0.0
    insisted: int = 0
    bans: list[dict[str, float]] = field(default_factory=list)
    refusals: dict[int, int] = field(default_factory=lambda: {429: 0, 418: 0})

    def admit(self, weight: int) -> Refusal | None:
        """Count a request; None when it may be served."""
        now = self.clock.seconds()
        if int(now // 60) != self.minute:
            self.minute, self.used = int(now // 60), 0
        if now < self.banned_until:
            return self._refusal(418, self.banned_until, now)
        self.used += weight
        self.peak = max(self.peak, self.used)
        if now < self.refused_until:
            self.insisted += 1
            if self.insisted > self.patience:
                return self.ban(self.first_ban * 5 ** len(self.bans))
            return self._refusal(429, self.refused_until, now)
        self.insisted = 0
        if self.used > self.limit:
            return self.refuse((self.minute + 1) * 60 - now)
        return None

    def refuse(self, seconds: float) -> Refusal:
        """Answer 429 for some clock seconds from now."""
        now = self.clock.seconds()
        self.refused_until = now + seconds
        return self._refusal(429, self.refused_until, now)

    def ban(self, seconds: float) -> Refusal:
        """Answer 418 for some clock seconds from now."""
        now = self.clock.seconds()
        self.banned_until = now + min(seconds, MAX_BAN)
        self.refused_until, self.insisted = 0.0, 0
        self.bans.append({"from": now, "until": self.banned_until})
        return self._refusal(418, self.banned_until, now)

    def forget(self) -> None:
        """As if nobody had ever asked."""
        self.minute, self.used, self.peak, self.insisted = -1, 0, 0, 0
        self.refused_until = self.banned_until = 0.0
        self.bans.clear()
        self.refusals.update({429: 0, 418: 0})

    def _refusal(self, status: int, until: float, now: float) -> Refusal:
        self.refusals[status] += 1
        return Refusal(status, max(1, math.ceil(self.clock.real(until - now))), int(until * 1e3))

    def report(self) -> dict[str, Any]:
        """For the control endpoint."""
        return {
            "limit": self.limit,
            "used_weight_1m": self.used,
            "peak_weight_1m": self.peak,
            "refused_429": self.refusals[429],
            "refused_418": self.refusals[418],
            "bans": self.bans,
            "banned": self.clock.seconds() < self.banned_until,
        }


@dataclass
class AlpacaLimits:
    """Requests a minute of one key; 429 without ``Retry-After`` beyond them, as Alpaca answers."""

    clock: Clock
    limit: int = 200
    minutes: dict[str, tuple[int, int]] = field(default_factory=dict)
    peak: int = 0
    refused: int = 0

    def admit(self, key: str) -> tuple[Refusal | None, dict[str, str]]:
        """Count a request of a key; the refusal if any, and the headers of every answer."""
        minute = int(self.clock.seconds() // 60)
        seen, used = self.minutes.get(key, (minute, 0))
        used = used + 1 if seen == minute else 1
        self.minutes[key] = (minute, used)
        self.peak = max(self.peak, used)
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - used)),
            "X-RateLimit-Reset": str((minute + 1) * 60),
        }
        if used <= self.limit:
            return None, headers
        self.refused += 1
        return Refusal(429, None, (minute + 1) * 60_000), headers

    def forget(self) -> None:
        """As if nobody had ever asked."""
        self.minutes.clear()
        self.peak = self.refused = 0

    def report(self) -> dict[str, Any]:
        """For the control endpoint."""
        return {"limit": self.limit, "peak_1m": self.peak, "refused_429": self.refused}


@dataclass
class Sliding:
    """At most `limit` events in any `seconds` clock seconds."""

    clock: Clock
    limit: int
    seconds: float
    times: deque[float] = field(default_factory=deque)

    def admit(self) -> bool:
        """Count an event; False when it is one too many."""
        now = self.clock.seconds()
        while self.times and self.times[0] <= now - self.seconds:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= self.limit
