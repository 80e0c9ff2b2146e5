"""All that a running exchange knows: its tapes and what is done to them, clock, limits, counters."""

import fnmatch
import hashlib
import json
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.clock import Clock
from trader_pipelines_tests.exchange.faults import Fault, Faults, parse
from trader_pipelines_tests.exchange.limits import AlpacaLimits, BinanceLimits, Sliding
from trader_pipelines_tests.exchange.tapes import Tape

Key = tuple[str, str]  # venue, symbol


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the command line.

    Parameters
    ----------
    rate : str
        Of the replay: trades a second, ``x60`` (tape time sixty times as fast), ``max`` (as fast
        as the clients read), or ``manual`` (only by the control endpoint).
    live_from : str
        Empty: REST shows the whole tape from the beginning. ``start`` or an ISO time (UTC): what
        lies later is only shown once the replay has printed it.
    start_symbols : int
        The replay starts when so many symbols are subscribed; 0 waits for the control endpoint.
    clock : str
        ``real``, ``tape`` (the last print's time), or an ISO time at which it starts.
    keys : tuple of (key, secret, entitled)
        Alpaca keys, and whether each may have the SIP feed.
    """

    rate: str = "max"
    live_from: str = ""
    start_symbols: int = 1
    clock: str = "real"
    pace: float = 1.0
    weight_limit: int = 6000
    request_limit: int = 200
    patience: int = 3
    first_ban: float = 120.0
    ping_seconds: float = 20.0
    keys: tuple[tuple[str, str, bool], ...] = (
        ("test-key", "test-secret", True),
        ("basic-key", "basic-secret", False),
    )
    news: str = ""


@dataclass
class Sent:
    """What the stream has printed of one symbol, as inclusive id ranges, and what it did to it."""

    printed: int = 0
    ranges: list[list[int]] = field(default_factory=list)
    done: dict[str, deque[int]] = field(default_factory=dict)

    def add(self, trade_id: int, step: int) -> None:
        """Note a print that went out."""
        if self.ranges and trade_id == self.ranges[-1][1] + step:
            self.ranges[-1][1] = trade_id
        else:
            self.ranges.append([trade_id, trade_id])
            if len(self.ranges) > 50_000:
                del self.ranges[:25_000]

    def note(self, kind: str, trade_id: int) -> None:
        """Note a fault that hit a print."""
        self.done.setdefault(kind, deque(maxlen=50_000)).append(trade_id)


class Exchange:
    """One exchange. Created once; everything else is given it."""

    def __init__(self, loaded: Iterable[Tape], faults: Faults, options: Options) -> None:
        self.options = options
        self.clock = Clock(pace=options.pace)
        self.limits = BinanceLimits(
            self.clock, options.weight_limit, options.patience, options.first_ban
        )
        self.alpaca_limits = AlpacaLimits(self.clock, options.request_limit)
        self.connects = Sliding(self.clock, 300, 300.0)
        self.base, self.block = tapes.packed(tapes.merge(loaded))
        self.revisions: dict[Key, list[tuple[int, str]]] = {}
        self.counters: Counter[str] = Counter()
        self.weights: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.log: deque[dict[str, Any]] = deque(maxlen=20_000)
        self.sent: dict[Key, Sent] = {key: Sent() for key in self.base}
        self.printed_to: dict[Key, int] = {}
        self.replay_started = False
        self.news: list[dict[str, Any]] = []
        if options.news:
            with open(options.news, encoding="utf-8") as file:
                self.news = json.load(file)
        self.set_faults(faults)
        if options.clock not in ("real", "tape"):
            self.clock.origin = _iso(options.clock) / 1e9

    # -- tapes -----------------------------------------------------------------------------

    def set_faults(self, faults: Faults) -> None:
        """Take a list of faults; the market's own ones change what every source shows."""
        self.faults = faults
        self.clock.skew_ms = sum(f.ms for f in faults.entries if f.kind == "clock_skew")
        pauses = [f for f in faults.entries if f.kind in ("empty_hour", "halt")]
        if self.replay_started and pauses:
            raise ValueError("pauses can only be set before the replay has started")
        if not self.replay_started:
            self.market = {key: self._paused(tape, pauses) for key, tape in self.base.items()}
        self.views: dict[tuple[Key, str], Tape] = {}
        self.revised_ids = {key: self._chosen(key) for key in self.market}
        self.truth = {
            key: tapes.revised(tape, sorted(chosen.items())) if chosen else tape
            for key, tape in self.market.items()
            for chosen in [self.revised_ids[key]]
        }

    def _paused(self, tape: Tape, pauses: list[Fault]) -> Tape:
        for fault in pauses:
            if fnmatch.fnmatchcase(tape.symbol, fault.symbol):
                tape = tapes.shifted(tape, _iso(fault.start), int(fault.seconds * 1e9))
        return tape

    def _chosen(self, key: Key) -> dict[int, str]:
        """Ids of prints that are cancelled or corrected, by fault or by control."""
        chosen = dict(self.revisions.get(key, []))
        for fault in self.faults.entries:
            if fault.kind not in ("cancel", "correct") or key[0] == "binance":
                continue
            if not fnmatch.fnmatchcase(key[1], fault.symbol):
                continue
            ids = self.market[key].id
            if fault.ids:
                chosen |= dict.fromkeys(fault.ids, fault.kind)
            else:
                rng = np.random.default_rng(
                    random.Random(f"{self.faults.seed}:{fault.kind}:{key}").getrandbits(64)
                )
                hit = ids[rng.random(len(ids)) < fault.rate].tolist()
                chosen |= dict.fromkeys(hit, fault.kind)
        return chosen

    def lost(self, key: Key, where: str) -> list[tuple[int, int]]:
        """Id ranges that a source (``rest``, ``stream``, ``archive``) does not have."""
        return [
            (fault.first, fault.last)
            for fault in self.faults.entries
            if fault.kind == "hole"
            and where in fault.where
            and fnmatch.fnmatchcase(key[1], fault.symbol)
        ]

    def view(self, key: Key, where: str) -> Tape:
        """What one source shows of a tape now: without its holes, up to the last print."""
        kept = self.views.get((key, where))
        if kept is None:
            kept = tapes.without(self.truth[key], self.lost(key, where))
            self.views[key, where] = kept
        head = self.printed_to.get(key)
        if head is None:
            return kept
        # A correction (odd id) is shown with its original.
        edge = head + 1 if key[0] != "binance" else head
        return tapes.take(kept, slice(0, int(np.searchsorted(kept.id, edge, "right"))))

    def halted(self, symbol: str) -> bool:
        """Whether trading in a symbol is halted at this moment of the venue's clock."""
        now = self.clock.now_ns()
        return any(
            fault.kind == "halt"
            and fnmatch.fnmatchcase(symbol, fault.symbol)
            and 0 <= now - _iso(fault.start) < fault.seconds * 1e9
            for fault in self.faults.entries
        )

    # -- accounts --------------------------------------------------------------------------

    def entitled(self, key: str, secret: str) -> bool | None:
        """Whether an Alpaca key may have SIP; None when there is no such key."""
        for known, known_secret, sip in self.options.keys:
            if (key, secret) == (known, known_secret):
                return sip
        return None

    # -- counters --------------------------------------------------------------------------

    def note(
        self, endpoint: str, query: Mapping[str, str], status: int, weight: int, fault: str
    ) -> None:
        """Count one request and keep it for the control endpoint."""
        self.counters[endpoint] += 1
        self.weights[endpoint] += weight
        self.answers[str(status)] += 1
        self.log.append(
            {
                "at_ms": int(self.clock.seconds() * 1e3),
                "endpoint": endpoint,
                "query": dict(query.items()),
                "status": status,
                "weight": weight,
                "fault": fault,
            }
        )

    def forget(self, *, limits: bool = False) -> None:
        """Set all counters to nothing; used weight and bans too when asked."""
        for counter in (self.counters, self.weights, self.answers):
            counter.clear()
        self.log.clear()
        if limits:
            self.limits.forget()
            self.alpaca_limits.forget()
            self.connects.times.clear()

    def symbols(self) -> list[dict[str, Any]]:
        """Every tape with its extent and the hash of its ids, prices and sizes."""
        return [
            {
                "venue": tape.venue,
                "symbol": tape.symbol,
                "count": len(tape),
                "first_id": int(tape.id[0]) if len(tape) else None,
                "last_id": int(tape.id[-1]) if len(tape) else None,
                "first_ns": int(tape.ts[0]) if len(tape) else None,
                "last_ns": int(tape.ts[-1]) if len(tape) else None,
                "sha256": digest(tape),
            }
            for tape in self.truth.values()
        ]


def digest(tape: Tape) -> str:
    """SHA-256 over the little-endian ids, prices and sizes."""
    told = hashlib.sha256()
    for column in (tape.id, tape.price, tape.size):
        told.update(column.astype("<i8").tobytes())
    return told.hexdigest()


def replace_faults(exchange: Exchange, spec: Any) -> None:
    """Parse a spec and make it the exchange's."""
    exchange.set_faults(parse(spec))


def _iso(value: str) -> int:
    moment = datetime.fromisoformat(value)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) * 1_000_000


iso_ns = _iso
