"""Files that no row names: found, swept under their key's lock, and nobody else's touched."""

import threading
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.core.retention import Verdict
from trader_pipelines.steps import compact, retain
from trader_pipelines.stores import database
from trader_pipelines.stores.cold import history, orphans
from trader_pipelines.stores.cold.backend import Backend
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines_tests.end_to_end import tiers, worlds
from trader_pipelines_tests.stores.cold.azurite import CONTAINER, environment
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, freeze, trades

PLACE = ("cold_ticks", "binance", "BTCUSDT", DAYS[0])
FOLDER = "cold_ticks/venue=binance/symbol=BTCUSDT/day=2024-01-01"


def test_sweep_removes_what_no_row_names_and_keeps_the_rest(
    auto: psycopg.Connection, store: Backend
) -> None:
    entry = freeze(auto, store, BTC, DAYS[0], trades(DAYS[0]))
    newer = freeze(auto, store, BTC, DAYS[0], trades(DAYS[0], 1_200))
    for path in (f"{FOLDER}/torn.parquet", "notes.txt", "cold_ticks/venue=binance/notes.txt"):
        store.create(path, b"something")
    assert orphans.orphans(auto, store) == [f"{FOLDER}/torn.parquet"]
    assert orphans.sweep(auto, store) == [f"{FOLDER}/torn.parquet"]
    assert orphans.sweep(auto, store) == []
    # The superseded file is of the history.
    assert set(store.names()) == {
        entry.path, newer.path, "notes.txt", "cold_ticks/venue=binance/notes.txt",
    }  # fmt: skip


def test_sweep_waits_for_a_writer_and_leaves_what_he_commits(
    auto: psycopg.Connection, store: Backend, database_url: str
) -> None:
    entry = freeze(auto, store, BTC, DAYS[0], trades(DAYS[0]))
    auto.execute("create table aside as select * from datasets")
    auto.execute("delete from datasets")
    swept: list[str] = []

    def sweep() -> None:
        with database.connect(database_url) as other:
            other.autocommit = True
            swept.extend(orphans.sweep(other, store))

    with auto.transaction():
        # As a writer between his file and his row.
        history.lock(auto, *PLACE)
        sweeper = threading.Thread(target=sweep)
        sweeper.start()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        while auto.execute(waiting).fetchone() != (1,):
            assert sweeper.is_alive()
        auto.execute("insert into datasets select * from aside")
    sweeper.join()
    assert swept == []
    assert store.names() == [entry.path]


def test_tiers_on_azure_are_compacted_let_go_of_and_swept(
    azurite: int, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(azurite).items():
        monkeypatch.setenv(name, value)
    age = (tiers.NOW.date() - tiers.DAYS[-1]).days
    parts = worlds.platform(
        tmp_path,
        database_url,
        cold_url=f"az://{CONTAINER}/{tmp_path.name}",
        hot_days=age,
        cold_history_days=1,
    )
    with parts.connect() as connection:
        tiers.write(parts, connection)
        tiers.freeze(parts, connection)
        tiers.restate(parts, connection)
        assert len(parts.cold.names()) == 8
        (damaged, *_) = [path for path in parts.cold.names() if "symbol=BBB" in path]
        parts.cold.remove(damaged)
        report = retain.retain(connection, parts, now=tiers.NOW)
        (refused,) = report.of(Verdict.REFUSED)
        assert damaged in refused.why
        assert len(report.of(Verdict.GOES)) == 3
        assert len(report.forgotten) == 2
        tiers.freeze(parts, connection)
        assert retain.retain(connection, parts, now=tiers.NOW).partitions == [tiers.DAYS[0]]
        assert verify(connection, parts.cold) == []
        for day in tiers.DAYS:
            found = compact.compare(connection, parts, tiers.instruments(parts)[0], day)
            assert (found.equal, found.dropped) == (True, day != tiers.DAYS[-1])
