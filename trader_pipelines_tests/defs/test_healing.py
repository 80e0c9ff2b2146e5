"""A late trade re-opens the partitions that it touches and their descendants, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from trader_pipelines.core.certificates import Status
from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.steps import models
from trader_pipelines.stores import manifest
from trader_pipelines_tests.end_to_end import tasks, worlds

WEDNESDAY, THURSDAY = date(2024, 1, 3), date(2024, 1, 4)
DAY_STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
BUILT = ("cold_ticks", "bars", "features", "labels", "signals")

Asked = tuple[str, str, tuple[str, ...], tuple[str, ...]]


@pytest.fixture
def parts(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr(models, "decide", tasks.open_gate())
    return worlds.platform(tmp_path, database_url, training_weeks=1)


class Sensors:
    """The sensors of the synthetic venue, each with the cursor that it was left with."""

    def __init__(self, parts: Platform, instance: dg.DagsterInstance) -> None:
        self.parts, self.instance = parts, instance
        self.cursors: dict[str, str | None] = {}

    def tick(self, name: str) -> list[dg.RunRequest]:
        """What a sensor asks for now."""
        sensor = definitions(self.parts).resolve_sensor_def(f"synthetic_{name}")
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursors.get(name), resources={"platform": self.parts}
        )
        answer = sensor(context)
        assert isinstance(answer, dg.SensorResult)
        self.cursors[name] = answer.cursor
        return list(answer.run_requests or ())


def tick(parts: Platform, name: str, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What a sensor asks for that remembers nothing."""
    return Sensors(parts, instance).tick(name)


def told(job: str, request: dg.RunRequest) -> Asked:
    """Job, partition, stages and symbols of a request."""
    stages = tuple(key.path[-1] for key in request.asset_selection or ())
    ops: Mapping[str, Any] = request.run_config.get("ops", {})
    symbols = {tuple(op["config"]["symbols"]) for op in ops.values()}
    assert len(symbols) <= 1
    return job, str(request.partition_key), stages, next(iter(symbols), ())


def execute(parts: Platform, job: str, request: dg.RunRequest) -> None:
    """Run what was asked for, as the daemon does."""
    resolved = definitions(parts).resolve_job_def(f"synthetic_{job}")
    keys = list(request.asset_selection or ()) or None
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    ran = resolved.execute_in_process(
        run_config={**request.run_config, **quiet},
        asset_selection=keys,
        partition_key=request.partition_key,
    )
    assert ran.success
    if keys:
        # Each asset that was asked for was built, and its checks were run.
        built = {event.asset_key for event in ran.all_events if event.is_step_materialization}
        assert built == set(keys)


def settle(parts: Platform, sensors: Sensors | None = None) -> list[Asked]:
    """Let the sensors ask until they are silent, and run all that they ask for; what it was."""
    asked: list[Asked] = []
    keys: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        sensors = sensors or Sensors(parts, instance)
        while requests := [
            (job, request)
            for sensor, job in (("new_ticks", "rebuild"), ("new_lessons", "week"))
            for request in sensors.tick(sensor)
        ]:
            assert len(asked) < 60, "the sensors do not come to rest"
            for job, request in requests:
                asked.append(told(job, request))
                keys.append(f"{job}:{request.run_key}")
                execute(parts, job, request)
        # A key that comes twice would not have been run the second time.
        assert len(set(keys)) == len(keys)
        # Who remembers nothing finds nothing more to do than who goes by what he has seen.
        assert not [r for name in ("new_ticks", "new_lessons") for r in tick(parts, name, instance)]
    return asked


def stamps(parts: Platform) -> dict[tuple[str, str, str], tuple[int, str]]:
    """Revision and path of every file that counts, by dataset, symbol and day."""
    rows = worlds.rows(parts.database_url(), moments=True)["datasets"]
    return {(r["dataset"], r["symbol"], str(r["day"])): (r["revision"], r["sha256"]) for r in rows}


