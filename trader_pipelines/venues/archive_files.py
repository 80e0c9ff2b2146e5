"""Bytes of an archive: read from a folder or address, proven by checksum, unpacked safely."""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from trader_pipelines.core.errors import (
    ChecksumError,
    DamagedFileError,
    VenueUnreachableError,
)
from trader_pipelines.venues.archive_place import (
    MAX_ZIP_BYTES,
    folder,
    too_large,
)
from trader_pipelines.venues.patience import Patience

#: Larger than any day that was ever published (about 0.1 GB zipped, 0.5 GB of text); what claims
#: more is a mistake or a zip bomb and must not fill the memory.
MAX_CSV_BYTES = 1 << 31

_AGAIN = "delete the file and fetch it and its .CHECKSUM again"


def read_files(base: str, paths: Sequence[str], patience: Patience) -> list[bytes | None]:
    """Read files of the archive whole; None stands for one that is not there.

    Raises
    ------
    VenueUnreachableError
        When the address does not answer with the files, or the folder cannot be read.
    DamagedFileError
        When a file is larger than any that was ever published.
    """
    if urlsplit(base).scheme in ("http", "https"):
        from trader_pipelines.venues.archive_http import get_files

        return get_files(base, paths, patience)
    here = folder(base)
    if not here.is_dir():
        raise VenueUnreachableError(
            "the archive's folder is not there",
            where=str(here),
            remedy="check the archive's base, or mount the disk that it lies on",
        )
    return [_read(here / path) for path in paths]


def verify_checksum(content: bytes, checksum: bytes, *, name: str, where: str) -> str:
    """Hold a file against its ``.CHECKSUM``, a line ``<sha256>  <name>``.

    Returns
    -------
    str
        The SHA-256 of `content`, hex digits.

    Raises
    ------
    DamagedFileError
        When the ``.CHECKSUM`` is not such a line.
    ChecksumError
        When it speaks of another file, or `content` is not what it was taken of.
    """
    line = re.fullmatch(rb"([0-9a-fA-F]{64})[ \t]+\*?(\S+)\s*", checksum)
    if line is None:
        raise DamagedFileError(
            "the .CHECKSUM is not a line of a SHA-256 and a file name",
            where=f"{where}.CHECKSUM",
            remedy=_AGAIN,
        )
    expected, named = line[1].decode().lower(), line[2].decode(errors="replace")
    if named != name:
        raise ChecksumError(
            f"the .CHECKSUM speaks of {named!r}, not of {name!r}",
            where=f"{where}.CHECKSUM",
            remedy=_AGAIN,
        )
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise ChecksumError(
            f"its SHA-256 is {actual}, its .CHECKSUM says {expected}", where=where, remedy=_AGAIN
        )
    return actual


def unzip(content: bytes, *, where: str) -> bytes:
    """The single member of a zip.

    Raises
    ------
    DamagedFileError
        When it is no zip, cut short, fails its CRC, is encrypted, claims to be impossibly large,
        or has not exactly one member.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) != 1:
                names = ", ".join(member.filename for member in members[:5])
                raise DamagedFileError(
                    f"the zip has {len(members)} members ({names}) where a day's has one CSV",
                    where=where,
                    remedy=_AGAIN,
                )
            # zipfile never gives out more than the size that the directory claims.
            if members[0].file_size > MAX_CSV_BYTES:
                raise too_large(members[0].file_size, MAX_CSV_BYTES, where)
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DamagedFileError(
            f"it cannot be read as a zip: {error or type(error).__name__}",
            where=where,
            remedy=_AGAIN,
        ) from error


def _read(path: Path) -> bytes | None:
    try:
        size = path.stat().st_size
        if size > MAX_ZIP_BYTES:
            raise too_large(size, MAX_ZIP_BYTES, str(path))
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VenueUnreachableError(
            f"the file cannot be read: {error.strerror or type(error).__name__}",
            where=str(path),
            remedy="check the file's permissions and the disk that it lies on",
        ) from error
