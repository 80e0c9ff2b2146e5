"""How long a venue is waited for before it counts as unreachable."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a venue is waited for.

    Parameters
    ----------
    attempts : int
        Tries a file in all.
    longest_wait : float
        Cap of the jittered, doubling wait between tries, seconds.
    timeout : float
        For connecting, and for each pause within an answer, seconds.
    """

    attempts: int = 5
    longest_wait: float = 20.0
    timeout: float = 30.0


PATIENCE = Patience()