def build(parts: Platform, last: date) -> None:
    """Everything up to a day: ticks to labels, every whole week learned from, then signals."""
    assert worlds.run(parts, DAY_STAGES, worlds.MONDAY, last).success
    weeks = ("training_set", "candidate_model", "champion_model")
    whole = worlds.MONDAY + timedelta(days=((last - worlds.MONDAY).days + 1) // 7 * 7 - 7)
    assert worlds.run(parts, weeks, worlds.MONDAY, whole).success
    assert worlds.run(parts, ("signals",), worlds.MONDAY, last).success


def correct(parts: Platform, day: date, seed: int = 8) -> None:
    """The venue corrects a day of one symbol: another seed prints other trades."""
    other = worlds.platform(parts.settings.home, parts.database_url(), synthetic_seed=seed)
    assert worlds.run(other, ("hot_ticks",), day, symbols=["AAA"]).success


def test_late_trade_in_a_symbols_day_asks_for_what_rests_on_it_and_nothing_else(
    parts: Platform,
) -> None:
    build(parts, date(2024, 1, 21))
    with dg.DagsterInstance.ephemeral() as instance:
        sensors = Sensors(parts, instance)
        # Nothing is stale: also the digests that a training set recorded are those of the database.
        assert settle(parts, sensors) == []
        before = stamps(parts)
        correct(parts, WEDNESDAY)
        asked = settle(parts, sensors)
    spoken = [str(date(2024, 1, 8) + timedelta(days=n)) for n in range(7)]
    assert asked == [
        # The day itself, then what its tail warms up, then the week that holds both.
        ("rebuild", "2024-01-03", BUILT, ("AAA",)),
        ("rebuild", "2024-01-04", ("features", "signals"), ("AAA",)),
        ("week", "2024-01-01", (), ()),
        # Another model speaks in the week after.
        *(("rebuild", day, ("signals",), ("AAA", "BBB")) for day in spoken),
    ]
    after = stamps(parts)
    touched = {place for place in after if after[place] != before[place]}
    expected = {(dataset, "AAA", "2024-01-03") for dataset in (
        "cold_ticks", "minute_bars", "dollar_bars", "features", "labels", "signals"
    )}  # fmt: skip
    expected |= {("features", "AAA", "2024-01-04"), ("signals", "AAA", "2024-01-04")}
    expected |= {("training_set", "_pool", "2024-01-01"), ("oos_forecasts", "_pool", "2024-01-01")}
    expected |= {("signals", symbol, day) for symbol in ("AAA", "BBB") for day in spoken}
    assert touched == expected
    assert settle(parts) == []


def test_status_of_a_certificate_reaches_all_that_rests_on_it(parts: Platform) -> None:
    build(parts, date(2024, 1, 7))
    with parts.connect() as connection, connection.transaction():
        found = manifest.get_certificate(connection, "synthetic", "AAA", WEDNESDAY)
        assert found is not None
        manifest.put_certificate(connection, replace(found, status=Status.HEALED))
    before = {place: stamp[1] for place, stamp in stamps(parts).items()}
    assert settle(parts) == [
        ("rebuild", "2024-01-03", BUILT, ("AAA",)),
        ("rebuild", "2024-01-04", ("features", "signals"), ("AAA",)),
        ("week", "2024-01-01", (), ()),
    ]
    rows = worlds.rows(parts.database_url())
    healed = {
        (row["dataset"], row["symbol"], str(row["day"]))
        for row in rows["datasets"]
        if row["status"] == "healed"
    }
    assert {dataset for dataset, _, _ in healed} >= {
        "cold_ticks", "minute_bars", "features", "labels", "signals", "training_set",
        "oos_forecasts",
    }  # fmt: skip
    assert {row["status"] for row in rows["models"]} == {"healed"}
    # The same trades, bars and features: only what is told of them has changed.
    assert {
        place for place, stamp in stamps(parts).items()
        if stamp[1] != before[place] and place[0] != "cold_ticks"
    } == set()  # fmt: skip


def test_trades_corrected_and_corrected_back_are_asked_for_each_time(parts: Platform) -> None:
    assert worlds.run(parts, DAY_STAGES, worlds.MONDAY).success
    keys = []
    with dg.DagsterInstance.ephemeral() as instance:
        for seed in (8, 7, 8):
            correct(parts, worlds.MONDAY, seed)
            (request,) = tick(parts, "new_ticks", instance)
            keys.append(request.run_key)
            execute(parts, "rebuild", request)
        assert tick(parts, "new_ticks", instance) == []
    assert len(set(keys)) == 3


def test_day_that_a_run_is_building_is_not_asked_for(parts: Platform) -> None:
    assert worlds.run(parts, ("hot_ticks",), worlds.MONDAY, WEDNESDAY).success
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions(parts).resolve_job_def("synthetic_rebuild")
        tags = {**job.tags, "dagster/partition": "2024-01-02"}
        run = instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus.STARTED)
        asked = [request.partition_key for request in tick(parts, "new_ticks", instance)]
        assert asked == ["2024-01-01", "2024-01-03"]
        instance.report_run_failed(run)
        asked = [request.partition_key for request in tick(parts, "new_ticks", instance)]
        assert asked == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_heal_job_heals_by_default() -> None:
    job = definitions(Platform({"home": "/nowhere"})).resolve_job_def("binance_heal")
    assert job.partitioned_config is not None
    config = job.partitioned_config.get_run_config_for_partition_key("2024-01-02")
    assert config == {"ops": {"binance__hot_ticks": {"config": {"heal": True}}}}


def test_recheck_asks_for_the_last_closed_sessions(tmp_path: Path) -> None:
    parts = Platform({"home": tmp_path, "recheck_days": 2})
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance,
            scheduled_execution_time=datetime(2024, 1, 16, 12, 20, tzinfo=UTC),
            resources={"platform": parts},
            repository_def=definitions(parts).get_repository_def(),
        )
        schedule = definitions(parts).resolve_schedule_def("alpaca_recheck")
        requests = schedule.evaluate_tick(context).run_requests
    # The 15th was a holiday, the 13th and 14th a weekend.
    assert [request.partition_key for request in requests or ()] == ["2024-01-11", "2024-01-12"]
    config = (requests or [])[0].run_config["ops"]["alpaca__hot_ticks"]["config"]
    assert config["recheck"] is True
