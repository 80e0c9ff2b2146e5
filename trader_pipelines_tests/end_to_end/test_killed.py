"""The chain killed anywhere and run again: equal to the run that was never killed."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from signal import SIGKILL
from typing import Any

import psycopg
import pytest

from trader_pipelines.stores.embedded import Server
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.end_to_end.nursery import Nursery, nurseries

#: A week to learn from and two days to speak on; two weeks and two days.
SHORT, LONG = "2024-01-09", "2024-01-16"
STRETCHES = 12
POINTS = 24
MANY_POINTS = 100

#: Kinds of I/O that the chain does; each stage that has its own is named by what it writes.
SEAMS = {
    "begin", "commit", "copy", "event", "execute", "open", "os.fsync", "os.mkdir", "os.replace",
    "os.unlink", "write", "hot.write_day", "manifest.put_certificate", "manifest.put_dataset",
    "model_files.save", "models_table.put_champion", "models_table.put_model", "parquet.sweep",
    "parquet.write",
}  # fmt: skip
STAGES = {
    "hot_ticks", "cold_ticks", "bars", "features", "labels",
    "training_set", "candidate_model", "champion_model", "signals",
}  # fmt: skip

#: Torn files and rows, and the moments around which a file or a row begins to count.
DELICATE = (
    "hot_ticks copy halfway",
    "hot_ticks commit before",
    "cold_ticks write halfway",
    "cold_ticks os.replace after",
    "bars commit after",
    "candidate_model write halfway",
    "candidate_model models_table.put_model before",
    "champion_model models_table.put_champion after",
    "signals parquet.sweep before",
)


@dataclass(frozen=True)
class World:
    """Two forking processes, databases for what they run, and the run that nobody killed."""

    last: str
    persistent: bool
    lent: "SimpleQueue[Nursery]"
    folder: Path
    database: Callable[[str], Any]
    passed: list[str]
    unharmed: dict[str, Any]

    def chain(self, name: str, url: str, **more: Any) -> tuple[int, Any]:
        """Run the chain in a child, in a home of that name."""
        nursery = self.lent.get()
        try:
            return nursery.run(
                "chain",
                home=self.folder / name,
                url=url,
                last=self.last,
                persistent=self.persistent,
                **more,
            )
        finally:
            self.lent.put(nursery)

    def after_kills(self, *fatal: int) -> "Outcome":
        """Kill the chain at these points, one run each, run it again, and look what is there."""
        name = "killed_" + "_".join(map(str, fatal))
        with self.database(name) as url:
            died = []
            for point in fatal:
                signal, _ = self.chain(name, url, fatal=point)
                if signal == SIGKILL:
                    died.append((self.folder / name / "last_words").read_text())
            killed = worlds.kept(self.folder / name, url)
            self.chain(name, url)
            healed = worlds.kept(self.folder / name, url)
        return Outcome(died, killed != self.unharmed, worlds.differences(self.unharmed, healed))


@dataclass(frozen=True)
class Outcome:
    """Where a chain died, whether that left it unfinished, and what is odd after the next run."""

    died: list[str]
    unfinished: bool
    differences: list[str]


def seam_of(described: str) -> str:
    return described.split(" ")[1]


def stage_of(described: str) -> str:
    return described.partition(" ")[0]


def spread(passed: list[str], count: int) -> list[int]:
    """Points over the whole range, of every seam and in every stage.

    One in each of `count` stretches of equal length, of the seam that was chosen least so far;
    the delicate ones; then one for every stage and seam that has none yet.
    """
    chosen: dict[int, str] = {}
    seen: Counter[str] = Counter()

    def choose(candidates: list[int]) -> None:
        # Ties go to the middle of the stretch, not to its beginning.
        middle = candidates[len(candidates) // 2]
        at = min(candidates, key=lambda n: (seen[seam_of(passed[n - 1])], abs(n - middle)))
        chosen[at] = passed[at - 1]
        seen[seam_of(passed[at - 1])] += 1

    edges = [round(i * len(passed) / count) for i in range(count + 1)]
    for start, end in pairwise(edges):
        choose(list(range(start + 1, end + 1)))
    for text in DELICATE:
        at = passed.index(text) + 1
        chosen[at] = text
        seen[seam_of(text)] += 1
    for part, wanted in ((stage_of, STAGES), (seam_of, SEAMS)):
        for name in sorted(wanted - {part(text) for text in chosen.values()}):
            choose([n for n, text in enumerate(passed, start=1) if part(text) == name])
    return sorted(chosen)


@contextmanager
def world(
    folder: Path, postgres: Server, template: str, last: str, *, persistent: bool = False
) -> Iterator[World]:
    """Make a world; `persistent` keeps Dagster's instance between the runs, on disk."""
    server = postgres.url.rpartition("/")[0]

    @contextmanager
    def database(name: str) -> Iterator[str]:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}".encode())
            yield f"{server}/{name}"
            connection.execute(f"drop database {name} with (force)".encode())

    with nurseries(2) as workers:
        lent: SimpleQueue[Nursery] = SimpleQueue()
        for worker in workers:
            lent.put(worker)
        made = World(last, persistent, lent, folder, database, [], {})
        with database("unharmed") as url:
            signal, passed = made.chain("unharmed", url, count=True)
            assert signal == 0
            yield World(
                last,
                persistent,
                lent,
                folder,
                database,
                passed,
                worlds.kept(folder / "unharmed", url),
            )


