"""What a venue's API can refuse, as typed errors; none of them ever shows a key."""

from trader_pipelines.core.errors import (
    BadTradeError,
    TraderError,
    UnknownSymbolError,
    VenueUnreachableError,
)


class KeyRefusedError(TraderError):
    """A venue that refuses the key, the address or the region it is asked from."""


class EntitlementError(TraderError):
    """A key that is good, but not for the feed that was asked for."""


class ClockError(TraderError):
    """The clocks of this machine and of the venue are too far apart."""


class VenueBannedError(VenueUnreachableError):
    """A venue that has banned this address for asking too often, until a time that it told."""


class BadAnswerError(BadTradeError):
    """An answer with status 200 that cannot be what was asked for, each time it was asked."""


def key_refused(venue: str, where: str, said: str) -> KeyRefusedError:
    """Say that the venue refuses whoever asks."""
    return KeyRefusedError(
        f"venue {venue} refuses this key or address: {said}",
        where=where,
        remedy="check the key and its secret, and whether the venue serves this address and "
        "region; asking again changes nothing",
    )


def unknown_symbol(venue: str, symbol: str, where: str) -> UnknownSymbolError:
    """Say that the venue does not know the symbol."""
    return UnknownSymbolError(
        f"venue {venue} knows no symbol {symbol!r}",
        where=where,
        remedy="correct the symbol in universe.yaml, or give it the day `until` when the venue "
        "has delisted it",
    )
