"""Frames as Parquet files: content-addressed, compact, exact, readable by anyone's reader."""

import hashlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from trader_pipelines.core.errors import ChecksumError, DamagedFileError
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.backend import Backend, Buffer, at
from trader_pipelines.stores.cold.seals import seal

SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file that is wholly in the store.

    Parameters
    ----------
    path : str
        Relative to the cold root, hive folders by venue, symbol and day.
    rows, bytes : int
    sha256 : str
        Of the file's bytes.
    seals : str or None
        Of its parts, see `trader_pipelines.stores.cold.seals`.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    seals: str | None = None


def folder(dataset: str, venue: str, symbol: str, day: date) -> Path:
    """Hive folder of one symbol's day, relative to the cold root."""
    return Path(dataset, f"venue={venue}", f"symbol={symbol}", f"day={day:%Y-%m-%d}")


def write(
    root: Backend | Path,
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
    return keep(root, dataset, venue, symbol, day, encoding.encode(frame, about), frame.height)


def keep(
    root: Backend | Path,
    dataset: str,
    venue: str,
    symbol: str,
    day: date,
    content: bytes,
    rows: int,
) -> WrittenFile:
    """As `write`, of a frame that is Parquet bytes already."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = (folder(dataset, venue, symbol, day) / f"{dataset}-{sha256[:16]}{SUFFIX}").as_posix()
    store = at(root)
    try:
        store.create(path, content)
    except ChecksumError:
        # The name tells the content: what lies there was damaged since it was written.
        store.replace(path, content)
    return WrittenFile(path, rows, len(content), sha256, seal(content))


def fetch(root: Backend | Path, path: str, sha256: str) -> bytes:
    """A file's bytes, after checking that they are those that were written.

    Raises
    ------
    MissingDataError, ChecksumError
        Naming the file.
    """
    content = at(root).get(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(content, at(root).where(path))
    return content


def read(root: Backend | Path, path: str, sha256: str) -> pl.DataFrame:
    """Read a frame back, after checking that the bytes are those that were written.

    Raises
    ------
    MissingDataError, ChecksumError, DamagedFileError
        Naming the file.
    """
    content, where = at(root).view(path), at(root).where(path)
    # Hashed beside the decoding, which halves the time of the check; whatever came of a file that
    # has changed is never handed out.
    with ThreadPoolExecutor(1) as beside:
        hashed = beside.submit(lambda: hashlib.sha256(content).hexdigest())
        try:
            frame = decode(content, where)
        except DamagedFileError:
            if hashed.result() != sha256:
                raise _changed(content, where) from None
            raise
        if hashed.result() != sha256:
            raise _changed(content, where)
        return frame


def decode(content: Buffer, where: str) -> pl.DataFrame:
    """The frame of a file's bytes.

    Raises
    ------
    DamagedFileError
        With `where`.
    """
    try:
        return encoding.decode(content)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedFileError(
            f"not readable as Parquet: {error}",
            where=where,
            remedy="materialize its partition again",
        ) from None


def _changed(content: Buffer, where: str) -> ChecksumError:
    return ChecksumError(
        f"the file's content has changed since it was written ({len(content)} bytes now)",
        where=where,
        remedy="restore it, or materialize its partition again",
    )


def sweep(root: Backend | Path, path: str, keep: Collection[str] = ()) -> list[str]:
    """Remove whatever else lies in a committed file's folder: superseded files, torn writes.

    Parameters
    ----------
    keep : collection of str
        Other paths to spare.

    Returns
    -------
    list of str
        Names removed.
    """
    store = at(root)
    spared = {path, *keep}
    swept = [name for name in store.names(Path(path).parent.as_posix()) if name not in spared]
    for name in swept:
        store.remove(name)
    return [Path(name).name for name in swept]