@pytest.fixture(scope="module")
def short(
    tmp_path_factory: pytest.TempPathFactory, postgres: Server, _template: str
) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("killed"), postgres, _template, SHORT) as made:
        yield made


@pytest.fixture(scope="module")
def long(
    tmp_path_factory: pytest.TempPathFactory, postgres: Server, _template: str
) -> Iterator[World]:
    with world(
        tmp_path_factory.mktemp("killed_long"), postgres, _template, LONG, persistent=True
    ) as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(short: World) -> dict[int, Outcome]:
    """Every chosen point with what came of it, two at a time."""
    points = spread(short.passed, STRETCHES)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(points, pool.map(short.after_kills, points), strict=True))


def test_points_cover_every_seam_and_stage_and_the_whole_range(short: World) -> None:
    points = spread(short.passed, STRETCHES)
    assert {seam_of(text) for text in short.passed} == SEAMS
    assert {stage_of(text) for text in short.passed} >= STAGES
    chosen = [short.passed[point - 1] for point in points]
    assert {seam_of(text) for text in chosen} == SEAMS
    assert {stage_of(text) for text in chosen} >= STAGES
    assert len(points) >= POINTS
    assert {point * 10 // (len(short.passed) + 1) for point in points} == set(range(10))


def test_unharmed_chain_went_all_the_way(short: World) -> None:
    unharmed = short.unharmed
    assert len(unharmed["certificates"]) == 18
    assert [row["version"] for row in unharmed["champions"]] == [unharmed["models"][0]["version"]]
    signals = [row["rows"] for row in unharmed["datasets"] if row["dataset"] == "signals"]
    assert len(signals) == 4
    assert min(signals) > 1_000
    # A file a row of the manifest and one model: nothing else lies there.
    assert len(unharmed["files"]) == len(unharmed["datasets"]) + 1


@pytest.mark.parametrize("number", range(POINTS))
def test_chain_killed_at_a_point_and_run_again_equals_the_unharmed(
    outcomes: dict[int, Outcome], short: World, number: int
) -> None:
    point = sorted(outcomes)[number]
    outcome = outcomes[point]
    # It died exactly there: each run passes the same points in the same order.
    assert outcome.died == [short.passed[point - 1]]
    assert outcome.differences == []


def test_chain_killed_at_the_remaining_points_equals_the_unharmed(
    outcomes: dict[int, Outcome], short: World
) -> None:
    rest = sorted(outcomes)[POINTS:]
    assert [outcomes[point].died for point in rest] == [[short.passed[p - 1]] for p in rest]
    assert {
        short.passed[p - 1]: outcomes[p].differences for p in rest if outcomes[p].differences
    } == {}


def test_chain_run_twice_at_once_equals_the_unharmed(short: World) -> None:
    with short.database("at_once") as url, ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: short.chain("at_once", url), range(2)))
        assert [signal for signal, _ in ended] == [0, 0]
        found = worlds.kept(short.folder / "at_once", url)
    assert worlds.differences(short.unharmed, found) == []


def test_chain_killed_while_another_runs_does_the_other_no_harm(short: World) -> None:
    # It dies with a transaction open, in the middle of a file, while the other waits for its locks.
    fatal = short.passed.index("bars write halfway") + 1
    with short.database("beside") as url, ThreadPoolExecutor(2) as pool:
        killed = pool.submit(short.chain, "beside", url, fatal=fatal)
        other = pool.submit(short.chain, "beside", url)
        assert killed.result()[0] == SIGKILL
        assert other.result()[0] == 0
        short.chain("beside", url)
        found = worlds.kept(short.folder / "beside", url)
    assert worlds.differences(short.unharmed, found) == []


def test_chain_killed_leaves_something_to_do(outcomes: dict[int, Outcome]) -> None:
    # The kills are real: but for the very last points, what was there was not the whole.
    assert sum(outcome.unfinished for outcome in outcomes.values()) >= POINTS - 3


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_chain_killed_at_many_random_points_once_or_twice_equals_the_unharmed(long: World) -> None:
    # Two weeks, so that a champion is challenged; the Dagster instance is kept between the runs;
    # every other chain is killed in its second run too, while it repairs the first.
    dice = random.Random(20_240_101)
    count = len(long.passed)
    kills = [
        (dice.randint(1, count), dice.randint(1, count))[: 1 + number % 2]
        for number in range(MANY_POINTS)
    ]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda at: long.after_kills(*at), kills))
    odd = {at: outcome for at, outcome in zip(kills, outcomes, strict=True) if outcome.differences}
    assert odd == {}
    assert [outcome.died[0] for outcome in outcomes] == [long.passed[at[0] - 1] for at in kills]
