"""Frames by dataset, venue, symbol and day: a manifest row is the commit of a Parquet file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

from trader_pipelines.core.certificates import Status
from trader_pipelines.core.errors import ChecksumError, MissingDataError
from trader_pipelines.stores import manifest, parquet
from trader_pipelines.stores.manifest import DatasetEntry

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
    root: Path,
    key: Key,
    frame: pl.DataFrame,
    lineage: Lineage,
    *,
    content_hash: str | None = None,
    about: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> DatasetEntry:
    """Write a frame, read it back, and only then commit it; what it replaces is swept away.

    Two writers of one key go one after the other. Killed anywhere, a reader sees the old frame or
    the new one, and the next run leaves nothing behind.

    Raises
    ------
    DiskFullError, ChecksumError
        With the old frame still in place.
    """
    described = {
        "venue": key.venue,
        "symbol": key.symbol,
        "day": key.day.isoformat(),
        "synthetic": str(lineage.synthetic).lower(),
        "schema_version": str(SCHEMA_VERSION),
        **(about or {}),
    }
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (str(key),))
        place = (key.dataset, key.venue, key.symbol, key.day)
        written = parquet.write(root, *place, frame, described)
        if not parquet.read(root, written.path, written.sha256).equals(frame):
            raise ChecksumError(
                "a file read back is not what was written",
                where=str(root / written.path),
                remedy="check the disk; nothing was committed, run the partition again",
            )
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
        )
        manifest.put_dataset(connection, entry)
    with connection.transaction():
        # After the commit and under the lock: only what no row names may be swept.
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (str(key),))
        if (committed := find(connection, key)) is not None:
            parquet.sweep(root, committed.path)
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


def get(connection: psycopg.Connection, root: Path, key: Key) -> tuple[pl.DataFrame, DatasetEntry]:
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


def stale_days(
    connection: psycopg.Connection, venue: str, dataset: str, upstream: str
) -> list[tuple[date, str]]:
    """Days on which a certified symbol's `dataset` is missing or built on other trades.

    Returns
    -------
    list of (date, str)
        Ascending, each with a hash of the trades that are there now.
    """
    rows = connection.execute(
        """
        select c.day, md5(string_agg(c.symbol || c.content_hash, ',' order by c.symbol))
        from certificates c
        left join datasets d
            on (d.dataset, d.venue, d.symbol, d.day) = (%(dataset)s, c.venue, c.symbol, c.day)
        where c.venue = %(venue)s and d.inputs ->> %(upstream)s is distinct from c.content_hash
        group by c.day order by c.day
        """,
        {"dataset": dataset, "venue": venue, "upstream": upstream},
    ).fetchall()
    return [(day, state) for day, state in rows]
