"""Holes in one source, in the other, in both: each trade is there once, or named with evidence."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pytest
from click.testing import CliRunner, Result

from trader_pipelines.cli import main
from trader_pipelines.core.certificates import Certificate, Status
from trader_pipelines.core.errors import BadAnswerError, VenueUnreachableError
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.core.trades import content_hash
from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.steps.asking import Report
from trader_pipelines.steps.compact import stored_trades
from trader_pipelines.steps.due import due
from trader_pipelines.steps.heal import heal
from trader_pipelines.steps.recheck import recheck, reconcile
from trader_pipelines.steps.ticks import ingest
from trader_pipelines.stores import database, hot, manifest, outages
from trader_pipelines.stores.embedded import Server
from trader_pipelines.stores.live import LiveWriter
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines.venues.base import DayTrades, Healer, Venue
from trader_pipelines.venues.patience import Patience
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.end_to_end.nursery import Nursery, nurseries
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest

#: About 2,600 trades of one symbol on each of two days.
TAPE = "synthetic:1:0.03:172800:2024-01-02"
DAY, NEXT = rest.DAY, rest.DAY + timedelta(days=1)
TRUTH = rest.truth(TAPE, rest.SYMBOL)
FIRST, LAST = int(TRUTH["id"][0]), int(TRUTH["id"][-1])
#: The first id of the second day.
TURN = int(TRUTH.filter(pl.col("ts_event").dt.date() == NEXT)["id"][0])
BRIEF = Patience(attempts=3, longest_wait=0.005, timeout=5.0)
NOON = datetime(2024, 1, 5, 12, tzinfo=UTC)

UNIVERSE = """\
  binance:
    source: {source}
    symbols:
      SYN000USDT: {{since: 2024-01-01, tick_size: "0.01", lot_size: "0.0001"}}
