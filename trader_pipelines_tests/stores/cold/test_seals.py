"""A flipped bit, anywhere in a file: the right rows, or an error that names the file."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.errors import ChecksumError, DamagedFileError
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import manifest
from trader_pipelines.stores.cold import encoding, seals
from trader_pipelines.stores.cold.backend import Backend, Disk
from trader_pipelines.stores.cold.seals import Slice
from trader_pipelines.stores.cold.ticks import ticks
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, START, freeze, ingest, trades

ROWS = 2 * encoding.ROW_GROUP + 1_000
FRAME = trades(DAYS[0], ROWS)
CONTENT = encoding.encode(FRAME, {"price_scale": "2", "size_scale": "3"})
SEALS = seals.seal(CONTENT)
FIRST = int(FRAME["ts_event"].to_physical()[0])
LAST = int(FRAME["ts_event"].to_physical()[-1])

COLUMNS = st.lists(st.sampled_from(TRADES.names()), min_size=1, max_size=6, unique=True)
STAMPS = st.integers(FIRST - 10**9, LAST + 10**9)
IDS = st.none() | st.tuples(*[st.integers(FRAME["id"][0] - 5, FRAME["id"][-1] + 5)] * 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return Disk(tmp_path_factory.mktemp("sealed"))


def read(store: Backend, wanted: Slice, sealed: str = SEALS) -> pl.DataFrame:
    return seals.read(store, "day.parquet", len(CONTENT), sealed, wanted)


@settings(max_examples=60, deadline=None)
@given(columns=COLUMNS, start=STAMPS, end=STAMPS, ids=IDS)
def test_sealed_slice_of_a_sound_file_is_exact(
    store: Disk, columns: list[str], start: int, end: int, ids: tuple[int, int] | None
):
    store.replace("day.parquet", CONTENT)
    stamps = pl.col("ts_event").to_physical()
    expected = FRAME.filter(stamps >= start, stamps < end)
    if ids is not None:
        expected = expected.filter(pl.col("id") >= ids[0], pl.col("id") <= ids[1])
    found = read(store, Slice(start, end, ids, columns))
    assert found.schema == expected.select(columns).schema
    assert found.equals(expected.select(columns))


@settings(max_examples=300, deadline=None)
@given(
    at=st.integers(0, len(CONTENT) - 1),
    bit=st.integers(0, 7),
    columns=COLUMNS,
    start=STAMPS,
    end=STAMPS,
)
def test_sealed_slice_of_a_file_with_a_flipped_bit_is_right_or_refused(
    store: Disk, at: int, bit: int, columns: list[str], start: int, end: int
):
    spoiled = bytearray(CONTENT)
    spoiled[at] ^= 1 << bit
    store.replace("day.parquet", bytes(spoiled))
    stamps = pl.col("ts_event").to_physical()
    expected = FRAME.filter(stamps >= start, stamps < end).select(columns)
    try:
        right = read(store, Slice(start, end, None, columns)).equals(expected)
    except ChecksumError as error:
        right = error.where == store.where("day.parquet")
    assert right


def test_each_byte_that_a_slice_reads_is_guarded(store: Disk):
    """Every byte of the footer and of the chunks read, and no other, refuses the slice."""
    wanted = Slice(FIRST, LAST + 1, None, ["price", "side"])
    told = encoding_metadata()
    read_from = [span for _, name, span in seals._chunks(told) if name in {"price", "side"}] + [
        (int(SEALS.partition(":")[0]), len(CONTENT))
    ]
    draw = random.Random(7)
    refused = 0
    for at in draw.sample(range(len(CONTENT)), 400):
        spoiled = bytearray(CONTENT)
        spoiled[at] ^= 1 << draw.randrange(8)
        store.replace("day.parquet", bytes(spoiled))
        if any(start <= at < end for start, end in read_from):
            refused += 1
            with pytest.raises(ChecksumError):
                read(store, wanted)
        else:
            assert read(store, wanted).equals(FRAME.select("price", "side"))
    assert 0 < refused < 400


def encoding_metadata() -> object:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_metadata(pa.BufferReader(CONTENT))


def test_seals_of_another_file_are_refused(store: Disk):
    store.replace("day.parquet", CONTENT)
    other = seals.seal(encoding.encode(FRAME.with_columns(pl.col("price") + 1), {}))
    with pytest.raises(ChecksumError, match=r"day\.parquet"):
        read(store, Slice(FIRST, LAST, None, ["price"]), other)


def test_slice_between_the_rows_is_empty(store: Disk):
    store.replace("day.parquet", CONTENT)
    found = read(store, Slice(FIRST + 1, FIRST + 2, None, ["price", "ts_event"]))
    assert found.is_empty()
    assert found.schema == FRAME.select("price", "ts_event").schema
    assert read(store, Slice(LAST + 1, LAST + 2, None, ["id"])).is_empty()


def test_empty_day_is_sealed_and_read(store: Disk):
    content = encoding.encode(TRADES.to_frame(), {})
    store.replace("empty.parquet", content)
    found = seals.read(
        store, "empty.parquet", len(content), seals.seal(content), Slice(0, 10**18, None, ["id"])
    )
    assert found.equals(TRADES.to_frame().select("id"))


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "older"])
@pytest.mark.parametrize("columns", [["price"], list(TRADES)], ids=["slice", "whole"])
def test_ticks_of_a_file_with_a_flipped_bit_are_right_or_refused(
    auto: psycopg.Connection, tmp_path: Path, columns: list[str], sealed: bool
):
    frame = trades(DAYS[0], 20_000)
    ingest(auto, BTC, DAYS[0], frame)
    entry = freeze(auto, tmp_path, BTC, DAYS[0], frame)
    if not sealed:
        manifest.put_dataset(auto, replace(entry, seals=None))
    content = (tmp_path / entry.path).read_bytes()
    half = START + timedelta(hours=12)
    outcomes = set()
    draw = random.Random(11)
    for at in [0, 3, len(content) - 1, *draw.sample(range(len(content)), 150)]:
        spoiled = bytearray(content)
        spoiled[at] ^= 1 << draw.randrange(8)
        (tmp_path / entry.path).write_bytes(bytes(spoiled))
        outcomes.add(outcome(auto, tmp_path, columns, half, frame))
    # Of a file without seals, and of a whole one, no bit goes unseen.
    some = sealed and columns == ["price"]
    assert outcomes == ({"right", "refused"} if some else {"refused"})


def outcome(
    auto: psycopg.Connection, root: Path, columns: list[str], half: datetime, frame: pl.DataFrame
) -> str:
    start = START if len(columns) == len(TRADES) else half
    expected = frame.filter(pl.col("ts_event") >= start).select(columns)
    try:
        found = ticks(auto, root, [BTC], start, START + timedelta(days=1), columns=columns)
    except DamagedFileError as error:
        return "refused" if "day=2024-01-01" in error.where else str(error)
    return "right" if found.drop("symbol").equals(expected) else "wrong"
