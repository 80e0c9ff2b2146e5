"""What goes wrong on purpose: a small declarative list, each entry seeded and counted."""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from trader_pipelines_tests.exchange.kinds import BENIGN, KINDS, SPACES


class FaultError(ValueError):
    """A fault list that does not say what it means."""


@dataclass
class Fault:
    """One thing that goes wrong.

    Parameters
    ----------
    kind : str
        A key of `trader_pipelines_tests.exchange.kinds.KINDS`.
    on : str
        Pattern of the endpoints it hits: ``binance.aggTrades``, ``alpaca.*``, ``*.stream``.
    symbol : str
        Pattern of the symbols it hits.
    rate : float
        Probability at each chance (a request, or a print on the stream).
    at : tuple of int
        Fires at exactly these chances, counted from 1; then `rate` is not used.
    times : int or None
        Fires no more often than this.
    """

    kind: str
    on: str = "*"
    symbol: str = "*"
    rate: float = 1.0
    at: tuple[int, ...] = ()
    times: int | None = None
    status: int = 500
    seconds: float = 1.0
    retry_after: float | None = None
    code: int = 1006
    lose: int = 0
    by: int = 3
    ms: int = 0
    start: str = ""
    first: int = 0
    last: int = 1 << 62
    ids: tuple[int, ...] = ()
    where: tuple[str, ...] = ("rest",)
    chances: int = 0
    fired: int = 0
    rng: random.Random = field(default_factory=random.Random, repr=False)

    def hits(self, endpoint: str, symbol: str) -> bool:
        """Whether it is about this endpoint and symbol."""
        return fnmatchcase(endpoint, self.on) and fnmatchcase(symbol, self.symbol)

    def fires(self) -> bool:
        """Take one chance."""
        self.chances += 1
        if self.times is not None and self.fired >= self.times:
            return False
        hit = self.chances in self.at if self.at else self.rng.random() < self.rate
        self.fired += hit
        return hit


SETTABLE = {f.name for f in fields(Fault)} - {"chances", "fired", "rng"}


class Faults:
    """A parsed list of faults."""

    def __init__(self, entries: Iterable[Fault] = (), seed: int = 0) -> None:
        self.entries = list(entries)
        self.seed = seed
        for index, fault in enumerate(self.entries):
            fault.rng = random.Random(f"{seed}:{index}:{fault.kind}")
        self.streaming = [f for f in self.entries if KINDS[f.kind].space == "stream"]

    def of(self, space: str) -> list[Fault]:
        """Entries of one space: ``request``, ``answer``, ``rows``, ``stream`` or ``tape``."""
        return [fault for fault in self.entries if KINDS[fault.kind].space == space]

    def first(self, kinds: Iterable[str], endpoint: str, symbol: str) -> Fault | None:
        """The first entry of these kinds that fires for a request."""
        wanted = set(kinds)
        for fault in self.entries:
            if fault.kind in wanted and fault.hits(endpoint, symbol) and fault.fires():
                return fault
        return None

    def report(self) -> list[dict[str, Any]]:
        """For the control endpoint: what was asked for and how often it happened."""
        blank = Fault("hang")
        return [
            {
                key: value
                for key, value in asdict(fault).items()
                if key in ("kind", "chances", "fired")
                or (key != "rng" and value != getattr(blank, key))
            }
            for fault in self.entries
        ]


def parse(spec: str | Mapping[str, Any] | list[Any] | None) -> Faults:
    """Faults of ``--faults``: JSON, a file of JSON, ``random:SEED[:SPACES]``, or nothing.

    JSON is a list of entries, or ``{"seed": 7, "faults": [...]}``. An entry is an object whose
    keys are the parameters of `Fault`. SPACES is a comma list such as ``request,stream``.

    Raises
    ------
    FaultError
        With the entry and the key that are wrong.
    """
    if spec is None or spec == "":
        return Faults()
    if isinstance(spec, str):
        if spec.startswith("random:"):
            _, number, *spaces = spec.split(":", 2)
            return parse(mixture(int(number), spaces[0].split(",") if spaces else SPACES))
        written = spec if spec.lstrip()[:1] in ("[", "{") else Path(spec).read_text()
        return parse(json.loads(written))
    entries = spec if isinstance(spec, list) else spec["faults"]
    seed = 0 if isinstance(spec, list) else int(spec.get("seed", 0))
    return Faults([_entry(number, entry) for number, entry in enumerate(entries, 1)], seed)


def _entry(number: int, entry: Mapping[str, Any]) -> Fault:
    unknown = set(entry) - SETTABLE
    if unknown:
        raise FaultError(f"fault {number}: unknown keys {sorted(unknown)}; {sorted(SETTABLE)}")
    if entry.get("kind") not in KINDS:
        raise FaultError(f"fault {number}: kind {entry.get('kind')!r} is none of {sorted(KINDS)}")
    given = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    return Fault(**{**KINDS[entry["kind"]].defaults, **given})


def mixture(
    seed: int, spaces: Iterable[str] = SPACES, *, rate: float = 0.15, wait: float = 0.3
) -> dict[str, Any]:
    """A seeded mixture of up to five benign kinds, as a spec that `parse` reads.

    Benign faults leave the whole tape obtainable by somebody who tries again and checks.

    Parameters
    ----------
    seed : int
        The same seed gives the same mixture and the same course of it.
    spaces : iterable of str
        Which kinds may occur: ``request``, ``answer``, ``rows``, ``stream``.
    rate : float
        The highest probability of any one of them for a request; a fiftieth of it for a print.
    wait : float
        The longest a slow or hanging answer takes, in seconds.
    """
    rng = random.Random(seed)
    allowed = sorted(kind for kind in BENIGN if KINDS[kind].space in set(spaces))
    chosen = rng.sample(allowed, k=min(len(allowed), rng.randint(1, 5)))
    entries: list[dict[str, Any]] = []
    for kind in chosen:
        per_print = KINDS[kind].space == "stream"
        entry: dict[str, Any] = {
            "kind": kind,
            "rate": round(rng.uniform(0.02, rate) / (50 if per_print else 1), 5),
        }
        if kind in ("slow", "hang", "stall"):
            entry["seconds"] = round(rng.uniform(0.01, wait), 3)
        if kind == "status":
            entry["status"] = rng.choice([500, 502, 503, 504])
        if kind == "too_many":
            entry["retry_after"] = rng.choice([None, 1])
        if kind == "disconnect":
            entry |= {"times": rng.randint(1, 3), "lose": rng.randint(0, 50)}
        if kind == "reorder":
            entry["by"] = rng.randint(1, 20)
        entries.append(entry)
    return {"seed": seed, "faults": entries}
