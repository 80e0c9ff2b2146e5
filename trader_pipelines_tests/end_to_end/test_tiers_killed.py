"""Both tiers killed anywhere: no trade lost, none twice, and the next run leaves nothing odd."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from queue import SimpleQueue
from signal import SIGKILL
from typing import Any

import psycopg
import pytest

from trader_pipelines.core.trades import content_hash
from trader_pipelines.stores import database, manifest
from trader_pipelines.stores.cold.holdings import empty_days
from trader_pipelines.stores.cold.verify import verify
from trader_pipelines.stores.embedded import Server
from trader_pipelines_tests.end_to_end import tiers, worlds
from trader_pipelines_tests.end_to_end.nursery import Nursery, nurseries

STAGES = ("write", "compaction", "restatement", "migration", "retention")
#: Kinds of I/O, of which each is killed in the normal suite.
SEAMS = {
    "begin", "commit", "copy", "execute", "open", "os.fsync", "os.mkdir", "os.replace",
    "os.unlink", "write", "hot.drop_day", "hot.drop_partition", "hot.write_day",
    "manifest.put_certificate", "manifest.put_dataset", "parquet.keep", "parquet.sweep",
    "parquet.write",
}  # fmt: skip
#: Around which rows and files begin to count, or cease to.
DELICATE = (
    "write copy halfway",
    "write commit before",
    "compaction write halfway",
    "compaction os.replace after",
    "compaction manifest.put_dataset after",
    "restatement parquet.sweep before",
    "migration write halfway",
    "migration manifest.put_dataset after",
    "migration parquet.sweep before",
    "retention hot.drop_day after",
    "retention hot.drop_partition before",
    "retention hot.drop_partition after",
    "retention os.unlink before",
)
MANY = 80
STATE = ("certificates", "datasets", "hot_ticks", "files")


@dataclass(frozen=True)
class World:
    """Two forking processes, databases for what they run, and the life that nobody ended."""

    lent: "SimpleQueue[Nursery]"
    folder: Path
    postgres: Server
    template: str
    passed: list[str]
    unharmed: dict[str, Any]

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """A database of that name, dropped afterwards."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"create database {name} template {self.template}".encode())
            yield f"{self.postgres.url.rpartition('/')[0]}/{name}"
            connection.execute(f"drop database {name} with (force)".encode())

    def live(self, home: Path, url: str, **more: Any) -> tuple[int, Any]:
        """Run the life in a child: the signal that ended it, and the points passed."""
        nursery = self.lent.get()
        try:
            return nursery.run("tiers", home=home, url=url, **more)
        finally:
            self.lent.put(nursery)

    def after_kills(self, *fatal: int) -> list[str]:
        """End it at these points, a run each, then run it whole; what is odd, for a person."""
        name = "tiers_" + "_".join(map(str, fatal))
        home = self.folder / name
        home.mkdir()
        odd = []
        with self.database(name) as url:
            for point in fatal:
                signal, _ = self.live(home, url, fatal=point)
                died = (home / "last_words").read_text() if signal == SIGKILL else "not at all"
                if len(fatal) == 1 and died != self.passed[point - 1]:
                    odd.append(f"died at {died}, not at {self.passed[point - 1]}")
                odd += [f"after {died}: {one}" for one in unreadable(home, url)]
            assert self.live(home, url)[0] == 0
            odd += unreadable(home, url)
            odd += worlds.differences(self.unharmed, state(home, url))
            odd += findings(home, url)
        return odd


def unreadable(home: Path, url: str) -> list[str]:
    """Certified days of which a reader does not get exactly the certified trades."""
    parts = tiers.platform(home, url)
    with database.connect(url) as connection:
        certified = manifest.get_certificates(connection, "synthetic")
    odd = []
    for one in certified:
        trades = tiers.read(url, parts, one.symbol, one.day)
        if (trades.height, content_hash(trades)) != (one.count, one.content_hash):
            odd.append(f"{one.symbol} on {one.day}: {trades.height} of {one.count} trades")
    return odd


def findings(home: Path, url: str) -> list[str]:
    """What `trader cold verify` would name, and what lies elsewhere than in the cold store."""
    parts = tiers.platform(home, url)
    with database.connect(url) as connection:
        named = [f"{one.fault}: {one.path}" for one in verify(connection, parts.cold)]
        left = connection.execute("select path from dataset_history").fetchall()
        empty = empty_days(connection, date.max)
    spooled = [str(path) for path in (home / "spool").iterdir()]
    named += [f"superseded and kept: {path}" for (path,) in left]
    return named + [f"an empty partition: {day}" for day in empty] + spooled


def state(home: Path, url: str) -> dict[str, Any]:
    """All that the tiers keep: files by content, rows by value."""
    kept = worlds.kept(home, url)
    return {name: kept[name] for name in STATE}


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, postgres: Server, _template: str
) -> Iterator[World]:
    with nurseries(2) as workers:
        lent: SimpleQueue[Nursery] = SimpleQueue()
        for worker in workers:
            lent.put(worker)
        folder = tmp_path_factory.mktemp("tiers")
        made = World(lent, folder, postgres, _template, [], {})
        home = folder / "unharmed"
        home.mkdir()
        with made.database("tiers_unharmed") as url:
            signal, passed = made.live(home, url, count=True)
            assert signal == 0
            assert unreadable(home, url) == []
            assert findings(home, url) == []
            yield World(lent, folder, postgres, _template, passed, state(home, url))


def after_all(world: World, kills: list[tuple[int, ...]]) -> dict[str, list[str]]:
    """What was odd after which kills, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda points: world.after_kills(*points), kills))
    told = [" then ".join(world.passed[point - 1] for point in points) for points in kills]
    return {at: odd for at, odd in zip(told, found, strict=True) if odd}


def test_unharmed_life_wrote_compacted_migrated_and_let_go(world: World) -> None:
    assert {text.partition(" ")[0] for text in world.passed} >= set(STAGES)
    assert {text.split(" ")[1] for text in world.passed} == SEAMS
    days = {row["day"] for row in world.unharmed["hot_ticks"]}
    assert days == {tiers.DAYS[-1]}
    files = world.unharmed["datasets"]
    assert {row["schema_version"] for row in files} == {tiers.LAYOUT}
    assert sorted((row["symbol"], row["day"]) for row in files) == [
        (symbol, day) for symbol in tiers.SYMBOLS for day in tiers.DAYS
    ]
    # A file a row, and nothing else: no torn one, no superseded one, none of the older layout.
    assert len(world.unharmed["files"]) == len(files)
    sources = {(row["symbol"], row["day"]): row["source"] for row in world.unharmed["certificates"]}
    assert sources["AAA", tiers.DAYS[0]] == "a correction"


def test_tiers_killed_at_delicate_points_lose_nothing_and_heal(world: World) -> None:
    points = [world.passed.index(text) + 1 for text in DELICATE]
    assert after_all(world, [(point,) for point in points]) == {}


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_tiers_killed_at_many_points_once_or_twice_lose_nothing_and_heal(world: World) -> None:
    # A point of every seam in every stage that has it, and random ones; every other life is ended
    # in its second run too, while it repairs the first.
    dice = random.Random(20_240_101)
    count = len(world.passed)
    kinds: dict[str, list[int]] = {}
    for number, text in enumerate(world.passed, start=1):
        kinds.setdefault(text, []).append(number)
    kills: list[tuple[int, ...]] = [(dice.choice(numbers),) for numbers in kinds.values()]
    kills += [(dice.randint(1, count), dice.randint(1, count)) for _ in range(MANY)]
    assert len(kills) > 50
    assert after_all(world, kills) == {}
