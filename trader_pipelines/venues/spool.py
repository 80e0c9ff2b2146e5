"""Pages of a day on disk while it is being fetched, so that a failure keeps what came before it."""

import contextlib
import errno
import io
import os
import shutil
import threading
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from trader_pipelines.core.errors import DiskFullError, TraderError
from trader_pipelines.core.instruments import Instrument


@dataclass(frozen=True, slots=True)
class Spool:
    """The pages of one day. Two that fetch it at once write the same pages under the same names.

    Parameters
    ----------
    place : Path
        A folder of its own, named by all that the pages depend on.
    """

    place: Path

    def keep(self, first: int, page: pl.DataFrame) -> None:
        """Write the page that begins with an id: whole or not at all.

        Raises
        ------
        DiskFullError
        TraderError
            When this user may not write there.
        """
        path = self.place / f"{first:020d}.parquet"
        part = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        content = io.BytesIO()
        page.write_parquet(content)
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise _refused(error, path) from None

    def kept(self, schema: pl.Schema) -> pl.DataFrame:
        """Rows of all pages by first id; none when one cannot be read, or is of another schema."""
        try:
            pages = [pl.read_parquet(page) for page in sorted(self.place.glob("*.parquet"))]
        except (OSError, pl.exceptions.PolarsError):
            pages = [pl.DataFrame()]
        if all(page.schema == schema for page in pages):
            return pl.concat([schema.to_frame(), *pages])
        self.forget()
        return schema.to_frame()

    def forget(self) -> None:
        """Remove the pages: the day is whole."""
        shutil.rmtree(self.place, ignore_errors=True)


def day_spool(folder: Path, instrument: Instrument, day: date) -> Spool:
    """Where the pages of an instrument's day wait, apart for each grid that they may lie on."""
    grid = f"{instrument.price_scale}-{instrument.size_scale}"
    return Spool(folder / instrument.venue / instrument.symbol / f"{day}_{grid}")


def _refused(error: OSError, path: Path) -> TraderError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(
            f"no room to write: {error.strerror}",
            where=str(path),
            remedy="free room on that disk, or move TRADER_HOME; the pages before this one are "
            "kept, run the partition again",
            retry=True,
        )
    return TraderError(
        f"pages of a day cannot be kept: {error.strerror}",
        where=str(path),
        remedy="give this user the right to write there, or set TRADER_HOME elsewhere",
    )
