"""Files of the first layout stay readable, and are rewritten one by one until none is left."""

import hashlib
from dataclasses import replace
from pathlib import Path

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import ChecksumError, SchemaVersionError
from trader_pipelines.stores import datasets, manifest
from trader_pipelines.stores.cold.encoding import read_ticks
from trader_pipelines.stores.cold.migrate import migrate
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines.stores.datasets import Key
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, freeze, trades

KEYS = [Key("cold_ticks", "binance", "BTCUSDT", day) for day in DAYS]


def first_layout(auto: psycopg.Connection, root: Path) -> list[Path]:
    """Cold days as the first version wrote them: nanoseconds, deltas throughout."""
    import pyarrow.parquet as pq

    paths = []
    for day in DAYS:
        entry = freeze(auto, root, BTC, day, trades(day))
        about = {"price_scale": "2", "size_scale": "3", "source": "a tape"}
        table = trades(day).to_arrow().replace_schema_metadata(about)
        encodings = dict.fromkeys(table.column_names, "DELTA_BINARY_PACKED")
        pq.write_table(
            table,
            root / entry.path,
            compression="zstd",
            use_dictionary=[],
            column_encoding=encodings,
        )
        content = (root / entry.path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        changed = replace(entry, schema_version=1, bytes=len(content), sha256=digest)
        manifest.put_dataset(auto, changed)
        paths.append(root / entry.path)
    return paths


def versions(auto: psycopg.Connection) -> list[int]:
    return [entry.schema_version for entry in manifest.get_datasets(auto, "cold_ticks", "binance")]


def test_first_layout_is_readable_and_migrates_once(auto: psycopg.Connection, tmp_path: Path):
    first_layout(auto, tmp_path)
    assert [datasets.get(auto, tmp_path, key)[0].equals(trades(key.day)) for key in KEYS] == [
        True
    ] * 3
    rewritten: list[Key] = []
    assert migrate(auto, tmp_path, "cold_ticks", "binance", told=rewritten.append) == 3
    assert rewritten == KEYS
    assert migrate(auto, tmp_path, "cold_ticks", "binance") == 0
    assert versions(auto) == [2, 2, 2]
    assert verify(auto, tmp_path) == []
    for key in KEYS:
        frame, entry = datasets.get(auto, tmp_path, key)
        assert frame.equals(trades(key.day))
        told = pl.read_parquet_metadata(tmp_path / entry.path)
        assert (told["source"], told["schema_version"]) == ("a tape", "2")
        assert read_ticks(tmp_path / entry.path).height == frame.height


def test_migration_stopped_anywhere_goes_on(auto: psycopg.Connection, tmp_path: Path):
    first_layout(auto, tmp_path)

    def stop(key: Key) -> None:
        raise KeyboardInterrupt

    for left in (2, 1, 0):
        with pytest.raises(KeyboardInterrupt):
            migrate(auto, tmp_path, "cold_ticks", "binance", told=stop)
        assert versions(auto).count(1) == left
        assert verify(auto, tmp_path) == []
    assert migrate(auto, tmp_path, "cold_ticks", "binance") == 0


def test_migration_refuses_a_changed_file_and_keeps_it(auto: psycopg.Connection, tmp_path: Path):
    paths = first_layout(auto, tmp_path)
    content = bytearray(paths[1].read_bytes())
    content[100] ^= 1
    paths[1].write_bytes(content)
    with pytest.raises(ChecksumError, match=paths[1].name):
        migrate(auto, tmp_path, "cold_ticks", "binance")
    assert versions(auto) == [2, 1, 1]
    assert paths[1].read_bytes() == content


def test_migration_refuses_a_file_of_the_future(auto: psycopg.Connection, tmp_path: Path):
    first_layout(auto, tmp_path)
    auto.execute("update datasets set schema_version = 3")
    with pytest.raises(SchemaVersionError, match="layout 3"):
        migrate(auto, tmp_path, "cold_ticks", "binance")
