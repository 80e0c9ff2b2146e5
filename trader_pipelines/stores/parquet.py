"""Frames as Parquet files: content-addressed, compact, exact, readable by anyone's reader."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from trader_pipelines.core.errors import ChecksumError, DamagedFileError, MissingDataError
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.files import write_atomic

SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file that is wholly on disk.

    Parameters
    ----------
    path : str
        Relative to the cold root, hive folders by venue, symbol and day.
    rows, bytes : int
    sha256 : str
        Of the file's bytes.
    """

    path: str
    rows: int
    bytes: int
    sha256: str


def folder(dataset: str, venue: str, symbol: str, day: date) -> Path:
    """Hive folder of one symbol's day, relative to the cold root."""
    return Path(dataset, f"venue={venue}", f"symbol={symbol}", f"day={day:%Y-%m-%d}")


def write(
    root: Path,
    dataset: str,
    venue: str,
    symbol: str,
    day: date,
    frame: pl.DataFrame,
    about: Mapping[str, str],
) -> WrittenFile:
    """Write a frame; the same frame always gives the same bytes under the same name.

    Parameters
    ----------
    frame : DataFrame
        Sorted. Integers and stamps are delta-encoded, so unsorted rows cost twice the bytes.
    about : mapping
        Kept in the file's schema metadata: scales of prices and sizes, provenance.

    Raises
    ------
    DiskFullError
        With nothing left behind.
    """
    content = encoding.encode(frame, about)
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder(dataset, venue, symbol, day) / f"{dataset}-{sha256[:16]}{SUFFIX}"
    write_atomic(root / path, content)
    return WrittenFile(path.as_posix(), frame.height, len(content), sha256)


def read(root: Path, path: str, sha256: str) -> pl.DataFrame:
    """Read a frame back, after checking that the bytes are those that were written.

    Raises
    ------
    MissingDataError, ChecksumError, DamagedFileError
        Naming the file.
    """
    file = root / path
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(
            "a file of the manifest is not there",
            where=str(file),
            remedy="restore it, or materialize its partition again",
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ChecksumError(
            f"the file's content has changed since it was written ({len(content)} bytes now)",
            where=str(file),
            remedy="restore it, or materialize its partition again",
        )
    try:
        return encoding.decode(content)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedFileError(
            f"not readable as Parquet: {error}",
            where=str(file),
            remedy="materialize its partition again",
        ) from None


def sweep(root: Path, path: str) -> list[str]:
    """Remove whatever else lies in a committed file's folder: superseded files, torn writes.

    Returns
    -------
    list of str
        Names removed.
    """
    keep = root / path
    removed = []
    for other in sorted(keep.parent.iterdir()):
        if other != keep and other.is_file():
            other.unlink(missing_ok=True)
            removed.append(other.name)
    return removed
