"""What runs by itself asks for the right partitions, each state of a day once."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines_tests.end_to_end import worlds

DAY_STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
TUESDAY = worlds.MONDAY + timedelta(days=1)


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return definitions(Platform({"home": "/nowhere"}))


def utc(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def tick(defs: dg.Definitions, name: str, moment: str) -> Any:
    """What a schedule answers at a moment."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance,
            scheduled_execution_time=utc(moment),
            repository_def=defs.get_repository_def(),
        )
        return defs.resolve_schedule_def(name).evaluate_tick(context)


@pytest.mark.parametrize(
    ("name", "moment", "partition"),
    [
        ("synthetic_close_day", "2024-01-02 00:10", "2024-01-01"),
        ("synthetic_close_day", "2024-03-01 00:10", "2024-02-29"),
        # The nights in which clocks change somewhere.
        ("synthetic_close_day", "2024-03-31 00:10", "2024-03-30"),
        ("synthetic_close_day", "2024-11-04 00:10", "2024-11-03"),
        ("binance_close_day", "2020-11-02 08:10", "2020-11-01"),
        ("binance_close_day", "2017-07-15 08:10", "2017-07-14"),
        ("synthetic_learn", "2024-01-08 00:40", "2024-01-01"),
        ("synthetic_learn", "2024-11-04 00:40", "2024-10-28"),
        ("binance_learn", "2017-07-24 08:40", "2017-07-17"),
        ("binance_learn", "2021-01-04 08:40", "2020-12-28"),
        ("kraken_close_day", "2024-01-02 00:10", "2024-01-01"),
        # Half past eight in New York, in winter and in summer time.
        ("alpaca_close_day", "2024-01-10 01:30", "2024-01-09"),
        ("alpaca_close_day", "2024-07-10 00:30", "2024-07-09"),
        # The Fridays before and the Mondays after the clocks change there.
        ("alpaca_close_day", "2024-03-09 01:30", "2024-03-08"),
        ("alpaca_close_day", "2024-03-12 00:30", "2024-03-11"),
        ("alpaca_close_day", "2024-11-02 00:30", "2024-11-01"),
        ("alpaca_close_day", "2024-11-05 01:30", "2024-11-04"),
        # A half day.
        ("alpaca_close_day", "2024-11-30 01:30", "2024-11-29"),
        ("alpaca_learn", "2024-01-08 05:40", "2024-01-01"),
        # On a holiday the week before it is learned from all the same.
        ("alpaca_learn", "2024-05-27 04:40", "2024-05-20"),
    ],
)
def test_schedule_asks_for_the_partition_that_is_just_over(
    defs: dg.Definitions, name: str, moment: str, partition: str
) -> None:
    (request,) = tick(defs, name, moment).run_requests
    assert (request.partition_key, request.run_key) == (partition, partition)
    # The partition exists at that moment, and it is the last one that does.
    job = defs.resolve_job_def(defs.resolve_schedule_def(name).job_name)
    cut = job.partitions_def
    assert cut is not None
    assert cut.get_partition_keys(current_time=utc(moment))[-1] == partition


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("synthetic_close_day", "2024-01-01 00:10"),
        ("binance_close_day", "2017-07-14 08:10"),
        # The venue began within that week.
        ("binance_learn", "2017-07-17 08:40"),
        ("synthetic_learn", "2024-01-01 00:40"),
        ("alpaca_close_day", "2016-01-01 01:30"),
        ("alpaca_learn", "2016-01-04 05:40"),
    ],
)
def test_schedule_before_a_venues_first_partition_skips(
    defs: dg.Definitions, name: str, moment: str
) -> None:
    result = tick(defs, name, moment)
    assert result.run_requests == []
    assert "begins on" in result.skip_message


@pytest.mark.parametrize("moment", ["2024-07-05 00:30", "2025-01-10 01:30", "2024-12-26 01:30"])
def test_schedule_on_a_day_without_a_session_skips(defs: dg.Definitions, moment: str) -> None:
    result = tick(defs, "alpaca_close_day", moment)
    assert result.run_requests == []
    day = (utc(moment) - timedelta(days=1)).date()
    assert result.skip_message == f"XNYS has no session on {day}"


