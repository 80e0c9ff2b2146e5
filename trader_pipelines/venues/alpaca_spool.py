"""Pages of a day on disk while it is being fetched, so that a failure keeps what came before it."""

import os
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from trader_pipelines.venues.alpaca_rows import Row

_SCHEMA = pl.Schema(
    {
        "ts_event": pl.Int64(),
        "place": pl.String(),
        "number": pl.Int64(),
        "update": pl.String(),
        "price": pl.Int64(),
        "size": pl.Int64(),
        "side": pl.Int64(),
    }
)


def folder(spool: Path, venue: str, symbol: str, day: date) -> Path:
    """Where the pages of a symbol's day lie."""
    return spool / venue / symbol.replace("/", "-") / day.isoformat()


def keep(place: Path, page: Sequence[Row]) -> None:
    """Write a page after those that are there: whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{len(list(place.glob('*.parquet'))):06d}.parquet"
    part = path.with_suffix(".part")
    pl.DataFrame(page, schema=_SCHEMA, orient="row").write_parquet(part)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)


def kept(place: Path) -> list[Row]:
    """Rows of all pages that are there, in the venue's order."""
    pages = sorted(place.glob("*.parquet"))
    return [Row(*values) for page in pages for values in pl.read_parquet(page).iter_rows()]


def forget(place: Path) -> None:
    """Remove the pages: the day is whole, or is to be fetched anew."""
    shutil.rmtree(place, ignore_errors=True)
