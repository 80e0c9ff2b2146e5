"""Writers, a retention and ten readers at once on the same days: every reader sees whole days."""

import itertools
import threading
from collections.abc import Callable

import polars as pl
import psycopg

from trader_pipelines.stores import database, manifest
from trader_pipelines.stores.cold import history
from trader_pipelines.stores.cold.backend import Backend
from trader_pipelines.stores.cold.ticks import ticks
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines_tests.stores.cold.made import (
    BTC,
    DAYS,
    END,
    START,
    freeze,
    ingest,
    trades,
)

ROUNDS = 5
READERS = 10
#: The last day is restated all the time: either version is whole.
VERSIONS = [[trades(day)] for day in DAYS[:2]]
VERSIONS.append([trades(DAYS[2]), trades(DAYS[2], 700, price=9_000_000)])


def retain(connection: psycopg.Connection) -> int:
    """Stands for retention: drop hot days whose certified trades are in cold; how many."""
    dropped = 0
    for day in DAYS:
        place = ("cold_ticks", "binance", "BTCUSDT", day)
        with connection.transaction():
            history.lock(connection, *place)
            entry = manifest.get_dataset(connection, *place)
            certificate = manifest.get_certificate(connection, *place[1:])
            if entry and certificate and entry.content_hash == certificate.content_hash:
                dropped += connection.execute(
                    "delete from hot_ticks where day = %s and exists (select from certificates "
                    "where (day, content_hash) = (%s, %s))",
                    (day, day, entry.content_hash),
                ).rowcount
    return dropped


def is_whole(found: pl.DataFrame) -> bool:
    every = [pl.concat(chosen) for chosen in itertools.product(*VERSIONS)]
    return any(found.drop("symbol").equals(days) for days in every)


def test_readers_see_whole_days_while_writers_and_retention_work(
    database_url: str, auto: psycopg.Connection, store: Backend
):
    for day, versions in zip(DAYS, VERSIONS, strict=True):
        ingest(auto, BTC, day, versions[0])
    over = threading.Event()
    wrong: list[str] = []
    reads = [0] * READERS
    dropped: list[int] = []

    def alone(work: Callable[[psycopg.Connection], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                with database.connect(database_url) as connection:
                    connection.autocommit = True
                    work(connection)
            except Exception as error:  # noqa: BLE001
                wrong.append(repr(error))

        return run

    def write(number: int) -> Callable[[psycopg.Connection], None]:
        def work(connection: psycopg.Connection) -> None:
            for turn in range(ROUNDS):
                for day, versions in zip(DAYS, VERSIONS, strict=True):
                    frame = versions[(turn + number) % len(versions)]
                    # Other bytes each time: the file before is swept under the readers.
                    ingest(connection, BTC, day, frame)
                    freeze(connection, store, BTC, day, frame, turn=f"{number}.{turn}")

        return work

    def drop(connection: psycopg.Connection) -> None:
        while not over.is_set():
            dropped.append(retain(connection))

    def read(number: int) -> Callable[[psycopg.Connection], None]:
        cuts = [START, START + (END - START) / 3, END] if number % 2 else [START, END]

        def work(connection: psycopg.Connection) -> None:
            while not over.is_set() or not reads[number]:
                found = pl.concat(
                    ticks(connection, store, [BTC], *bounds) for bounds in itertools.pairwise(cuts)
                )
                if not is_whole(found):
                    wrong.append(f"{found.height} rows")
                reads[number] += 1

        return work

    readers = [threading.Thread(target=alone(read(number))) for number in range(READERS)]
    writers = [threading.Thread(target=alone(write(number))) for number in range(2)]
    for thread in (*readers, *writers, retention := threading.Thread(target=alone(drop))):
        thread.start()
    for writer in writers:
        writer.join()
    over.set()
    for thread in (*readers, retention):
        thread.join()
    assert wrong == []
    assert min(reads) > 0
    assert sum(dropped) > 0
    assert is_whole(ticks(auto, store, [BTC], START, END))
    assert verify(auto, store) == []
