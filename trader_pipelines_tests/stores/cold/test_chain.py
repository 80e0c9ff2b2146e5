"""The whole way over Azure: commits under faults at every request, the chain, anyone's reader."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import TraderError
from trader_pipelines.stores import datasets
from trader_pipelines.stores.cold import history, orphans
from trader_pipelines.stores.cold.azure import Azure
from trader_pipelines.stores.cold.migrate import migrate
from trader_pipelines.stores.cold.ticks import ticks
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines.stores.datasets import Key
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.stores.cold.azurite import (
    ACCOUNT,
    CONTAINER,
    KEY,
    Fault,
    Faults,
    azure,
    endpoint,
    environment,
    faulty,
    service,
)
from trader_pipelines_tests.stores.cold.made import (
    BTC,
    DAYS,
    END,
    START,
    first_layout,
    freeze,
    ingest,
    thaw,
    trades,
)

OLD, NEW = trades(DAYS[0]), trades(DAYS[0], 1_200, price=5_000_000)

#: A fault that the client, which tries twice here, does not get over.
STAYING: dict[str, Fault] = {
    "conflict": 409,
    "precondition": 412,
    "throttled": 429,
    "unavailable": 503,
    "cut before": "cut before",
    "cut after": "cut after",
    "cut in body": "cut in body",
}


def copy(auto: psycopg.Connection, store: Azure) -> None:
    """A second copy of the same trades in other bytes: the file before is swept."""
    freeze(auto, store, BTC, DAYS[0], NEW, turn="second")


def restate(auto: psycopg.Connection, store: Azure) -> None:
    """Other trades: the file before is kept."""
    freeze(auto, store, BTC, DAYS[0], NEW)


def rewrite(auto: psycopg.Connection, store: Azure) -> None:
    """A file of an older layout, in today's; as the command does, with what killed ones left."""
    migrate(auto, store, "cold_ticks", "binance")
    orphans.sweep(auto, store)


def prepare(auto: psycopg.Connection, store: Azure, work: Callable[..., None]) -> None:
    for table in ("datasets", "dataset_history", "certificates", "certificate_history"):
        auto.execute(f"delete from {table}".encode())
    ingest(auto, BTC, DAYS[0], OLD)
    freeze(auto, store, BTC, DAYS[0], OLD)
    ingest(auto, BTC, DAYS[0], NEW)
    if work is restate:
        return
    entry = freeze(auto, store, BTC, DAYS[0], NEW)
    thaw(auto, DAYS[0])
    if work is rewrite:
        first_layout(auto, store, entry)


def everything(auto: psycopg.Connection, store: Azure) -> pl.DataFrame:
    return ticks(auto, store, [BTC], START, END).drop("symbol")


def cases() -> Iterator[Any]:
    """Each work with each fault; a few of them each time, all of them in the long tests."""
    quick = {(copy, "conflict"), (copy, "cut after"), (restate, "unavailable"),
             (rewrite, "cut in body")}  # fmt: skip
    for work, name in itertools.product((copy, restate, rewrite), STAYING):
        marks = [] if (work, name) in quick else [pytest.mark.long]
        yield pytest.param(work, [STAYING[name]] * 2, id=f"{work.__name__}-{name}", marks=marks)


