"""A frame as compact, exact Parquet bytes, and back: the smaller of two encodings a column."""

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl

TimeUnit = Literal["ns", "us", "ms"]

#: Rows of a row group: a time slice reads the few whose statistics overlap it.
ROW_GROUP = 131_072
#: Rows on which a column's two encodings are compared.
_TRIAL = 16_384
_BATCH = 65_536  # values handed to an encoder at once; the default of 1,024 costs a quarter
_LEVEL = 1  # of zstd: level 3 saves 1 % of the bytes and costs a third of the speed

#: Of the schema metadata: a column's time unit in the frame, where the file keeps a coarser one.
UNIT = "unit:"


def encode(frame: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    """Parquet bytes of a frame; equal frames and words give equal bytes.

    Stamps are kept in the coarsest of ms, us and ns that is exact and
    delta-encoded. Other integers take a dictionary or deltas, whichever is smaller on the first
    rows: prices and sizes repeat, ids count up.

    Parameters
    ----------
    frame : DataFrame
        Sorted; unsorted rows cost twice the bytes.
    about : mapping
        Kept in the schema metadata.
    """
    import pyarrow as pa

    units = {
        name: unit
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.Datetime) and (unit := _coarsest(frame[name])) != kind.time_unit
    }
    kept = frame.with_columns(pl.col(name).dt.cast_time_unit(unit) for name, unit in units.items())
    told = {key: str(value) for key, value in about.items()}
    told |= {f"{UNIT}{name}": _unit(frame.schema[name]) for name in units}
    table = kept.to_arrow().replace_schema_metadata(dict(sorted(told.items())))
    deltas = {field.name for field in table.schema if _deltas_win(pa, table, field)}
    words = {field.name for field in table.schema if not _plain(pa, field)} - deltas
    dense = {name for name in table.column_names if not _zstd_wins(table, name, words, deltas)}
    return _bytes(table, words, deltas, dense)


def decode(content: bytes) -> pl.DataFrame:
    """The frame that was encoded, its time units restored.

    Raises
    ------
    polars.exceptions.PolarsError, OSError
        When these are not the bytes of a Parquet file.
    """
    return restore(
        pl.read_parquet(io.BytesIO(content), hive_partitioning=False),
        pl.read_parquet_metadata(io.BytesIO(content)),
    )


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


def _plain(pa: Any, field: Any) -> bool:
    kinds = (pa.types.is_floating, pa.types.is_boolean, pa.types.is_nested)
    return any(kind(field.type) for kind in kinds)


def _unit(kind: pl.DataType) -> TimeUnit:
    assert isinstance(kind, pl.Datetime)
    return kind.time_unit


def _coarsest(stamps: pl.Series) -> TimeUnit:
    unit = _unit(stamps.dtype)
    steps: tuple[tuple[TimeUnit, dict[str, int]], ...] = (
        ("ms", {"ns": 1_000_000, "us": 1_000}),
        ("us", {"ns": 1_000}),
    )
    for coarser, per in steps:
        if unit in per and not (stamps.to_physical() % per[unit] != 0).any():
            return coarser
    return unit


def _deltas_win(pa: Any, table: Any, field: Any) -> bool:
    if pa.types.is_timestamp(field.type):
        return True
    if not pa.types.is_integer(field.type):
        return False
    name = {field.name}
    trial = table.select(list(name)).slice(0, _TRIAL)
    return len(_bytes(trial, set(), name)) < len(_bytes(trial, name, set()))


def _zstd_wins(table: Any, name: str, words: set[str], deltas: set[str]) -> bool:
    """Whether it saves a tenth: packed deltas of noise only cost time to compress and expand."""
    trial = table.select([name]).slice(0, _TRIAL)
    if trial.num_rows < _TRIAL:
        return True
    how = (words & {name}, deltas & {name})
    return len(_bytes(trial, *how)) < 0.9 * len(_bytes(trial, *how, {name}))


def _bytes(table: Any, words: set[str], deltas: set[str], dense: Collection[str] = ()) -> bytes:
    import pyarrow.parquet as pq

    packed = [name for name in table.column_names if name not in dense]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression={name: "none" if name in dense else "zstd" for name in table.column_names},
        compression_level=dict.fromkeys(packed, _LEVEL),
        use_dictionary=sorted(words),
        column_encoding=dict.fromkeys(sorted(deltas), "DELTA_BINARY_PACKED"),
        row_group_size=ROW_GROUP,
        write_batch_size=_BATCH,
        write_page_index=True,
        version="2.6",
    )
    return sink.getvalue()
