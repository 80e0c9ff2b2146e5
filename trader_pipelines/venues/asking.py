"""One question to a venue, asked until it is answered well, refused, or patience ends."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from trader_pipelines.core.errors import BadAnswerError, VenueUnreachableError
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.patience import Patience

#: Of an API: answers are small, so silence is short-lived or a fault.
API_PATIENCE = Patience(attempts=8, longest_wait=30.0, timeout=15.0)

T = TypeVar("T")


class BusyError(Exception):
    """The venue did not answer, or said that it cannot now.

    Parameters
    ----------
    reason : str
        For a person; without address or key.
    held : bool
        Whether the budget already holds the next call for as long as the venue asked.
    """

    def __init__(self, reason: str, *, held: bool = False) -> None:
        super().__init__(reason)
        self.held = held


class SuspectError(BusyError):
    """The venue answered what cannot be true."""


def ask(call: Callable[[], T], *, budget: Budget, weight: int, patience: Patience, where: str) -> T:
    """Call, within the budget, until it gives a value or a refusal.

    Parameters
    ----------
    call : callable
        Sends one request and checks its answer; raises `BusyError` when the same request may
        succeed later, `SuspectError` when the answer is no data.
    where : str
        What errors call the question. No secret.

    Raises
    ------
    BadAnswerError
        When the last answer was none that can be true.
    VenueUnreachableError
        When the venue did not answer, `patience.attempts` times; banned: `VenueBannedError`.
    """
    backoff = wait_random_exponential(multiplier=0.5, max=patience.longest_wait)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return 0.0 if isinstance(error, BusyError) and error.held else backoff(state)

    def once() -> T:
        budget.spend(weight)
        return call()

    retrying = Retrying(
        stop=stop_after_attempt(patience.attempts),
        wait=wait,
        retry=retry_if_exception_type(BusyError),
        reraise=True,
    )
    try:
        return retrying(once)
    except SuspectError as error:
        raise BadAnswerError(
            f"venue {budget.name} answers what cannot be true, {patience.attempts} times: {error}",
            where=where,
            remedy="try again later; nothing of these answers was stored",
            retry=True,
        ) from error
    except BusyError as error:
        raise VenueUnreachableError(
            f"venue {budget.name} does not answer, {patience.attempts} times: {error}",
            where=where,
            remedy="check the network and the venue's status page, and try again later",
            retry=True,
        ) from error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header; None without one that is a number."""
    told = next((v for k, v in headers.items() if k.lower() == "retry-after"), "")
    try:
        return max(0.0, float(told))
    except ValueError:
        return None
