"""The exchange's clock: real, faster than real, or following the tape; tests may move it."""

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds that pass `pace` times as fast as real ones, plus what tests advance.

    Parameters
    ----------
    pace : float
        Clock seconds a real second. Rate-limit windows and bans run on this clock;
        ``Retry-After`` is told in real seconds.
    skew_ms : int
        What the venue's own stamps (``serverTime``, ``E``) are off.
    """

    pace: float = 1.0
    skew_ms: int = 0
    origin: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    advanced: float = 0.0
    tape_ns: int | None = None

    def seconds(self) -> float:
        """Clock seconds since the epoch; never goes back."""
        return self.origin + (time.monotonic() - self.started) * self.pace + self.advanced

    def now_ns(self) -> int:
        """The venue's time: the last print's when the clock follows the tape."""
        base = self.tape_ns if self.tape_ns is not None else int(self.seconds() * 1e9)
        moved = int(self.advanced * 1e9) if self.tape_ns is not None else 0
        return base + moved + self.skew_ms * 1_000_000

    def now_ms(self) -> int:
        """The venue's time in milliseconds."""
        return self.now_ns() // 1_000_000

    def real(self, clock_seconds: float) -> float:
        """How many real seconds pass while the clock passes these."""
        return clock_seconds / self.pace
