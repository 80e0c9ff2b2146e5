"""A frame as compact, exact Parquet bytes, and back: the encoding of each column by trial."""

import io
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from trader_pipelines.stores.cold.joining import Joined

TimeUnit = Literal["ns", "us", "ms"]

#: Rows of a row group: a time slice reads the few whose statistics overlap it.
ROW_GROUP = 131_072
#: Rows that are encoded by one thread; a file is made of so many, and the rest.
PART = 4 * ROW_GROUP
#: Rows on which a column's encodings are compared.
TRIAL = 16_384
_BATCH = 65_536  # values handed to an encoder at once; the default of 1,024 costs a quarter
_LEVEL = 1  # of zstd: level 3 saves 1 % of the bytes and costs a third of the speed

#: Of the schema metadata: a column's time unit in the frame, where the file keeps a coarser one.
UNIT = "unit:"

_UNITS: tuple[TimeUnit, ...] = ("ms", "us", "ns")
_PER = {"ms": 1_000_000, "us": 1_000, "ns": 1}

DELTA, SPLIT = "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"
#: What a column of integers may be kept as, the cheapest to write and read first.
_KINDS = ((DELTA, "none"), (DELTA, "zstd"), (SPLIT, "zstd"))
#: Bytes a value that a dearer kind has to save. Compression costs a third of the reading speed.
_WORTH = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """How the columns of a file are kept.

    Parameters
    ----------
    units : mapping
        Time units of the columns whose stamps the file keeps in a coarser one than the frame.
    encodings, compressions : mapping
        By column; without an encoding Parquet's own: a dictionary as long as that pays.
    sought : tuple of str
        Columns with statistics: what rows are looked for by.
    about : mapping
        The schema metadata.
    """

    units: Mapping[str, TimeUnit]
    encodings: Mapping[str, str]
    compressions: Mapping[str, str]
    sought: tuple[str, ...]
    about: Mapping[str, str]


def encode(frame: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    """Parquet bytes of a frame; equal frames and words give equal bytes.

    Stamps are kept in the coarsest of ms, us and ns that is exact. Integers are kept as packed
    deltas, compressed or not, or as compressed byte streams, whichever pays on the first rows.

    Parameters
    ----------
    frame : DataFrame
        Sorted; unsorted rows cost twice the bytes.
    about : mapping
        Kept in the schema metadata.
    """
    stamps = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    parts = [frame.slice(at, PART) for at in range(0, max(frame.height, 1), PART)]
    sink = io.BytesIO()
    file = Joined(sink)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        units = {
            name: finest(threads.map(coarsest, [part[name] for part in parts])) for name in stamps
        }
        how = layout(frame.head(TRIAL), units, about)
        for part in threads.map(lambda rows: encode_part(rows, how), parts):
            file.append(part)
    file.close()
    return sink.getvalue()


def layout(sample: pl.DataFrame, units: Mapping[str, TimeUnit], about: Mapping[str, str]) -> Layout:
    """Decide on the encodings of a file.

    Parameters
    ----------
    sample : DataFrame
        Its first rows; of more than `TRIAL` the rest is not looked at.
    units : mapping
        `coarsest` of each column of stamps, over all rows.
    about : mapping
        Kept in the schema metadata.
    """
    finer = {name: unit for name, unit in units.items() if unit != _unit(sample.schema[name])}
    told = {key: str(value) for key, value in about.items()}
    told |= {f"{UNIT}{name}": _unit(sample.schema[name]) for name in finer}
    whole = [name for name, kind in sample.schema.items() if kind.is_integer() or name in units]
    encodings, compressions = {}, dict.fromkeys(sample.columns, "zstd")
    for name in whole:
        encodings[name], compressions[name] = _best(sample.select(name).head(TRIAL), finer)
    sought = tuple(name for name in sample.columns if name in units or name == "id")
    return Layout(finer, encodings, compressions, sought, dict(sorted(told.items())))


def encode_part(frame: pl.DataFrame, how: Layout) -> bytes:
    """Some rows as a Parquet file of their own, to be joined with the others."""
    import pyarrow.parquet as pq

    kept = frame.with_columns(pl.col(name).dt.cast_time_unit(u) for name, u in how.units.items())
    table = kept.to_arrow().replace_schema_metadata(dict(how.about))
    compressed = [name for name, codec in how.compressions.items() if codec == "zstd"]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression=dict(how.compressions),
        compression_level=dict.fromkeys(compressed, _LEVEL),
        use_dictionary=[name for name in frame.columns if name not in how.encodings],
        column_encoding=dict(how.encodings),
        row_group_size=ROW_GROUP,
        write_batch_size=_BATCH,
        write_statistics=list(how.sought),
        write_page_checksum=True,
        version="2.6",
    )
    return sink.getvalue()


