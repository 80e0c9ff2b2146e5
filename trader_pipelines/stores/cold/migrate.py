"""Rewriting files of an older layout: verified one by one, resumable, readers undisturbed."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import psycopg

from trader_pipelines.core.errors import MissingDataError, SchemaVersionError
from trader_pipelines.stores import datasets, manifest, parquet
from trader_pipelines.stores.cold.backend import Backend, at
from trader_pipelines.stores.datasets import SCHEMA_VERSION, Key, Lineage
from trader_pipelines.stores.manifest import DatasetEntry

#: Written anew by every writer, or by Arrow itself.
_OURS = {"ARROW:schema", "venue", "symbol", "day", "synthetic", "schema_version"}


def migrate(
    connection: psycopg.Connection,
    root: Backend | Path,
    dataset: str,
    venue: str,
    *,
    told: Callable[[Key], None] | None = None,
) -> int:
    """Rewrite a dataset's files of older schema versions; run again, it goes on where it stopped.

    Each file is checked against its hash, written anew, read back, and committed alone: the old one
    is swept only after that.

    Parameters
    ----------
    told : callable or None
        Called with each key that was rewritten.

    Returns
    -------
    int
        Files rewritten.

    Raises
    ------
    MissingDataError, ChecksumError, DamagedFileError
        Naming the file that cannot be read; those before it stay rewritten.
    SchemaVersionError
        When a file is newer than this code.
    """
    entries = manifest.get_datasets(connection, dataset, venue)
    for found in entries:
        if found.schema_version > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"a file has layout {found.schema_version}, this code knows {SCHEMA_VERSION}",
                where=at(root).where(found.path),
                remedy="install the newer trader-pipelines",
            )
    old = [found for found in entries if found.schema_version < SCHEMA_VERSION]
    done = 0
    for found in old:
        key = Key(found.dataset, found.venue, found.symbol, found.day)
        try:
            _rewrite(connection, root, key, found)
        except _OvertakenError:
            continue
        done += 1
        if told is not None:
            told(key)
    return done


def _rewrite(
    connection: psycopg.Connection, root: Backend | Path, key: Key, found: DatasetEntry
) -> None:
    try:
        content = parquet.fetch(root, found.path, found.sha256)
    except MissingDataError:
        _still_there(connection, key, found)
        raise
    frame = parquet.decode(content, at(root).where(found.path))
    about = {
        name: value
        for name, value in pl.read_parquet_metadata(io.BytesIO(content)).items()
        if name not in _OURS and not name.startswith("unit:")
    }
    datasets.put(
        connection,
        root,
        key,
        frame,
        Lineage(found.code_version, found.status, found.synthetic, found.inputs),
        content_hash=found.content_hash,
        about=about,
        metadata=found.metadata,
        first=partial(_still_there, connection, key, found),
    )


class _OvertakenError(Exception):
    """Somebody has written the key anew, in this layout and perhaps with other trades."""


def _still_there(connection: psycopg.Connection, key: Key, found: DatasetEntry) -> None:
    now = datasets.find(connection, key)
    if now is None or now.path != found.path:
        raise _OvertakenError
