"""Frames by dataset, venue, symbol and day: a manifest row is the commit of a Parquet file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

from trader_pipelines.core.certificates import Status
from trader_pipelines.core.errors import ChecksumError, MissingDataError
from trader_pipelines.stores import manifest, parquet
from trader_pipelines.stores.cold import history
from trader_pipelines.stores.cold.backend import Backend, at
from trader_pipelines.stores.manifest import DatasetEntry
from trader_pipelines.stores.parquet import WrittenFile

#: Version of how frames are laid out in files; a reader refuses what it does not know.
SCHEMA_VERSION = 2

#: Stands for all symbols of a venue where they lie in one file. No symbol can have this name.
POOL = "_pool"


@dataclass(frozen=True, slots=True)
class Key:
    """One file's place: a symbol's day in a dataset of a venue."""

    dataset: str
    venue: str
    symbol: str
    day: date

    def __str__(self) -> str:
        return f"{self.venue}/{self.dataset} of {self.symbol} on {self.day}"


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a frame was built with and on.

    Parameters
    ----------
    code_version : str
        Of what built it.
    status : Status
        The weakest certificate among the days it rests on.
    synthetic : bool
        Whether any of it was never printed by a venue.
    inputs : mapping of str to str
        Hashes of what it was built from, by name.
    """

    code_version: str
    status: Status
    synthetic: bool
    inputs: Mapping[str, str]


def put(
    connection: psycopg.Connection,
    root: Backend | Path,
    key: Key,
    frame: pl.DataFrame,
    lineage: Lineage,
    *,
    content_hash: str | None = None,
    about: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    first: Callable[[], object] | None = None,
) -> DatasetEntry:
    """Write a frame, read it back, and only then commit it; what it replaces is swept away.

    Two writers of one key go one after the other. Killed anywhere, a reader sees the old frame or
    the new one, and the next run leaves nothing behind. Replaced cold trades are not swept but kept
    in the history until they are forgotten: see `trader_pipelines.stores.cold.history`.

    Parameters
    ----------
    root : Backend or Path
        The cold store.
    first : callable or None
        Called before anything is written, when no other writer of the key is at work any more; what
        it raises leaves everything as it was.

    Raises
    ------
    DiskFullError, ChecksumError
        With the old frame still in place.
    TraderError
        When the store does not answer: nothing is committed, or what was replaced is not swept yet.
        Both are worth running again.
    """
    place = (key.dataset, key.venue, key.symbol, key.day)

    def write() -> WrittenFile:
        if first is not None:
            first()
        written = parquet.write(root, *place, frame, words(key, lineage, about))
        if not parquet.read(root, written.path, written.sha256).equals(frame):
            raise _differs(root, written)
        return written

    return _commit(connection, root, key, lineage, write, content_hash, metadata)


def put_content(
    connection: psycopg.Connection,
    root: Backend | Path,
    key: Key,
    content: bytes,
    rows: int,
    lineage: Lineage,
    *,
    proves: Callable[[bytes], bool],
    content_hash: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    first: Callable[[], object] | None = None,
) -> DatasetEntry:
    """As `put`, of a frame that is Parquet bytes already, with the `words` in its schema metadata.

    Parameters
    ----------
    proves : callable
        Given the bytes read back, whether they hold what they should.
    """
    place = (key.dataset, key.venue, key.symbol, key.day)

    def write() -> WrittenFile:
        if first is not None:
            first()
        written = parquet.keep(root, *place, content, rows)
        if not proves(parquet.fetch(root, written.path, written.sha256)):
            raise _differs(root, written)
        return written

    return _commit(connection, root, key, lineage, write, content_hash, metadata)


def words(key: Key, lineage: Lineage, about: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a file's schema metadata tell of it."""
    return {
        "venue": key.venue,
        "symbol": key.symbol,
        "day": key.day.isoformat(),
        "synthetic": str(lineage.synthetic).lower(),
        "schema_version": str(SCHEMA_VERSION),
        **(about or {}),
    }


def _differs(root: Backend | Path, written: WrittenFile) -> ChecksumError:
    return ChecksumError(
        "a file read back is not what was written",
        where=at(root).where(written.path),
        remedy="check the disk; nothing was committed, run the partition again",
    )


def _commit(
    connection: psycopg.Connection,
    root: Backend | Path,
    key: Key,
    lineage: Lineage,
    write: Callable[[], WrittenFile],
    content_hash: str | None,
    metadata: Mapping[str, Any] | None,
) -> DatasetEntry:
    place = (key.dataset, key.venue, key.symbol, key.day)
    with connection.transaction():
        history.lock(connection, *place)
        written = write()
        entry = DatasetEntry(
            dataset=key.dataset,
            venue=key.venue,
            symbol=key.symbol,
            day=key.day,
            path=written.path,
            rows=written.rows,
            bytes=written.bytes,
            sha256=written.sha256,
            content_hash=content_hash,
            schema_version=SCHEMA_VERSION,
            code_version=lineage.code_version,
            status=lineage.status,
            synthetic=lineage.synthetic,
            inputs=dict(lineage.inputs),
            metadata=dict(metadata or {}),
            seals=written.seals,
        )
        manifest.put_dataset(connection, entry)
    with connection.transaction():
        # After the commit and under the lock: only what no row names may be swept.
        history.lock(connection, *place)
        if (committed := find(connection, key)) is not None:
            parquet.sweep(root, committed.path, history.paths(connection, *place))
    return entry


def find(connection: psycopg.Connection, key: Key) -> DatasetEntry | None:
    """The manifest's row of a key, None where nothing was committed."""
    return manifest.get_dataset(connection, key.dataset, key.venue, key.symbol, key.day)


def entry(connection: psycopg.Connection, key: Key) -> DatasetEntry:
    """The manifest's row of a key.

    Raises
    ------
    MissingDataError
        When nothing was committed.
    """
    if (found := find(connection, key)) is None:
        raise MissingDataError(
            f"there is no {key}",
            where=f"manifest, table datasets, {key}",
            remedy=f"materialize the asset above for {key.day} first",
        )
    return found


def get(
    connection: psycopg.Connection, root: Backend | Path, key: Key
) -> tuple[pl.DataFrame, DatasetEntry]:
    """A committed frame and its manifest row.

    Raises
    ------
    MissingDataError, ChecksumError, DamagedFileError
    """
    found = entry(connection, key)
    try:
        return parquet.read(root, found.path, found.sha256), found
    except MissingDataError:
        # Replaced between the row's reading and the file's? Then there is a newer row.
        newer = entry(connection, key)
        if newer.path == found.path:
            raise
        return parquet.read(root, newer.path, newer.sha256), newer


def symbols(
    connection: psycopg.Connection, dataset: str, venue: str, days: Sequence[date]
) -> dict[date, list[str]]:
    """Symbols that have a committed frame, by day."""
    found: dict[date, list[str]] = {day: [] for day in days}
    if days:
        for row in manifest.get_datasets(
            connection, dataset, venue, first=min(days), last=max(days)
        ):
            if row.day in found:
                found[row.day].append(row.symbol)
    return found