def decode(content: Any) -> pl.DataFrame:
    """The frame that was encoded, its time units restored; every page's checksum is verified.

    Parameters
    ----------
    content : bytes, or a buffer such as a memory map

    Raises
    ------
    OSError
        When these are not the bytes of a Parquet file, or a page was damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        told = {
            key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()
        }
        frame = pl.from_arrow(table, rechunk=False)
        assert isinstance(frame, pl.DataFrame)
        return restore(frame, told)
    except (pa.ArrowException, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise OSError(f"not the Parquet file that was written: {error}") from None


def read_ticks(path: Path | str) -> pl.DataFrame:
    """One cold file as a person wants it: prices and sizes as exact decimals.

    Returns
    -------
    DataFrame
        As the file has it, `price` and `size` as Decimal of the scales in its schema metadata.
    """
    told = pl.read_parquet_metadata(path)
    frame = restore(pl.read_parquet(path, hive_partitioning=False), told)
    return frame.with_columns(
        _decimal(frame[name], int(told[f"{name}_scale"])) for name in ("price", "size")
    )


def restore(frame: pl.DataFrame, told: Mapping[str, str]) -> pl.DataFrame:
    """Give stamps back the unit that they had before `encode`."""
    return frame.with_columns(
        pl.col(key.removeprefix(UNIT)).dt.cast_time_unit(unit)  # type: ignore[arg-type]
        for key, unit in told.items()
        if key.startswith(UNIT) and key.removeprefix(UNIT) in frame.columns
    )


def coarsest(stamps: pl.Series) -> TimeUnit:
    """The coarsest unit, not coarser than ms, in which every stamp is exact."""
    own = _unit(stamps.dtype)
    for unit in _UNITS:
        per = _PER[unit] // _PER[own]
        if per <= 1:
            break
        # Most columns that are too fine show it at once.
        if not any((part.to_physical() % per != 0).any() for part in (stamps.head(64), stamps)):
            return unit
    return own


def finest(units: Iterable[TimeUnit]) -> TimeUnit:
    """What `coarsest` says of a whole, from what it says of its parts."""
    return max(units, key=_UNITS.index)


def _best(column: pl.DataFrame, units: Mapping[str, TimeUnit]) -> tuple[str, str]:
    """The cheapest kind, unless a dearer one saves what it is worth."""
    (name,) = column.columns
    own = {key: unit for key, unit in units.items() if key == name}
    best, least = _KINDS[0], float("inf")
    for kind in _KINDS:
        size = len(encode_part(column, Layout(own, {name: kind[0]}, {name: kind[1]}, (), {})))
        if least - size > _WORTH * column.height:
            best, least = kind, size
    return best


def _decimal(values: pl.Series, scale: int) -> pl.Series:
    # Built through Arrow on the integers' own bits: never by way of a float.
    import numpy as np
    import pyarrow as pa

    low = values.to_numpy()
    pairs = np.empty((len(low), 2), "<i8")
    pairs[:, 0], pairs[:, 1] = low, low >> 63
    kind = pa.decimal128(38, scale)
    array = pa.Array.from_buffers(kind, len(low), [None, pa.py_buffer(pairs.tobytes())])
    return pl.Series(values.name, array)


def _unit(kind: pl.DataType) -> TimeUnit:
    assert isinstance(kind, pl.Datetime)
    return kind.time_unit