@pytest.mark.parametrize(("work", "faults"), list(cases()))
def test_commit_with_a_fault_at_any_request_is_whole_and_done_once_more(
    auto: psycopg.Connection, azurite: int, work: Callable[..., None], faults: list[Fault]
):
    def store(port: int = azurite) -> Azure:
        return azure(port, prefix, retries=1)

    prefix = os.urandom(4).hex()
    prepare(auto, store(), work)
    injected = Faults()
    with faulty(azurite, injected) as port:
        work(auto, store(port))
    requests = len(injected.seen)
    told: list[TraderError] = []
    for position in range(requests):
        prefix = os.urandom(4).hex()
        prepare(auto, store(), work)
        injected = Faults([*[0] * position, *faults])
        with faulty(azurite, injected) as port:
            try:
                work(auto, store(port))
            except TraderError as error:
                told.append(error)
            # Whatever happened, a reader finds the day whole.
            assert everything(auto, store()).equals(NEW)
            injected.queue.clear()
            work(auto, store(port))
        assert everything(auto, store()).equals(NEW)
        assert verify(auto, store()) == []
        assert len(store().names()) == 2
        assert [one.rows for one in history.superseded(auto)] == [OLD.height]
    assert len(told) >= 2
    assert all(error.retry and f"az://{CONTAINER}/" in error.where for error in told)


def test_lease_on_a_superseded_blob_fails_the_sweep_and_nothing_else(
    auto: psycopg.Connection, azurite: int
):
    store = azure(azurite, os.urandom(4).hex())
    prepare(auto, store, copy)
    current = datasets.entry(auto, Key("cold_ticks", "binance", "BTCUSDT", DAYS[0])).path
    blob = service(azurite).get_blob_client(CONTAINER, f"{store.prefix}/{current}")
    lease = blob.acquire_lease(60)
    with pytest.raises(TraderError, match="holds a lease") as caught:
        copy(auto, store)
    assert caught.value.where == store.where(current)
    # Committed all the same; the one before it is an orphan until the lease is over.
    assert everything(auto, store).equals(NEW)
    assert [finding.path for finding in verify(auto, store)] == [current]
    lease.release()
    copy(auto, store)
    assert verify(auto, store) == []


def test_damaged_blob_is_put_right_by_writing_its_day_again(auto: psycopg.Connection, azurite: int):
    store = azure(azurite, os.urandom(4).hex())
    entry = freeze(auto, store, BTC, DAYS[0], OLD)
    store.replace(entry.path, store.get(entry.path)[:-1])
    assert len(verify(auto, store)) == 1
    assert freeze(auto, store, BTC, DAYS[0], OLD) == entry
    assert verify(auto, store) == []


def test_cold_blob_is_read_by_polars_own_azure_client(auto: psycopg.Connection, azurite: int):
    store = azure(azurite, os.urandom(4).hex())
    frame = trades(DAYS[0], 300_000)
    entry = freeze(auto, store, BTC, DAYS[0], frame)
    options = {
        "azure_storage_account_name": ACCOUNT,
        "azure_storage_account_key": KEY,
        "azure_storage_endpoint": endpoint(azurite),
        "azure_allow_http": "true",
    }
    scan = pl.scan_parquet(
        store.where(entry.path), storage_options=options, hive_partitioning=False
    )
    assert scan.select("id", "price", "size").collect().equals(frame.select("id", "price", "size"))
    late = scan.filter(pl.col("id") >= frame["id"][250_000]).select("price").collect()
    assert late.equals(frame[250_000:].select("price"))


def test_chain_of_a_day_over_azure_leaves_the_files_it_leaves_on_disk(
    azurite: int, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in environment(azurite).items():
        monkeypatch.setenv(name, value)
    stages = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
    prefix = os.urandom(4).hex()
    parts = worlds.platform(tmp_path, database_url, cold_url=f"az://{CONTAINER}/{prefix}")
    ran = worlds.run(parts, stages, worlds.MONDAY)
    assert ran.success, ran.failures
    assert all(check.passed for check in ran.checks.values())
    store = azure(azurite, prefix)
    with parts.connect() as connection:
        assert verify(connection, parts.cold) == []
        rows = connection.execute("select path from datasets order by path").fetchall()
    assert store.names() == [path for (path,) in rows]
    assert len(rows) == 10
    assert not (tmp_path / "cold").exists()
    before = {name: store.get(name) for name in store.names()}
    again = worlds.run(parts, stages, worlds.MONDAY)
    assert again.success
    assert {name: store.get(name) for name in store.names()} == before
