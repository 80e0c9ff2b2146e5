"""Both tiers at work at once: whoever reads meanwhile gets exactly the whole day, every time."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.retention import Verdict
from trader_pipelines.core.trades import content_hash
from trader_pipelines.platform import Platform
from trader_pipelines.steps import compact, retain
from trader_pipelines.stores import hot, manifest
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines_tests.end_to_end import tiers, worlds

READERS = 10


@dataclass
class Crew:
    """Threads that do their turn over and over until the time is up."""

    deadline: float
    done: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def put_to_work(self, name: str, turn: Callable[[], None]) -> None:
        """Start one."""

        def work() -> None:
            while time.monotonic() < self.deadline and not self.odd:
                try:
                    turn()
                except Exception as error:  # noqa: BLE001  # told by the test, whatever it is
                    self.odd.append(f"{name}: {error!r}")
                self.done[name] += 1

        self.threads.append(threading.Thread(target=work, name=name))

    def work(self) -> None:
        """Let all of them work until the time is up."""
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def parts(tmp_path: Path, database_url: str) -> Platform:
    """Three days of two symbols, written and compacted."""
    age = (tiers.NOW.date() - tiers.DAYS[-1]).days
    made = worlds.platform(tmp_path, database_url, hot_days=age)
    with made.connect() as connection:
        tiers.write(made, connection)
        tiers.freeze(made, connection)
    return made


def together(parts: Platform, url: str, seconds: float) -> Crew:
    """Two compactions, a retention, a writer and ten readers on the same days."""
    symbol = tiers.SYMBOLS[0]
    instrument = parts.universe.venue("synthetic").instrument(symbol)
    versions: dict[date, list[pl.DataFrame]] = {}
    with parts.connect() as connection:
        for day in tiers.DAYS:
            trades = hot.read_day(connection, instrument, day)
            versions[day] = [trades, tiers.corrected(trades)]
    whole = {day: {content_hash(one) for one in both} for day, both in versions.items()}
    crew = Crew(time.monotonic() + seconds)
    rounds = Counter[str]()

    def compaction(connection: psycopg.Connection) -> None:
        for day in tiers.DAYS:
            certificate = manifest.get_certificate(connection, "synthetic", symbol, day)
            assert certificate is not None
            try:
                compact.freeze(connection, parts, instrument, certificate)
            except TraderError as error:
                # Certified anew since, so that there are no longer such trades: the next turn's.
                if "not the" not in error.what and "not those" not in error.what:
                    raise
                rounds["overtaken"] += 1

    def retention(connection: psycopg.Connection) -> None:
        report = retain.retain(connection, parts, now=tiers.NOW)
        rounds["let go"] += len(report.of(Verdict.GOES))

    def writing(connection: psycopg.Connection) -> None:
        # What was let go of comes back, every other time with a price put right.
        rounds["written"] += 1
        for day in tiers.DAYS:
            tiers.put(connection, instrument, day, versions[day][rounds["written"] // 3 % 2])
        time.sleep(0.02)

    def reading() -> None:
        for day in tiers.DAYS:
            found = tiers.read(url, parts, symbol, day)
            if content_hash(found) not in whole[day]:
                crew.odd.append(f"a reader got {found.height} trades of {day}")

    with ExitStack() as open_:
        for name, turn in {
            "compaction": compaction,
            "another compaction": compaction,
            "retention": retention,
            "writer": writing,
        }.items():
            crew.put_to_work(name, partial(turn, open_.enter_context(parts.connect())))
        for number in range(READERS):
            crew.put_to_work(f"reader {number}", reading)
        crew.work()
    crew.done.update(rounds)
    return crew


def check(crew: Crew, parts: Platform) -> None:
    assert crew.odd == []
    # All of them really worked, and on each other's heels.
    assert min(crew.done.values()) > 0, crew.done
    assert crew.done["let go"] > 0
    with parts.connect() as connection:
        for certificate in manifest.get_certificates(connection, "synthetic"):
            instrument = parts.universe.venue("synthetic").instrument(certificate.symbol)
            compact.freeze(connection, parts, instrument, certificate)
        retain.retain(connection, parts, now=tiers.NOW)
        assert verify(connection, parts.cold) == []
        for day in tiers.DAYS:
            for symbol in tiers.SYMBOLS:
                instrument = parts.universe.venue("synthetic").instrument(symbol)
                assert compact.compare(connection, parts, instrument, day).equal


def test_readers_beside_compactions_and_a_retention_see_exactly_the_whole_day(
    parts: Platform, database_url: str
) -> None:
    check(together(parts, database_url, 4), parts)


@pytest.mark.long
def test_readers_beside_compactions_and_a_retention_for_a_minute_see_the_whole_day(
    parts: Platform, database_url: str
) -> None:
    check(together(parts, database_url, 60), parts)
