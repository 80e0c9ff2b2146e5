"""What `usage` counts, exactly."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.stores.cold.usage import USAGE, usage
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, freeze, ingest, trades

PRICES = {"hot_price": Decimal("0.10"), "cold_price": Decimal("0.02")}


def test_usage_of_nothing_is_empty(auto: psycopg.Connection):
    found = usage(auto, **PRICES)
    assert found.schema == USAGE
    assert found.is_empty()


def test_usage_counts_bytes_by_tier_and_month(auto: psycopg.Connection, tmp_path: Path):
    ingest(auto, BTC, DAYS[0], trades(DAYS[0]))
    entries = [freeze(auto, tmp_path, BTC, day, trades(day)) for day in DAYS]
    found = usage(auto, **PRICES)
    assert found.schema == USAGE
    assert found["tier"].to_list() == ["cold", "hot"]
    cold, warm = found.to_dicts()
    assert (cold["trades"], cold["month"]) == (3_000, date(2024, 1, 1))
    assert cold["bytes"] == sum(entry.bytes for entry in entries)
    assert cold["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert cold["bytes_a_trade"] == cold["bytes"] / 3_000
    assert cold["monthly_cost"] == pytest.approx(cold["bytes"] / 1e9 * 0.02)
    row = auto.execute(
        "select sum(pg_total_relation_size(relid))::int8 from pg_partition_tree('hot_ticks') "
        "where isleaf and pg_relation_size(relid) > 0"
    ).fetchone()
    assert row is not None
    assert (warm["trades"], warm["bytes"]) == (1_000, row[0])
    assert warm["monthly_cost"] == pytest.approx(row[0] / 1e9 * 0.10)


def test_usage_tells_what_is_kept_for_the_past(auto: psycopg.Connection, tmp_path: Path):
    old = freeze(auto, tmp_path, BTC, DAYS[0], trades(DAYS[0]))
    new = freeze(auto, tmp_path, BTC, DAYS[0], trades(DAYS[0], 7))
    cold, superseded = usage(auto, **PRICES).to_dicts()
    assert (cold["tier"], cold["trades"], cold["bytes"]) == ("cold", 7, new.bytes)
    assert superseded["tier"] == "superseded"
    assert (superseded["trades"], superseded["bytes"]) == (1_000, old.bytes)
    assert superseded["monthly_cost"] == pytest.approx(old.bytes / 1e9 * 0.02)
