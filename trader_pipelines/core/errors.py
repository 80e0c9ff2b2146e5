"""Every error a user can cause: what happened, where, and what to do about it."""


class TraderError(Exception):
    """A user's mistake or an outside failure, told in three sentences and without a stack trace.

    Parameters
    ----------
    what : str
        What is wrong, with the offending value.
    where : str
        The file, key, row, table or address. Never a secret.
    remedy : str
        What to do now.
    retry : bool
        Whether the same call may succeed later without anybody changing anything.
    """

    def __init__(self, what: str, *, where: str, remedy: str, retry: bool = False) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.retry = retry

    def __str__(self) -> str:
        return f"{self.what}\n  where:  {self.where}\n  remedy: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy, self.retry)


def _rebuild(
    kind: type[TraderError], what: str, where: str, remedy: str, retry: bool
) -> TraderError:
    return kind(what, where=where, remedy=remedy, retry=retry)


class SettingsError(TraderError):
    """A setting or a line of the universe file has a wrong value."""


class UnknownSymbolError(TraderError):
    """A symbol or venue that the universe does not list, or not on that day."""


class DayNotOverError(TraderError):
    """A day that lies in the future or is still going on."""


class MissingDataError(TraderError):
    """A file or dataset that should be there is not."""


class DamagedFileError(TraderError):
    """A file that is there cannot be read as what it should be: truncated, bit-flipped, foreign."""


class ChecksumError(DamagedFileError):
    """A file whose content does not match its published or recorded checksum."""


class BadTradeError(TraderError):
    """A row of a venue's data that cannot be a trade of that instrument and day."""


class VenueUnreachableError(TraderError):
    """A venue or archive that does not answer."""


class KeyRefusedError(TraderError):
    """A venue that refuses the key, the address or the region it is asked from."""


class EntitlementError(TraderError):
    """A key that is good, but not for the feed that was asked for."""


class ClockError(TraderError):
    """The clocks of this machine and of the venue are too far apart."""


class ConnectionLimitError(VenueUnreachableError):
    """A venue that lets this key hold no further connection."""


class VenueBannedError(VenueUnreachableError):
    """A venue that has banned this address for asking too often, until a time that it told."""


class BadAnswerError(BadTradeError):
    """An answer with status 200 that cannot be what was asked for, each time it was asked."""


class DiskFullError(TraderError):
    """No room to write; nothing was half-written."""


class DatabaseUnreachableError(TraderError):
    """The database does not answer or refuses the login."""


class DatabaseError(TraderError):
    """The embedded database cannot be set up, started or stopped."""


class SchemaVersionError(TraderError):
    """The database's schema is not the version that this code works with."""


class ModelFileError(TraderError):
    """A model file that is missing, damaged, or holds types that are not allowed."""
