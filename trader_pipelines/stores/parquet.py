"""Frames as Parquet files: content-addressed, compact, exact, readable by anyone's reader."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from trader_pipelines.core.errors import ChecksumError, DamagedFileError, MissingDataError
from trader_pipelines.stores.files import write_atomic

SUFFIX = ".parquet"
_ROW_GROUP = 131_072


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
    content = _encode(frame, about)
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
        return pl.read_parquet(io.BytesIO(content), hive_partitioning=False)
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


def _encode(frame: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = frame.to_arrow()
    metadata = {key: str(value) for key, value in sorted(about.items())}
    table = table.replace_schema_metadata(metadata)
    delta = {
        field.name: "DELTA_BINARY_PACKED"
        for field in table.schema
        if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)
    }
    words = [
        field.name
        for field in table.schema
        if pa.types.is_dictionary(field.type)
        or pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type)
        or pa.types.is_string_view(field.type)
    ]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=words,
        column_encoding=delta,
        row_group_size=_ROW_GROUP,
        version="2.6",
    )
    return sink.getvalue()
