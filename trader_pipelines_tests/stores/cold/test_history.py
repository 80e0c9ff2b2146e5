"""The past: what was certified by then, from the files kept of it, until they are forgotten."""

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.certificates import certify
from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.stores import database, manifest
from trader_pipelines.stores.cold import history
from trader_pipelines.stores.cold.backend import Backend, Disk
from trader_pipelines.stores.cold.ticks import ticks
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines_tests.stores.cold.made import (
    BTC,
    DAYS,
    END,
    START,
    freeze,
    ingest,
    thaw,
    trades,
)

DAY = DAYS[0]
ONE, TWO = trades(DAY), trades(DAY, 1_200, price=5_000_000)


def now(auto: psycopg.Connection) -> datetime:
    row = auto.execute("select clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def then(auto: psycopg.Connection, store: Backend | Path, as_of: datetime) -> pl.DataFrame:
    return ticks(auto, store, [BTC], START, END, as_of=as_of).drop("symbol")


def restate(
    auto: psycopg.Connection, store: Backend | Path, frame: pl.DataFrame, *, drop: bool = True
) -> datetime:
    ingest(auto, BTC, DAY, frame)
    freeze(auto, store, BTC, DAY, frame)
    if drop:
        thaw(auto, DAY)
    return now(auto)


def test_ticks_as_of_then_are_what_was_certified_then(auto: psycopg.Connection, store: Backend):
    before = now(auto)
    first = restate(auto, store, ONE)
    second = restate(auto, store, TWO)
    third = restate(auto, store, ONE)
    assert then(auto, store, before).is_empty()
    assert then(auto, store, first).equals(ONE)
    assert then(auto, store, second).equals(TWO)
    assert then(auto, store, third).equals(ONE)
    slices = ticks(auto, store, [BTC], START, START + timedelta(hours=6), columns=["price"],
                   as_of=second)  # fmt: skip
    assert slices["price"].equals(TWO["price"][:300])
    # Each content once: the current one, and the other for the past.
    assert len(store.names()) == 2
    assert verify(auto, store) == []


def test_ticks_as_of_now_are_those_of_hot_until_they_are_frozen(
    auto: psycopg.Connection, tmp_path: Path
):
    first = restate(auto, tmp_path, ONE)
    ingest(auto, BTC, DAY, TWO)
    assert then(auto, tmp_path, now(auto)).equals(TWO)
    assert then(auto, tmp_path, first).equals(ONE)


def test_version_replaced_before_its_copy_is_named_as_not_kept(
    auto: psycopg.Connection, tmp_path: Path
):
    ingest(auto, BTC, DAY, ONE)
    first = now(auto)
    second = restate(auto, tmp_path, TWO)
    with pytest.raises(MissingDataError, match=r"the 1000 trades .* replaced by 1200") as caught:
        then(auto, tmp_path, first)
    assert "BTCUSDT.BINANCE on 2024-01-01" in caught.value.where
    assert not caught.value.retry
    assert then(auto, tmp_path, second).equals(TWO)


def test_certificate_that_changes_without_its_trades_keeps_their_past(
    auto: psycopg.Connection, tmp_path: Path
):
    first = restate(auto, tmp_path, ONE)
    certificate = certify(ONE, venue="binance", symbol="BTCUSDT", day=DAY, source="elsewhere",
                          synthetic=True, reconciled={"bars": 1})  # fmt: skip
    for new in (True, False):
        with auto.transaction():
            assert manifest.put_certificate(auto, certificate) is new
    assert then(auto, tmp_path, first).equals(ONE)
    row = auto.execute("select count(*), min(source) from certificate_history").fetchone()
    assert row == (1, "a test")


def test_superseded_file_is_spared_until_it_is_forgotten(auto: psycopg.Connection, store: Backend):
    first = restate(auto, store, ONE)
    restate(auto, store, TWO)
    (old,) = history.superseded(auto, "binance")
    assert history.superseded(auto, "elsewhere") == []
    assert (old.rows, old.day, old.symbol) == (1_000, DAY, "BTCUSDT")
    # Other bytes of the same trades: swept, nobody could tell them apart.
    freeze(auto, store, BTC, DAY, TWO, turn="another")
    assert len(store.names()) == 2
    assert then(auto, store, first).equals(ONE)
    assert history.forget(auto, store, old)
    assert not history.forget(auto, store, old)
    assert history.superseded(auto) == []
    assert old.path not in store.names()
    with pytest.raises(MissingDataError, match="no copy of them is kept"):
        then(auto, store, first)
    assert verify(auto, store) == []


def test_trades_that_count_again_are_not_forgotten(auto: psycopg.Connection, tmp_path: Path):
    restate(auto, tmp_path, ONE)
    restate(auto, tmp_path, TWO)
    (old,) = history.superseded(auto)
    last = restate(auto, tmp_path, ONE)
    assert not history.forget(auto, tmp_path, old)
    assert then(auto, tmp_path, last).equals(ONE)
    assert [file.rows for file in history.superseded(auto)] == [1_200]


def test_file_whose_forgetting_was_cut_short_is_swept_by_the_next_writer(
    auto: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    restate(auto, tmp_path, ONE)
    restate(auto, tmp_path, TWO)
    (old,) = history.superseded(auto)

    def die(self: Disk, path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "remove", die)
        with pytest.raises(KeyboardInterrupt):
            history.forget(auto, tmp_path, old)
    assert [finding.path for finding in verify(auto, tmp_path)] == [old.path]
    freeze(auto, tmp_path, BTC, DAY, TWO)
    assert verify(auto, tmp_path) == []


def test_clock_set_back_never_makes_the_newer_version_the_older_one(
    auto: psycopg.Connection, tmp_path: Path
):
    restate(auto, tmp_path, ONE)
    # As if the clock had been an hour ahead then, and is right again now.
    ahead = now(auto) + timedelta(hours=1)
    auto.execute("update certificates set ts_ingest = %s", (ahead,))
    auto.execute("update datasets set written_at = %s", (ahead,))
    restate(auto, tmp_path, TWO)
    stamps = auto.execute(
        "select revision, ts_ingest, count from certificates union all "
        "select revision, ts_ingest, count from certificate_history order by revision"
    ).fetchall()
    assert [(stamp, count) for _, stamp, count in stamps] == [(ahead, 1_000), (ahead, 1_200)]
    entry = manifest.get_dataset(auto, "cold_ticks", "binance", "BTCUSDT", DAY)
    assert entry is not None
    assert entry.written_at == ahead
    assert then(auto, tmp_path, ahead).equals(TWO)
    assert then(auto, tmp_path, ahead - timedelta(microseconds=1)).is_empty()


def test_ticks_as_of_now_wait_for_who_is_committing(
    database_url: str, auto: psycopg.Connection, tmp_path: Path
):
    """Stamped before the moment and committed after it: asked again, the answer is the same."""
    restate(auto, tmp_path, ONE, drop=False)
    answers: list[pl.DataFrame] = []

    def read(moment: datetime) -> None:
        with database.connect(database_url) as connection:
            connection.autocommit = True
            answers.append(then(connection, tmp_path, moment))

    with database.connect(database_url) as writer:
        writer.autocommit = True
        with writer.transaction():
            ingest(writer, BTC, DAY, TWO)
            moment = now(auto)
            reader = threading.Thread(target=read, args=(moment,))
            reader.start()
            waiting = "select count(*) from pg_stat_activity where wait_event = 'advisory'"
            while auto.execute(waiting).fetchone() != (1,):
                assert reader.is_alive()
                time.sleep(0.01)
        reader.join()
    assert answers[0].equals(TWO)
    assert then(auto, tmp_path, moment).equals(TWO)
