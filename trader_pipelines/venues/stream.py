"""The protocol of a venue's live stream: what to send, and how its frames become trades."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES

#: A frame as it came: our clock in nanoseconds when it did, and its text.
Frame = tuple[int, str]

_EARLIEST = 1_230_768_000_000_000_000  # 2009-01-01: no exchange of today printed before
_LATEST = 4_102_444_800_000_000_000  # 2100-01-01


@dataclass(frozen=True, slots=True)
class Prints:
    """What a stream brought of one symbol, in the order in which it came.

    Parameters
    ----------
    trades : DataFrame
        Of schema `TRADES`; ids may repeat and be out of order.
    received : ndarray of int64, shape (n,)
        Our clock, nanoseconds.
    doubtful : ndarray of bool, shape (n,)
        True where the message itself speaks against its id.
    """

    trades: pl.DataFrame
    received: NDArray[np.int64]
    doubtful: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What some frames said.

    Parameters
    ----------
    prints : mapping
        By symbol.
    refused : tuple of str
        Why frames were left out: not JSON, no trade, not on the instrument's grid.
    fault : TraderError or None
        What the venue itself complained of: a refused key, a wrong request.
    """

    prints: Mapping[str, Prints]
    refused: tuple[str, ...] = ()
    fault: TraderError | None = None


class Feed(Protocol):
    """A venue's public stream of trades; pure: it opens nothing itself."""

    @property
    def name(self) -> str:
        """The venue's name in the universe."""
        ...

    @property
    def url(self) -> str:
        """Address of the websocket."""
        ...

    @property
    def sequential_ids(self) -> bool:
        """Whether ids count up by one, so that a hole is a lost trade."""
        ...

    @property
    def symbols_a_connection(self) -> int:
        """The most symbols that one connection takes."""
        ...

    def opening(self, symbols: Sequence[str]) -> list[str]:
        """What to send on a new connection, in order."""
        ...

    def probe(self) -> str:
        """What a living connection answers to, at any time."""
        ...

    def decode(self, frames: Sequence[Frame], instruments: Mapping[str, Instrument]) -> Decoded:
        """Trades of some frames, exact, and what was refused. Never raises for a frame."""
        ...


@dataclass(slots=True)
class Gathered:
    """Rows of one symbol while frames are read."""

    rows: list[tuple[int, int, int, int, int, int, int, bool]] = field(default_factory=list)

    def prints(self) -> Prints:
        """As columns."""
        *columns, received, doubtful = zip(*self.rows, strict=True)
        arrays = [np.array(column, np.int64) for column in columns]
        frame = pl.DataFrame(dict(zip(TRADES, arrays, strict=True))).cast(TRADES)
        return Prints(frame, np.array(received, np.int64), np.array(doubtful, np.bool_))


def scaled(text: str, scale: int) -> int:
    """A positive decimal as an integer of ``10**-scale``; exact or refused.

    Raises
    ------
    ValueError
        When it is not a plain positive decimal, is finer than the grid, or too large for int64.
    """
    whole, point, part = text.partition(".")
    if not (text.isascii() and whole.isdigit() and (part.isdigit() or not point)):
        raise ValueError(f"{text!r} is not a plain decimal")
    if part[scale:].strip("0"):
        raise ValueError(f"{text!r} has more than {scale} decimals")
    value = int(whole + part[:scale].ljust(scale, "0"))
    if not 0 < value < 1 << 63:
        raise ValueError(f"{text!r} is not positive, or too large")
    return value


def nanoseconds(stamp: int) -> int:
    """A stamp in milli-, micro- or nanoseconds, told apart by its size.

    Raises
    ------
    ValueError
        When it is none between 2009 and 2100.
    """
    for factor in (1_000_000, 1_000, 1):
        if _EARLIEST <= stamp * factor < _LATEST:
            return stamp * factor
    raise ValueError(f"{stamp} is no time")
