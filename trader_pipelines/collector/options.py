"""Settings of a live collector, with defaults that suit a real venue."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How patient a collector is; all times in seconds.

    Parameters
    ----------
    batch_seconds, batch_frames : float, int
        A micro-batch is committed when one of them is reached.
    queue_frames : int
        So many frames wait at most; then the socket is not read any more.
    silence : float
        A connection that brings no frame for so long, not even the answer to a probe that is sent
        at half of it, is opened again.
    back_off, back_off_cap : float
        First and longest pause between two attempts; jittered to between half and the whole.
    grace : float
        A hole may close by itself, by a late message, before REST is asked.
    quiet, quiet_cap : float
        A symbol without a print for so long is asked for over REST; each time in vain doubles it.
        After `quiet_cap` a hole that was given up is asked for again.
    tries : int
        So often REST is asked for a hole before it is given up: told as such, and left alone for a
        while.
    report : float
        Between two status lines.
    drain : float
        A stop waits so long for a database that does not answer.
    """

    batch_seconds: float = 0.2
    batch_frames: int = 10_000
    queue_frames: int = 200_000
    silence: float = 30.0
    back_off: float = 0.5
    back_off_cap: float = 30.0
    grace: float = 0.5
    quiet: float = 10.0
    quiet_cap: float = 300.0
    tries: int = 3
    report: float = 10.0
    drain: float = 10.0