def test_schedules_tick_daily_and_on_mondays_after_the_days_end(defs: dg.Definitions) -> None:
    found = {
        schedule.name: (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name)
        for schedule in (defs.resolve_schedule_def(s.name) for s in defs.schedules or ())
    }
    assert found == {
        "synthetic_close_day": ("10 0 * * *", "UTC", "synthetic_day"),
        "synthetic_learn": ("40 0 * * 1", "UTC", "synthetic_week"),
        "binance_close_day": ("10 8 * * *", "UTC", "binance_day"),
        "binance_learn": ("40 8 * * 1", "UTC", "binance_week"),
        "kraken_close_day": ("10 0 * * *", "UTC", "kraken_day"),
        "kraken_learn": ("40 0 * * 1", "UTC", "kraken_week"),
        "alpaca_close_day": ("30 20 * * 1-5", "America/New_York", "alpaca_day"),
        "alpaca_learn": ("40 0 * * 1", "America/New_York", "alpaca_week"),
        "storage_retention_daily": ("30 10 * * *", "UTC", "storage_retention"),
        "synthetic_recheck": ("20 12 * * *", "UTC", "synthetic_heal"),
        "binance_recheck": ("20 12 * * *", "UTC", "binance_heal"),
        "kraken_recheck": ("20 12 * * *", "UTC", "kraken_heal"),
        "alpaca_recheck": ("20 12 * * *", "UTC", "alpaca_heal"),
    }
    # Off until somebody turns them on: nothing runs because it was installed.
    automated = [*(defs.schedules or ()), *(defs.sensors or ())]
    assert {one.default_status.value for one in automated if hasattr(one, "default_status")} == {
        "STOPPED"
    }


@pytest.fixture
def parts(tmp_path: Path, database_url: str) -> Platform:
    return worlds.platform(tmp_path, database_url)


def asked(parts: Platform) -> list[tuple[str, str]]:
    """Partition and run key of what the sensor of new ticks asks for now; nothing for a skip."""
    sensor = definitions(parts).resolve_sensor_def("synthetic_new_ticks")
    assert sensor.job_name == "synthetic_rebuild"
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance, resources={"platform": parts})
        answer = sensor(context)
    if isinstance(answer, dg.SkipReason):
        return []
    assert isinstance(answer, dg.SensorResult)
    return [(str(r.partition_key), str(r.run_key)) for r in answer.run_requests or ()]


def test_new_ticks_with_nothing_in_the_house_skips(parts: Platform) -> None:
    assert asked(parts) == []


def test_new_ticks_asks_for_days_without_bars_under_stable_keys(parts: Platform) -> None:
    assert worlds.run(parts, ("hot_ticks",), worlds.MONDAY, TUESDAY).success
    first = asked(parts)
    assert [partition for partition, _ in first] == ["2024-01-01", "2024-01-02"]
    assert all(key.startswith(f"{partition}:") for partition, key in first)
    assert asked(parts) == first


def test_new_ticks_is_silent_once_all_is_built(parts: Platform) -> None:
    assert worlds.run(parts, DAY_STAGES, worlds.MONDAY, TUESDAY).success
    assert asked(parts) == []


def test_new_ticks_asks_for_the_day_whose_trades_have_changed(parts: Platform) -> None:
    assert worlds.run(parts, DAY_STAGES, worlds.MONDAY, TUESDAY).success
    # The venue corrects a day: another seed prints other trades.
    corrected = worlds.platform(parts.settings.home, parts.database_url(), synthetic_seed=8)
    assert worlds.run(corrected, ("hot_ticks",), TUESDAY).success
    ((partition, key),) = asked(parts)
    assert partition == "2024-01-02"
    # Corrected once more, the state is another one and so is the key.
    again = worlds.platform(parts.settings.home, parts.database_url(), synthetic_seed=9)
    assert worlds.run(again, ("hot_ticks",), TUESDAY, symbols=["AAA"]).success
    ((partition, other),) = asked(parts)
    assert partition == "2024-01-02"
    assert other != key
    # What the sensor asks for settles it.
    rebuilt = worlds.run(parts, ("cold_ticks", "bars", "features", "labels"), TUESDAY)
    assert rebuilt.success
    assert asked(parts) == []


def test_new_ticks_asks_for_a_day_on_which_one_symbol_lacks_its_bars(parts: Platform) -> None:
    assert worlds.run(parts, DAY_STAGES, worlds.MONDAY, symbols=["AAA"]).success
    assert asked(parts) == []
    assert worlds.run(parts, ("hot_ticks",), worlds.MONDAY, symbols=["BBB"]).success
    assert [partition for partition, _ in asked(parts)] == ["2024-01-01"]


def test_new_ticks_asks_for_at_most_thirty_days_a_tick_the_oldest_first(parts: Platform) -> None:
    assert worlds.run(parts, ("hot_ticks",), worlds.MONDAY, date(2024, 2, 5)).success
    days = [worlds.MONDAY + timedelta(days=n) for n in range(30)]
    assert [partition for partition, _ in asked(parts)] == [day.isoformat() for day in days]


def test_new_ticks_without_a_database_fails_typed_and_asks_for_nothing(tmp_path: Path) -> None:
    from trader_pipelines.core.errors import DatabaseUnreachableError

    parts = worlds.platform(tmp_path, "postgresql://me:s3cr3t-Gr8@127.0.0.1:9/none")
    with pytest.raises(DatabaseUnreachableError) as told:
        asked(parts)
    assert "s3cr3t-Gr8" not in str(told.value)
