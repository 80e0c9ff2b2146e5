"""What hot holds, whichever way the planner goes about it."""

from datetime import date, timedelta

import psycopg
import pytest

from trader_pipelines.stores import hot
from trader_pipelines.stores.cold.holdings import empty_days, holdings
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, ingest, trades


@pytest.mark.parametrize("switch", ["enable_nestloop", "enable_hashjoin", "enable_indexscan"])
def test_empty_days_are_found_under_every_plan(auto: psycopg.Connection, switch: str):
    for day in DAYS[:2]:
        ingest(auto, BTC, day, trades(day, 10))
    with auto.transaction():
        hot.drop_day(auto, BTC, DAYS[0])
    auto.execute("vacuum analyze pg_class")
    auto.execute(f"set {switch} = off")
    auto.execute("set enable_bitmapscan = off")
    assert empty_days(auto, date.max) == [DAYS[0]]
    assert empty_days(auto, DAYS[0] - timedelta(days=1)) == []
    assert [held.day for held in holdings(auto)] == [DAYS[1]]