"""


@pytest.fixture(autouse=True)
def _no_proxy_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange([TAPE], weight_limit=10**9) as running:
        yield running


class World:
    """A database and the venue `binance`, whose days come over REST or from the archive."""

    def __init__(self, exchange: Running, url: str, home: Path, source: str) -> None:
        self.exchange = exchange
        text = UNIVERSE.format(source=source)
        made = worlds.platform(home / source, url, text)
        self.platform = _Quick(made.overrides, running=exchange)
        self.spec: VenueSpec = self.platform.universe.venue("binance")
        self.symbol: Instrument = self.spec.instrument("SYN000USDT")
        self.url = url

    def lacks(self, **holes: list[tuple[int, int]]) -> None:
        """From now on `rest` and `archive` lack these ranges of ids."""
        self.exchange.tell(
            "reset",
            limits=True,
            faults=[
                {"kind": "hole", "first": a, "last": b, "where": [where]}
                for where, ranges in holes.items()
                for a, b in ranges
            ],
        )

    def ingest(self, *days: date) -> list[Certificate]:
        with self.platform.connect() as connection:
            source = self.platform.venue(self.spec)
            return [ingest(connection, self.platform, source, self.symbol, day) for day in days]

    def heal(self, day: date, now: datetime = NOON) -> Report:
        with self.platform.connect() as connection:
            return heal(connection, self.platform, self.spec, self.symbol, day, now=lambda: now)

    def certificate(self, day: date) -> Certificate:
        with database.connect(self.url) as connection:
            found = manifest.get_certificate(connection, "binance", "SYN000USDT", day)
        assert found is not None
        return found

    def trades(self, *days: date) -> pl.DataFrame:
        with database.connect(self.url) as connection:
            read = [stored_trades(connection, self.platform, self.symbol, day) for day in days]
        return pl.concat(read)

    def outages(self, **more: Any) -> list[outages.Outage]:
        with database.connect(self.url) as connection:
            return outages.get(connection, "binance", **more)

    def is_whole_or_says_what_lacks(self) -> list[int]:
        """Assert that each trade of the tape is there once, in order, or is named; the named."""
        stored = self.trades(DAY, NEXT)
        named = [
            one
            for day in (DAY, NEXT)
            for a, b in self.certificate(day).missing
            for one in range(a, b + 1)
        ]
        there = stored["id"].to_list()
        assert sorted(there + named) == TRUTH["id"].to_list()
        assert stored.equals(TRUTH.filter(pl.col("id").is_in(there)))
        for day in (DAY, NEXT):
            trades = self.trades(day)
            assert set(trades["ts_event"].dt.date()) == {day}
            assert self.certificate(day).content_hash == content_hash(trades)
        return named


class _Quick(Platform):
    """The same sources, that wait for nobody."""

    running: Running

    def __init__(self, overrides: Any, running: Running) -> None:
        super().__init__(overrides)
        object.__setattr__(self, "running", running)

    def venue(self, spec: VenueSpec) -> Venue:
        healers = self.healers(spec)
        return healers["rest" if spec.source == "binance_rest" else "archive"]

    def healers(self, spec: VenueSpec) -> dict[str, Healer]:
        archive = BinanceArchive(self.running.urls["archive"], patience=BRIEF)
        return {"rest": rest.binance(self.running, patience=BRIEF), "archive": archive}


@pytest.fixture
def make(exchange: Running, database_url: str, tmp_path: Path) -> Any:
    def world(source: str = "binance_rest", **holes: list[tuple[int, int]]) -> World:
        made = World(exchange, database_url, tmp_path, source)
        made.lacks(**holes)
        return made

    return world


def test_hole_in_rest_is_filled_by_the_archive(make: Any) -> None:
    world = make(rest=[(FIRST + 100, FIRST + 119), (FIRST + 300, FIRST + 300)])
    (lacking,) = world.ingest(DAY)
    assert lacking.status is Status.INCOMPLETE
    assert lacking.missing_count == 21
    report = world.heal(DAY)
    assert report.found == {"rest": 0, "archive": 21}
    healed = world.certificate(DAY)
    assert (healed.status, healed.missing) == (Status.HEALED, ())
    assert healed.reconciled["healed_from archive"] == 21
    assert healed.source.endswith("; healed from archive")
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    assert world.outages(closed=True) == []


def test_hole_in_the_archive_is_filled_by_rest(make: Any) -> None:
    world = make("binance_archive", archive=[(FIRST + 100, FIRST + 2_000)])
    (lacking,) = world.ingest(DAY)
    assert lacking.missing == ((FIRST + 100, FIRST + 2_000),)
    report = world.heal(DAY)
    assert report.found == {"rest": 1_901}
    assert world.certificate(DAY).status is Status.HEALED
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    # What healing found outlives another ingest, to the byte.
    before = worlds.rows(world.url, moments=True)
    assert before["certificates"][0]["status"] == "healed"
    world.ingest(DAY)
    assert worlds.rows(world.url, moments=True) == before


def test_many_small_holes_are_asked_for_a_page_at_a_time(make: Any) -> None:
    holes = [(i, i + i % 3) for i in range(FIRST + 10, FIRST + 1_990, 11)]
    world = make("binance_archive", archive=holes)
    (lacking,) = world.ingest(DAY)
    assert lacking.missing == tuple(holes)
    counted = rest.Asked(world.exchange)
    before = counted.of("binance.aggTrades")
    report = world.heal(DAY)
    assert report.found == {"rest": lacking.missing_count}
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    assert counted.of("binance.aggTrades") - before == 2


def test_hole_in_both_is_an_outage_with_evidence_until_somebody_has_it(make: Any) -> None:
    lost = (FIRST + 100, FIRST + 119)
    world = make(rest=[lost], archive=[lost])
    world.ingest(DAY)
    report = world.heal(DAY)
    assert report.outage
    (outage,) = world.outages()
    assert (outage.day, outage.first_id, outage.last_id) == (DAY, *lost)
    assert outage.lacks == f"{lost[0]}-{lost[1]}"
    assert (outage.opened_at, outage.asked_at, outage.closed_at) == (NOON, NOON, None)
    assert [one["source"].partition(",")[0] for one in outage.evidence] == ["rest", "archive"]
    assert {one["answered"] for one in outage.evidence} == {f"no trade of {lost[0]}-{lost[1]}"}
    assert {one["asked_at"] for one in outage.evidence} == {"2024-01-05T12:00:00+00:00"}
    assert world.certificate(DAY).missing == (lost,)
    # Asked again, the same answers are added and nothing else changes.
    before = worlds.rows(world.url, moments=True)
    later = NOON + timedelta(days=1)
    world.heal(DAY, later)
    assert worlds.rows(world.url, moments=True) == before
    (again,) = world.outages()
    assert (again.opened_at, again.asked_at, len(again.evidence)) == (NOON, later, 4)
    # The archive is mended, but for one trade: that one is the outage now, the other is history.
    world.lacks(rest=[lost], archive=[(lost[1], lost[1])])
    last = later + timedelta(days=1)
    assert world.heal(DAY, last).found == {"rest": 0, "archive": 19}
    (rest_of_it,) = world.outages()
    assert (rest_of_it.first_id, rest_of_it.opened_at) == (lost[1], last)
    (closed,) = [one for one in world.outages(closed=True) if one.closed_at]
    assert (closed.lacks, closed.closed_at) == (outage.lacks, last)
    assert closed.evidence[-1]["answered"].startswith("19 trades of")
    world.lacks()
    assert world.heal(DAY, last).found == {"rest": 1}
    assert world.outages() == []
    assert world.certificate(DAY).status is Status.HEALED


def test_source_that_does_not_answer_is_no_evidence(make: Any) -> None:
    lost = (FIRST + 100, FIRST + 119)
    world = make(rest=[lost])
    world.ingest(DAY)
    world.exchange.tell(
        "faults",
        [
            {"kind": "hole", "first": lost[0], "last": lost[1], "where": ["rest"]},
            {"kind": "status", "on": "archive.*", "status": 503},
        ],
    )
    report = world.heal(DAY)
    assert not report.outage
    (error,) = report.errors
    assert isinstance(error, VenueUnreachableError)
    assert world.outages(closed=True) == []
    assert world.certificate(DAY).missing == (lost,)
    # It answers again, and has it.
    world.lacks(rest=[lost])
    assert world.heal(DAY).found == {"rest": 0, "archive": 20}


def test_hole_across_midnight_is_seen_between_the_days_and_goes_to_both(make: Any) -> None:
    world = make("binance_archive", archive=[(TURN - 5, TURN + 4)])
    first, second = world.ingest(DAY, NEXT)
    # Each day alone looks whole.
    assert (first.status, second.status) == (Status.COMPLETE, Status.COMPLETE)
    report = world.heal(NEXT)
    assert report.lacked == f"{TURN - 5}-{TURN + 4}"
    assert report.found == {"rest": 10}
    first, second = world.certificate(DAY), world.certificate(NEXT)
    assert (first.last_id, second.first_id) == (TURN - 1, TURN)
    assert (first.status, second.status) == (Status.HEALED, Status.HEALED)
    assert world.is_whole_or_says_what_lacks() == []
    before = worlds.rows(world.url, moments=True)
    world.ingest(DAY, NEXT)
    assert not world.heal(NEXT).asked
    assert worlds.rows(world.url, moments=True) == before


def test_hole_across_midnight_that_nobody_has_is_named_until_it_is_found(make: Any) -> None:
    both = [(TURN - 5, TURN + 4)]
    world = make("binance_archive", archive=both, rest=[(TURN - 3, TURN + 1)])
    world.ingest(DAY, NEXT)
    world.heal(NEXT)
    assert world.is_whole_or_says_what_lacks() == list(range(TURN - 3, TURN + 2))
    assert world.certificate(NEXT).missing == ((TURN - 3, TURN + 1),)
    (outage,) = world.outages()
    assert (outage.day, outage.first_id, outage.last_id) == (NEXT, TURN - 3, TURN + 1)
    before = worlds.rows(world.url, moments=True)
    world.ingest(DAY, NEXT)
    assert worlds.rows(world.url, moments=True) == before
    # What belongs to the day before is found too, and goes there.
    world.lacks(archive=both)
    assert world.heal(NEXT).found == {"rest": 5}
    assert world.is_whole_or_says_what_lacks() == []
    assert world.outages() == []


def test_rows_of_a_collector_without_a_certificate_are_completed_not_fetched_again(
    make: Any,
) -> None:
    world = make()
    live = TRUTH.filter((pl.col("id") < TURN) & ~pl.col("id").is_between(FIRST + 50, FIRST + 60))
    with world.platform.connect() as connection, connection.transaction():
        hot.write_day(connection, world.symbol, DAY, live)
    counted = rest.Asked(world.exchange)
    (certificate,) = world.ingest(DAY)
    assert certificate.status is Status.COMPLETE
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    assert counted.of("binance.aggTrades") == 2  # the hole, and that nothing follows


def test_reopened_day_is_certified_anew_and_its_mark_goes_with_it(make: Any) -> None:
    world = make(rest=[(FIRST + 100, FIRST + 109)])
    world.ingest(DAY)
    late = TRUTH.filter(pl.col("id").is_between(FIRST + 100, FIRST + 104))
    writer = LiveWriter(world.url)
    assert writer.write({world.symbol: late}) == 5
    with world.platform.connect() as connection:
        assert outages.reopened(connection, "binance") == {(DAY, "SYN000USDT"): "late trades"}
    report = world.heal(DAY)
    assert report.reopened
    assert report.found["archive"] == 5
    assert world.certificate(DAY).missing == ()
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    with world.platform.connect() as connection:
        assert outages.reopened(connection, "binance") == {}


def test_corrected_trade_wins_over_the_stored_one_and_is_counted(make: Any) -> None:
    world = make()
    wrong = TRUTH.filter(pl.col("id") < TURN).with_columns(
        price=pl.when(pl.col("id") == FIRST + 7).then(1).otherwise("price")
    )
    with world.platform.connect() as connection, connection.transaction():
        hot.write_day(connection, world.symbol, DAY, wrong)
        manifest.put_certificate(connection, replace(_certificate(wrong), source="an older word"))
    (certificate,) = world.ingest(DAY)
    assert certificate.reconciled["restated"] == 1
    assert certificate.status is Status.COMPLETE
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    before = worlds.rows(world.url, moments=True)
    world.ingest(DAY)
    assert worlds.rows(world.url, moments=True) == before


def test_contradicted_day_is_fetched_whole_and_the_venue_has_the_last_word(make: Any) -> None:
    world = make()
    world.ingest(DAY)
    wrong = TRUTH.filter(pl.col("id") == FIRST + 7).with_columns(price=pl.lit(1, pl.Int64))
    writer = LiveWriter(world.url)
    # The stored trade stays, the day is open again: nobody knows yet which of the two is right.
    assert (writer.write({world.symbol: wrong}), writer.contradictions) == (0, 1)
    with world.platform.connect() as connection, connection.transaction():
        connection.execute("update hot_ticks set price = 1 where id = %s", (FIRST + 7,))
    report = world.heal(DAY)
    assert report.reopened
    assert world.trades(DAY).equals(TRUTH.filter(pl.col("id") < TURN))
    assert world.certificate(DAY).reconciled["restated"] == 1


@dataclass
class Bars:
    """A venue whose ids do not count, at the edge of the network: what it gives, set by the test."""

    given: DayTrades
    name: str = "binance"
    synthetic: bool = False
    sequential_ids: bool = False

    def fetch_day(self, instrument: Instrument, day: date) -> DayTrades:
        return self.given


class _Uncounted(Platform):
    """A platform with that venue, which nobody else can be asked for."""

    source: Bars

    def __init__(self, overrides: Any, source: Bars) -> None:
        super().__init__(overrides)
        object.__setattr__(self, "source", source)

    def venue(self, spec: VenueSpec) -> Venue:
        return self.source

    def healers(self, spec: VenueSpec) -> dict[str, Healer]:
        return {}


def test_venue_without_counted_ids_is_healed_by_its_own_bars(make: Any) -> None:
    whole = TRUTH.filter(pl.col("id") < TURN)
    part = whole.filter(pl.col("id") != FIRST + 50)
    lacking = DayTrades(part, "bars", {"bars_lacking": "10:01"})
    world = make()
    source = Bars(lacking)
    world.platform = _Uncounted(world.platform.overrides, source)
    (certificate,) = world.ingest(DAY)
    assert (certificate.status, certificate.missing) == (Status.INCOMPLETE, ())
    assert certificate.describe_missing() == "trades of 10:01"
    report = world.heal(DAY)
    assert report.outage
    (outage,) = world.outages()
    assert (outage.lacks, outage.first_id) == ("trades of 10:01", None)
    assert [one["source"] for one in outage.evidence] == ["bars"]
    # It has the trade at last.
    source.given = DayTrades(whole, "bars", {})
    assert world.heal(DAY).found == {"binance_rest": 1}
    assert world.certificate(DAY).status is Status.HEALED
    assert world.outages() == []
    assert world.trades(DAY).equals(whole)
    before = worlds.rows(world.url, moments=True)
    world.ingest(DAY)
    assert worlds.rows(world.url, moments=True) == before
    # What was proven is not given up for what is not.
    source.given = lacking
    world.ingest(DAY)
    assert worlds.rows(world.url, moments=True) == before


def _certificate(trades: pl.DataFrame) -> Certificate:
    from trader_pipelines.core.certificates import certify

    told: dict[str, Any] = {"venue": "binance", "symbol": "SYN000USDT", "day": DAY}
    return certify(trades, source="", synthetic=False, reconciled={}, **told)


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.long) for n in range(6, 200))]
)
def test_random_holes_in_both_sources_leave_each_trade_stored_once_or_named(
    make: Any, seed: int
) -> None:
    dice = random.Random(seed)

    def holes() -> list[tuple[int, int]]:
        # Some wide, some of one trade, one often at midnight; never the tape's own ends, which
        # only the next day or the klines could tell of.
        starts = [dice.randint(FIRST + 1, LAST - 400) for _ in range(dice.randint(0, 4))]
        starts += [TURN - dice.randint(0, 30)] if dice.random() < 0.6 else []
        return [(a, a + dice.choice([0, 0, 3, 40, 350])) for a in starts]

    gone = {"rest": holes(), "archive": holes()}
    source = dice.choice(["binance_rest", "binance_archive"])
    world = make(source, **gone)
    for day in (DAY, NEXT):
        # REST cannot prove a day whose first or last trades it lacks; healing asks the archive.
        with suppress(BadAnswerError):
            world.ingest(day)
    for day in (DAY, NEXT):
        assert world.heal(day).errors == []
    lost = [{i for a, b in ranges for i in range(a, b + 1)} for ranges in gone.values()]
    assert world.is_whole_or_says_what_lacks() == sorted(lost[0] & lost[1])
    named = {
        one
        for outage in world.outages()
        for one in range(outage.first_id or 0, (outage.last_id or 0) + 1)
    }
    assert named == lost[0] & lost[1]
    # Whatever runs again now changes nothing.
    before = worlds.rows(world.url, moments=True)
    for day in (DAY, NEXT):
        with suppress(BadAnswerError):
            world.ingest(day)
        world.heal(day)
    assert worlds.rows(world.url, moments=True) == before


def test_due_is_what_lacks_is_reopened_or_does_not_join_until_it_was_asked_for(make: Any) -> None:
    lost = (FIRST + 100, FIRST + 119)
    gap = (TURN - 5, TURN + 4)
    world = make("binance_archive", archive=[lost, gap], rest=[lost])
    world.ingest(DAY, NEXT)

    def wanted(now: datetime = NOON, **more: Any) -> list[tuple[date, str]]:
        with world.platform.connect() as connection:
            found = due(connection, world.platform, world.spec, now, **more)
        return [(one.day, one.why) for one in found]

    lacks = (DAY, f"lacks {lost[0]}-{lost[1]}")
    apart = (NEXT, "does not join the day before")
    assert wanted() == [lacks, apart]
    world.heal(NEXT)
    assert wanted() == [lacks]
    world.heal(DAY)
    # An outage is left alone for a day; by hand it can be asked for at any time.
    assert wanted(NOON + timedelta(hours=23)) == []
    assert wanted(NOON + timedelta(hours=24)) == [lacks]
    assert wanted(patient=False) == [lacks]
    with world.platform.connect() as connection:
        connection.execute(
            "insert into reopened (venue, symbol, day, reason) "
            "values ('binance', 'SYN000USDT', %s, 'late')",
            (NEXT,),
        )
    assert wanted() == [(NEXT, "reopened: late")]


def test_heal_sensor_asks_for_the_job_that_heals_once_a_state(make: Any) -> None:
    world = make("binance_archive", archive=[(FIRST + 9, FIRST + 11), (TURN - 5, TURN + 4)])
    world.ingest(DAY, NEXT)
    defs = definitions(world.platform)
    sensor = defs.resolve_sensor_def("binance_heal")
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> list[dg.RunRequest]:
            answer = sensor(
                dg.build_sensor_context(instance, resources={"platform": world.platform})
            )
            return list(answer.run_requests or ()) if isinstance(answer, dg.SensorResult) else []

        first = tick()
        assert [request.partition_key for request in first] == [str(DAY), str(NEXT)]
        assert [request.run_key for request in tick()] == [request.run_key for request in first]
        job = defs.resolve_job_def(str(sensor.job_name))
        for request in first:
            ran = job.execute_in_process(
                run_config={
                    **request.run_config,
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                asset_selection=list(request.asset_selection or ()),
                partition_key=request.partition_key,
                instance=instance,
            )
            assert ran.success
            said = {e.check_name: e.passed for e in ran.get_asset_check_evaluations()}
            # The first run leaves the gap to the second day as it was.
            assert said == {
                "certificates_are_complete": True,
                "days_join": request.partition_key == str(NEXT),
            }
        assert tick() == []
    assert world.is_whole_or_says_what_lacks() == []
    assert world.certificate(DAY).status is world.certificate(NEXT).status is Status.HEALED


def test_days_join_names_the_ids_between_two_days(make: Any) -> None:
    world = make("binance_archive", archive=[(TURN - 5, TURN + 4)])
    ran = worlds.run(world.platform, ("hot_ticks",), DAY, NEXT, venue="binance")
    assert ran.success
    said = ran.checks["days_join"]
    assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.WARN)
    ids = f"{TURN - 5}-{TURN + 4}"
    assert said.description == f"SYN000USDT lacks {ids} between {DAY} and {NEXT}"


def test_recheck_fetches_the_day_whose_bars_tell_otherwise_and_no_other(make: Any) -> None:
    world = make(rest=[(FIRST + 100, FIRST + 119)])
    world.ingest(DAY, NEXT)
    # The venue prints them late.
    world.lacks()
    counted = rest.Asked(world.exchange)
    with world.platform.connect() as connection:
        told = [
            recheck(connection, world.platform, world.spec, world.symbol, day)
            for day in (DAY, NEXT, NEXT + timedelta(days=1))
        ]
    assert [one and one.differed for one in told] == [True, False, None]
    assert world.is_whole_or_says_what_lacks() == []
    assert world.certificate(DAY).status is Status.COMPLETE
    assert 0 < counted.of("binance.aggTrades") <= 4


def test_reconcile_names_what_only_one_source_has(make: Any) -> None:
    world = make(rest=[(FIRST + 100, FIRST + 119)], archive=[(FIRST + 110, FIRST + 130)])
    (certificate,) = world.ingest(DAY)
    with world.platform.connect() as connection:
        made = reconcile(connection, world.platform, world.spec, world.symbol, certificate)
    told = {k: v for k, v in made.reconciled.items() if k.startswith("compared_")}
    assert told == {
        "compared_rest_archive_common": TURN - FIRST - 31,
        "compared_rest_only": 11,
        "compared_archive_only": 10,
        "compared_rest_archive_differing": 0,
    }
    assert world.certificate(DAY) == made
    # They speak of these trades: another ingest of them keeps them, healing does not.
    world.ingest(DAY)
    assert world.certificate(DAY) == made
    world.heal(DAY)
    assert not [k for k in world.certificate(DAY).reconciled if k.startswith("compared_")]


def test_trader_heal_tells_what_was_found_where_and_what_nobody_has(
    make: Any, tmp_path: Path
) -> None:
    lost, found = (FIRST + 100, FIRST + 119), (FIRST + 500, FIRST + 501)
    world = make("binance_archive", archive=[lost, found], rest=[lost])
    world.ingest(DAY)
    environment = {
        "TRADER_HOME": str(tmp_path),
        "TRADER_DATABASE_URL": world.url,
        "TRADER_UNIVERSE": str(world.platform.settings.universe),
        "TRADER_BINANCE_URL": world.exchange.urls["binance_rest"],
        "TRADER_ARCHIVE_URL": world.exchange.urls["archive"],
    }

    def trader(*arguments: str) -> Result:
        return CliRunner(env=environment).invoke(main, ["heal", "--venue", "binance", *arguments])

    dry = json.loads(trader("--dry-run", "--json").stdout)
    ids = f"{lost[0]}-{lost[1]}, {found[0]}-{found[1]}"
    assert dry["wanted"] == [{"symbol": "SYN000USDT", "day": str(DAY), "why": f"lacks {ids}"}]
    assert world.certificate(DAY).missing == (lost, found)
    ran = trader("--days", f"{DAY}..{DAY}", "--symbols", "SYN000USDT", "--json")
    assert ran.exit_code == 0, ran.output
    (told,) = json.loads(ran.stdout)["days"]
    assert (told["lacked"], told["found"]) == (ids, {"rest": 2, "archive": 0})
    assert (told["missing"], told["outage"], told["errors"]) == ([list(lost)], True, [])
    assert {one["answered"] for one in told["evidence"]} >= {f"no trade of {lost[0]}-{lost[1]}"}
    shown = trader()
    assert shown.exit_code == 0, shown.output
    assert f"outage: SYN000USDT on {DAY}, {lost[0]}-{lost[1]}: nobody has it" in shown.stdout
    refused = trader("--symbols", "NOSUCH")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("UnknownSymbolError: symbol 'NOSUCH'")


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_healing_killed_at_many_points_and_run_again_equals_the_unharmed(
    make: Any, postgres: Server, tmp_path: Path
) -> None:
    killed_and_again(make, postgres, tmp_path, points=24)


def killed_and_again(make: Any, postgres: Server, tmp_path: Path, points: int) -> None:
    """Kill healing at so many points of its course, run it again, compare all that is kept."""
    both = (FIRST + 300, FIRST + 303)
    gone = [(FIRST + 100, FIRST + 119), (TURN - 5, TURN + 4), both]
    world = make("binance_archive", archive=gone, rest=[both])
    world.ingest(DAY, NEXT)
    server, _, lacking = world.url.rpartition("/")
    arguments: dict[str, Any] = {
        "universe": UNIVERSE.format(source="binance_archive"),
        "days": [DAY, NEXT],
        "sources": {
            "archive_url": world.exchange.urls["archive"],
            "binance_url": world.exchange.urls["binance_rest"],
        },
    }

    def mend(nursery: Nursery, name: str, *fatal: int, again: bool = True) -> tuple[Any, Any]:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"create database {name} template {lacking}".encode())
        url, home = f"{server}/{name}", tmp_path / name
        passed: Any = None
        for point in fatal:
            signal, _ = nursery.run("mend", home=home, url=url, fatal=point, **arguments)
            assert signal == SIGKILL
        if again:
            _, passed = nursery.run("mend", home=home, url=url, count=not fatal, **arguments)
        kept = worlds.rows(url)
        with database.connect(url) as connection:
            told = [
                (one.day, one.lacks, [e["answered"] for e in one.evidence][:2], one.closed_at)
                for one in outages.get(connection, "binance", closed=True)
            ]
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)".encode())
        return passed, {**kept, "outages": told}

    with nurseries(1) as (nursery,):
        passed, unharmed = mend(nursery, "mended")
        assert {one["status"] for one in unharmed["certificates"]} == {"incomplete", "healed"}
        assert len(unharmed["outages"]) == 1
        dice = random.Random(7)
        fatal = sorted(dice.sample(range(1, len(passed) + 1), points))
        # In the midst of a write, and on both sides of a commit.
        for text in ("start copy halfway", "start commit before", "start commit after"):
            fatal.append(passed.index(text) + 1)
        odd = {
            passed[point - 1]: found
            for point in fatal
            if (found := worlds.differences(unharmed, mend(nursery, f"killed_{point}", point)[1]))
        }
        assert odd == {}
