"""Files of the first layout stay readable, and are rewritten one by one until none is left."""

import io

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import ChecksumError, SchemaVersionError
from trader_pipelines.stores import datasets, manifest
from trader_pipelines.stores.cold.backend import Backend
from trader_pipelines.stores.cold.migrate import migrate
from trader_pipelines.stores.cold.ticks import ticks
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines.stores.datasets import Key
from trader_pipelines_tests.stores.cold.made import (
    BTC,
    DAYS,
    END,
    START,
    first_layout,
    freeze,
    trades,
)

KEYS = [Key("cold_ticks", "binance", "BTCUSDT", day) for day in DAYS]


def older(auto: psycopg.Connection, store: Backend) -> list[str]:
    """Cold days of the first layout."""
    entries = [freeze(auto, store, BTC, day, trades(day)) for day in DAYS]
    return [first_layout(auto, store, entry) for entry in entries]


def versions(auto: psycopg.Connection) -> list[int]:
    return [entry.schema_version for entry in manifest.get_datasets(auto, "cold_ticks", "binance")]


def test_first_layout_is_readable_and_migrates_once(auto: psycopg.Connection, store: Backend):
    older(auto, store)
    assert [datasets.get(auto, store, key)[0].equals(trades(key.day)) for key in KEYS] == [True] * 3
    rewritten: list[Key] = []
    assert migrate(auto, store, "cold_ticks", "binance", told=rewritten.append) == 3
    assert rewritten == KEYS
    assert migrate(auto, store, "cold_ticks", "binance") == 0
    assert versions(auto) == [datasets.SCHEMA_VERSION] * 3
    assert len(store.names()) == 3
    assert verify(auto, store) == []
    for key in KEYS:
        frame, entry = datasets.get(auto, store, key)
        assert frame.equals(trades(key.day))
        assert entry.seals is not None
        told = pl.read_parquet_metadata(io.BytesIO(store.get(entry.path)))
        assert told["source"] == "a tape"
        assert told["schema_version"] == str(datasets.SCHEMA_VERSION)
        found = ticks(auto, store, [BTC], START, END, columns=["price"])
        assert found.height == 3_000


def test_migration_stopped_anywhere_goes_on(auto: psycopg.Connection, store: Backend):
    older(auto, store)

    def stop(key: Key) -> None:
        raise KeyboardInterrupt

    for left in (2, 1, 0):
        with pytest.raises(KeyboardInterrupt):
            migrate(auto, store, "cold_ticks", "binance", told=stop)
        assert versions(auto).count(1) == left
        assert verify(auto, store) == []
    assert migrate(auto, store, "cold_ticks", "binance") == 0


def test_migration_refuses_a_changed_file_and_keeps_it(auto: psycopg.Connection, store: Backend):
    paths = older(auto, store)
    content = bytearray(store.get(paths[1]))
    content[100] ^= 1
    store.replace(paths[1], bytes(content))
    with pytest.raises(ChecksumError) as caught:
        migrate(auto, store, "cold_ticks", "binance")
    assert caught.value.where == store.where(paths[1])
    assert versions(auto) == [datasets.SCHEMA_VERSION, 1, 1]
    assert store.get(paths[1]) == content


def test_migration_refuses_a_file_of_the_future(auto: psycopg.Connection, store: Backend):
    older(auto, store)
    future = datasets.SCHEMA_VERSION + 1
    auto.execute("update datasets set schema_version = %s", (future,))
    with pytest.raises(SchemaVersionError, match=f"layout {future}"):
        migrate(auto, store, "cold_ticks", "binance")
