"""The collector killed at random moments, and left without its database for long: nothing lost."""

import random
import resource
import time
from pathlib import Path

import psycopg
import pytest

from trader_pipelines_tests.collector.command import collecting, environment, whole
from trader_pipelines_tests.collector.tape import BASE, SYMBOLS, stored, truth
from trader_pipelines_tests.exchange.running import running_exchange

pytestmark = pytest.mark.long

FROM = [f"--from-id={symbol}={BASE}" for symbol in SYMBOLS]


@pytest.mark.timeout(1200)
def test_collect_killed_at_fifty_random_moments_nothing_lost(
    tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    kills, rate = 50, 400
    rng = random.Random(kills)
    total = rate * (4 * kills + 10)
    with running_exchange(
        [f"synthetic:2:{rate}:{total // rate}"],
        rate=str(rate),
        live_from="start",
        start_symbols=2,
        weight_limit=10_000_000,
    ) as venue:
        env = environment(tmp_path, venue.urls["port"], database_url, SYMBOLS)
        counts = []
        for _ in range(kills):
            with collecting(env, *FROM) as command:
                command.until(lambda _: True)  # it works
                time.sleep(rng.uniform(0.0, 1.5))
                command.process.kill()
                command.process.wait()
            row = conn.execute("select count(*) from hot_ticks").fetchone()
            conn.rollback()
            assert row is not None
            counts.append(row[0])
        assert counts == sorted(counts)
        assert len(set(counts)) > kills / 2  # it was killed while it had work to do
        assert counts[-1] < total
        venue.tell("replay", rate="max")
        with collecting(env, *FROM) as command:
            command.until(whole(BASE + total // 2 - 1), seconds=300)
            command.stop()
        for symbol in SYMBOLS:
            assert stored(conn, symbol) == truth(venue, symbol)


def test_collect_database_locked_for_long_memory_is_bounded(
    tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    total = 600_000
    with running_exchange(
        [f"synthetic:2:{total}:1"], live_from="start", start_symbols=2, rate="max"
    ) as venue:
        env = environment(tmp_path, venue.urls["port"], database_url, SYMBOLS)
        with collecting(env, *FROM) as command:
            command.until(lambda told: told["counts"]["stored"] > 0)
            conn.execute("lock table hot_ticks in access exclusive mode")
            command.until(lambda told: told["waiting_frames"] >= 200_000)
            before = resident_mb(command.process.pid)
            printed = [0, -1]
            while printed[-1] != printed[-2]:  # until the venue, too, has to wait
                time.sleep(1)
                printed.append(venue.ask("state")["replay"]["position"])
            command.until(lambda _: True)
            assert command.last["waiting_frames"] <= 200_001
            assert printed[-1] < total
            assert resident_mb(command.process.pid) - before < 20
            conn.rollback()
            command.until(whole(BASE + total // 2 - 1), seconds=200)
            told = command.stop()
        assert told["connections"][0]["connects"] == 1
        row = conn.execute(
            "select count(*), count(distinct (instrument_id, id)), min(id), max(id) from hot_ticks"
        ).fetchone()
        assert row == (total, total, BASE, BASE + total // 2 - 1)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
