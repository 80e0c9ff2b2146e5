"""What a collector tells of itself: counts, delays and holes, of all and of each symbol."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LONGEST = 5_000  # milliseconds that are told apart

#: What is counted from the start of a collector; `Status` says what each is.
COUNTED = (
    "frames",
    "stored",
    "repeated",
    "refused",
    "strangers",
    "refilled",
    "refill_failures",
    "store_failures",
    "contradictions",
)


@dataclass
class Delays:
    """Milliseconds from a frame's receipt to its commit, counted by the millisecond."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_LONGEST + 1, np.int64))

    def add(self, ms: NDArray[np.int64]) -> None:
        """Count some."""
        self.counts += np.bincount(np.clip(ms, 0, _LONGEST), minlength=_LONGEST + 1)

    def quantile(self, q: float) -> float | None:
        """Upper edge of the millisecond in which the quantile lies; None without any."""
        total = self.counts.cumsum()
        if not total[-1]:
            return None
        return float(np.searchsorted(total, q * total[-1])) + 1


@dataclass(frozen=True, slots=True)
class SymbolStatus:
    """One symbol.

    Parameters
    ----------
    contiguous : bool
        Connected, and every id from the first to the last is stored.
    missing : list
        Inclusive ranges of ids that are not stored; those of `given_up` REST did not have.
    clock_lag_ms : float or None
        Our clock at receipt less the venue's stamp, median of the interval's last batch.
    """

    contiguous: bool
    last_id: int | None
    trades: int
    missing: list[tuple[int, int]]
    given_up: list[tuple[int, int]]
    clock_lag_ms: float | None
    committed_p50_ms: float | None
    committed_p99_ms: float | None

    @property
    def state(self) -> str:
        """``whole``, ``refilling``, ``missing`` (REST does not have it) or ``waiting``."""
        if self.contiguous:
            return "whole"
        if not self.missing:
            return "waiting"
        return "missing" if self.missing == self.given_up else "refilling"

    @property
    def last(self) -> str:
        """Where it is, for a person."""
        return "-" if self.last_id is None else str(self.last_id)

    @property
    def lacks(self) -> list[str]:
        """What is missing, range by range, for a person."""
        return [f"{a}" if a == b else f"{a} to {b}" for a, b in self.missing]

    @property
    def lacking(self) -> str:
        """How much is missing, for a person."""
        missing = sum(last - first + 1 for first, last in self.missing)
        return f"{missing:,}" if missing else ""


@dataclass(frozen=True, slots=True)
class Status:
    """A moment of a collector; delays are of the interval since the last one,
    `run_p99_ms` of the whole run.

    Parameters
    ----------
    counts : mapping
        Since the start: ``frames``, ``stored``, ``repeated``, ``refused`` (frames that are no
        trade), ``strangers`` (ids of another space), ``refilled``, ``refill_failures``,
        ``store_failures``, ``contradictions`` (trades that the store has otherwise).
    """

    at_ns: int
    venue: str
    connections: list[dict[str, Any]]
    waiting_frames: int
    counts: dict[str, int]
    last_refusal: str
    last_trouble: str
    committed_p50_ms: float | None
    committed_p99_ms: float | None
    run_p99_ms: float | None
    symbols: dict[str, SymbolStatus]

    @property
    def contiguous(self) -> bool:
        """Whether every symbol is."""
        return all(symbol.contiguous for symbol in self.symbols.values())

    def as_dict(self) -> dict[str, Any]:
        """For a JSON line."""
        told = asdict(self) | {"contiguous": self.contiguous}
        for name, symbol in self.symbols.items():
            told["symbols"][name]["state"] = symbol.state
        return told


@dataclass
class Meter:
    """Counts of all symbols while the collector runs."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(COUNTED, 0)))
    delays: Delays = field(default_factory=Delays)
    run: Delays = field(default_factory=Delays)
    last_refusal: str = ""
    last_trouble: str = ""
