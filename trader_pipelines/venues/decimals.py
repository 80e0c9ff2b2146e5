"""A venue's decimal text as exact integers, and its stamps of any unit as nanoseconds."""

import re

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import Instrument

_PLAIN = re.compile(r"(\d{1,18})(?:\.(\d*))?", re.ASCII)
_LARGEST = 2**63 - 1

#: A stamp below each bound counts (s, ms, us, ns); the bounds lie in the year 5138.
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


class NotANumberError(ValueError):
    """Text that is no plain, non-negative decimal number of 64 bits."""


class TooFineError(ValueError):
    """A number with more decimals than the instrument keeps."""


def scaled(text: str, scale: int) -> int:
    """Exact ``number * 10**scale`` of a plain decimal number.

    Raises
    ------
    NotANumberError, TooFineError
    """
    found = _PLAIN.fullmatch(text)
    if not found:
        raise NotANumberError(text)
    tail = found[2] or ""
    if tail[scale:].strip("0"):
        raise TooFineError(text)
    value = int(found[1] + tail[:scale].ljust(scale, "0"))
    if value > _LARGEST:
        raise NotANumberError(text)
    return value


def too_fine(instrument: Instrument, column: str, text: str, where: str) -> SettingsError:
    """Say that the universe gives an instrument a grid that is too coarse."""
    step = "tick_size" if column == "price" else "lot_size"
    return SettingsError(
        f"{column} {text!r} of {instrument.id} has more decimals than its {step} "
        f"{getattr(instrument, step)} keeps",
        where=where,
        remedy=f"give the instrument a finer {step} in universe.yaml",
    )


def nanoseconds(stamp: int) -> int:
    """Nanoseconds since the epoch of a stamp in seconds, milli-, micro- or nanoseconds."""
    return stamp * next((factor for bound, factor in _UNITS if stamp < bound), 1)
