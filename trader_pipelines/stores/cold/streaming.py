"""A day of any length in flat memory: spooled by column, hashed, encoded and proven in pieces."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import polars as pl

from trader_pipelines.core.errors import DamagedFileError
from trader_pipelines.core.trades import TRADES, hash_columns
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.joining import Joined
from trader_pipelines.stores.files import disk_errors

#: Values of a column held at once; 2 MB of the widest.
_PIECE = 1 << 18
_FINENESS: tuple[encoding.TimeUnit, ...] = ("ms", "us", "ns")
_KINDS: dict[str, np.dtype[Any]] = {name: np.dtype("i8") for name in TRADES}
_KINDS |= {"side": np.dtype("i1"), "fills": np.dtype("i4")}


class Spool:
    """Trades on disk, a column a file without a name: a process that dies leaves nothing behind.

    Parameters
    ----------
    folder : Path
        In whose file system they lie.
    files : mapping of str to file
        Empty, one for each column of `TRADES`.
    sink : file
        Empty, where they are encoded to.
    """

    def __init__(self, folder: Path, files: Mapping[str, BinaryIO], sink: BinaryIO) -> None:
        self.rows = 0
        self._folder = folder
        self._files = files
        self._sink = sink
        self._unit: encoding.TimeUnit = "ms"

    def add(self, chunk: pl.DataFrame) -> None:
        """Append rows of schema `TRADES`.

        Raises
        ------
        DiskFullError
        """
        with disk_errors(self._folder):
            for name, file in self._files.items():
                file.write(chunk[name].to_physical().to_numpy().tobytes())
                file.flush()
        self.rows += chunk.height
        self._unit = max(self._unit, encoding.coarsest(chunk["ts_event"]), key=_FINENESS.index)

    def content_hash(self) -> str:
        """`core.trades.content_hash` of all rows."""
        return hash_columns(self.rows, (self._column(name, _PIECE) for name in TRADES))

    def frames(self, rows: int) -> Iterator[pl.DataFrame]:
        """All rows, so many at a time; one empty frame where there are none."""
        if not self.rows:
            yield TRADES.to_frame()
        columns = [self._column(name, rows) for name in TRADES]
        for pieces in zip(*columns, strict=True):
            yield pl.DataFrame(dict(zip(TRADES, pieces, strict=True))).cast(TRADES)

    def encode(self, about: Mapping[str, str]) -> bytes:
        """The bytes that `encoding.encode` gives for all rows in one frame.

        Raises
        ------
        DiskFullError
        """
        with disk_errors(self._folder):
            file = Joined(self._sink)
            parts = self.frames(encoding.PART)
            first = next(parts)
            how = encoding.layout(first, {"ts_event": self._unit}, about)
            for part in chain([first], parts):
                file.append(encoding.encode_part(part, how))
            file.close()
            self._sink.seek(0)
            return self._sink.read()

    def _column(self, name: str, rows: int) -> Iterator[np.ndarray]:
        kind = _KINDS[name]
        size = rows * kind.itemsize
        for offset in range(0, self.rows * kind.itemsize, size):
            yield np.frombuffer(os.pread(self._files[name].fileno(), size, offset), kind)


@contextmanager
def spooled(chunks: Iterable[pl.DataFrame], folder: Path) -> Iterator[Spool]:
    """Trades in a folder's file system, 37 bytes each, for as long as the context lasts.

    Parameters
    ----------
    chunks : iterable of DataFrame
        Of schema `TRADES`, ascending by id.
    folder : Path
        Made when it is not there.

    Raises
    ------
    DiskFullError
        With nothing left behind.
    """
    with ExitStack() as files:

        def nameless() -> BinaryIO:
            file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
            files.callback(_let_go, file)
            return file

        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            spool = Spool(folder, {name: nameless() for name in TRADES}, nameless())
        for chunk in chunks:
            spool.add(chunk)
        yield spool


def _let_go(file: BinaryIO) -> None:
    # What a full disk did not take would be tried again; nobody needs it any more.
    with suppress(OSError):
        file.close()


def chunks_of(content: bytes, where: str) -> Iterator[pl.DataFrame]:
    """Trades of a file, a row group at a time.

    Parameters
    ----------
    content : bytes
        Of the whole file.
    where : str
        For a person.

    Raises
    ------
    DamagedFileError
        When these are not the bytes of a file of trades.
    """
    file = _File(content, where)
    for group in range(file.groups):
        yield file.read(group, list(TRADES))


def proof(content: bytes, where: str) -> tuple[int, str]:
    """Rows and content hash of a file's trades, read a column of a row group at a time.

    Raises
    ------
    DamagedFileError
        When these are not the bytes of a file of trades.
    """
    file = _File(content, where)

    def column(name: str) -> Iterator[np.ndarray]:
        for group in range(file.groups):
            yield file.read(group, [name])[name].to_physical().to_numpy()

    return file.rows, hash_columns(file.rows, (column(name) for name in TRADES))


class _File:
    """A cold file of trades in memory, still compressed."""

    def __init__(self, content: bytes, where: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._where = where
        try:
            self._file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(f"not readable as Parquet: {error}") from None
        told = self._file.schema_arrow.metadata or {}
        self._told = {key.decode(): value.decode() for key, value in told.items()}
        self.rows: int = self._file.metadata.num_rows
        self.groups: int = self._file.num_row_groups

    def read(self, group: int, names: list[str]) -> pl.DataFrame:
        import pyarrow as pa

        try:
            table: Any = self._file.read_row_group(group, columns=names, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(f"not readable as Parquet: {error}") from None
        frame = encoding.restore(pl.DataFrame(table), self._told)
        if frame.schema != pl.Schema({name: TRADES[name] for name in names}):
            raise self._damaged("not a file of trades: its columns are others")
        return frame.select(names)

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(
            what,
            where=self._where,
            remedy="run `trader cold verify`, then materialize its partition again",
        )
