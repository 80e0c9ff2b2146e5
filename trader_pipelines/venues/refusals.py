"""What a venue's API can refuse, in words that never show a key."""

from trader_pipelines.core.errors import KeyRefusedError, UnknownSymbolError


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
