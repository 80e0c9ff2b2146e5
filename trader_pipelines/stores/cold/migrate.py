"""Rewriting files of an older layout: verified one by one, resumable, readers undisturbed."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import psycopg

from trader_pipelines.core.errors import SchemaVersionError
from trader_pipelines.stores import datasets, manifest, parquet
from trader_pipelines.stores.datasets import SCHEMA_VERSION, Key, Lineage

#: Written anew by every writer, or by Arrow itself.
_OURS = {"ARROW:schema", "venue", "symbol", "day", "synthetic", "schema_version"}


def migrate(
    connection: psycopg.Connection,
    root: Path,
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
                where=str(root / found.path),
                remedy="install the newer trader-pipelines",
            )
    old = [found for found in entries if found.schema_version < SCHEMA_VERSION]
    for found in old:
        key = Key(found.dataset, found.venue, found.symbol, found.day)
        frame = parquet.read(root, found.path, found.sha256)
        about = {
            name: value
            for name, value in pl.read_parquet_metadata(root / found.path).items()
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
        )
        if told is not None:
            told(key)
    return len(old)
