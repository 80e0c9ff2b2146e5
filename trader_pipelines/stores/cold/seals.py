"""Seals: hashes of a file's footer and column chunks, so that a slice is proven as it is read.

The manifest holds them, as it holds the hash of the whole file. Parquet's own page checksums leave
out the page headers and the footer; here whatever is decoded was compared first.

Text: the footer's offset, a colon, and 16 hex digits of SHA-256 each for the footer (to the end of
the file) and for every column chunk, by row group and column.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from trader_pipelines.core.errors import ChecksumError, DamagedFileError
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.backend import Backend, Span

_DIGITS = 16
_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000}


@dataclass(frozen=True, slots=True)
class Slice:
    """Which rows and columns of a file of trades are wanted.

    Parameters
    ----------
    start, end : int
        Nanoseconds of `ts_event`, half-open.
    ids : (int, int) or None
        First and last id, both included.
    columns : sequence of str
    """

    start: int
    end: int
    ids: tuple[int, int] | None
    columns: Sequence[str]

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """These rows and columns of a frame of trades."""
        stamps = pl.col("ts_event").to_physical()
        kept = frame.filter(stamps >= self.start, stamps < self.end)
        if self.ids is not None:
            kept = kept.filter(pl.col("id").is_between(*self.ids))
        return kept.select(self.columns)


def seal(content: bytes) -> str:
    """Seals of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    view = memoryview(content)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    told = pq.read_metadata(pa.BufferReader(content))
    spans = [(footer, len(content)), *(span for _, _, span in _chunks(told))]
    return f"{footer}:" + "".join(_digits(view[start:end]) for start, end in spans)


def read(store: Backend, path: str, size: int, seals: str, wanted: Slice) -> pl.DataFrame:
    """A slice of a sealed file of trades; only its footer and the chunks needed are fetched.

    Parameters
    ----------
    size : int
        Bytes of the file, as the manifest has it.

    Raises
    ------
    ChecksumError
        When anything that was fetched is not what was written.
    MissingDataError, DamagedFileError
        Naming the file.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    offset, _, digits = seals.partition(":")
    hashes = [digits[n : n + _DIGITS] for n in range(0, len(digits), _DIGITS)]
    footer = int(offset)
    (tail,) = store.get_spans(path, [(footer, size)])
    _compare(store, path, [tail], hashes[:1])
    told = pq.read_metadata(pa.BufferReader(tail))
    schema = told.schema.to_arrow_schema()
    if absent := ({"ts_event", "id", *wanted.columns} - set(schema.names)):
        raise foreign(store.where(path), f"it has no {', '.join(sorted(absent))}")
    if not pa.types.is_timestamp(schema.field("ts_event").type):
        raise foreign(store.where(path), "its ts_event is no stamp")
    unit = _NS[schema.field("ts_event").type.unit]
    groups, cut = _groups(told, schema.names, unit, wanted)
    names = [*dict.fromkeys((*wanted.columns, *(("ts_event", "id") if cut else ())))]
    needed = [
        (span, mark)
        for (group, name, span), mark in zip(_chunks(told), hashes[1:], strict=True)
        if group in groups and name in names
    ]
    spans = [span for span, _ in needed]
    parts = store.get_spans(path, spans) if spans else []
    _compare(store, path, parts, [mark for _, mark in needed])
    # A file with holes where nothing is read; memory is taken only where something is put.
    sparse = np.zeros(size, np.uint8)
    for (start, end), part in zip(spans, parts, strict=True):
        sparse[start:end] = np.frombuffer(part, np.uint8)
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(sparse)), metadata=told)
        table = file.read_row_groups(groups, columns=names)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(store.where(path), error) from None
    kept = {key.decode(): value.decode() for key, value in (told.metadata or {}).items()}
    kept.pop("ARROW:schema", None)
    frame = pl.from_arrow(table.replace_schema_metadata(None))
    assert isinstance(frame, pl.DataFrame)
    restored = encoding.restore(frame.select(names), kept)
    return wanted.of(restored) if cut else restored.select(wanted.columns)


def foreign(where: str, why: str) -> DamagedFileError:
    return DamagedFileError(
        f"not a file of trades: {why}",
        where=where,
        remedy="run `trader cold verify`, then materialize its partition again",
    )


def unreadable(where: str, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"not readable as Parquet: {error}",
        where=where,
        remedy="run `trader cold verify`, then materialize its partition again",
    )


def _groups(told: Any, names: Sequence[str], unit: int, wanted: Slice) -> tuple[list[int], bool]:
    """Row groups that can hold wanted rows, and whether any holds others as well."""
    bounds: list[tuple[str, int, int]] = [("ts_event", wanted.start, wanted.end - 1)]
    scale = {"ts_event": unit, "id": 1}
    if wanted.ids is not None:
        bounds.append(("id", *wanted.ids))
    chosen, cut = [], False
    for group in range(told.num_row_groups):
        about = told.row_group(group)
        inside = True
        for name, low, high in bounds:
            stats = about.column(names.index(name)).statistics
            if stats is None or not stats.has_min_max:
                inside = False
                continue
            least, most = stats.min_raw * scale[name], stats.max_raw * scale[name]
            if most < low or least > high:
                break
            inside = inside and low <= least and most <= high
        else:
            chosen.append(group)
            cut = cut or not inside
    return chosen, cut


def _chunks(told: Any) -> Iterator[tuple[int, str, Span]]:
    for group in range(told.num_row_groups):
        about = told.row_group(group)
        for number in range(told.num_columns):
            column = about.column(number)
            start = column.data_page_offset
            if column.dictionary_page_offset is not None:
                start = min(start, column.dictionary_page_offset)
            yield group, column.path_in_schema, (start, start + column.total_compressed_size)


def _compare(store: Backend, path: str, parts: Collection[bytes], marks: Sequence[str]) -> None:
    if any(_digits(part) != mark for part, mark in zip(parts, marks, strict=True)):
        raise ChecksumError(
            "the file's content has changed since it was written",
            where=store.where(path),
            remedy="restore it, or materialize its partition again",
        )


def _digits(part: bytes | memoryview) -> str:
    return hashlib.sha256(part).hexdigest()[:_DIGITS]
