"""The same code on a real TimescaleDB: extensions, a hypertable, and the whole main job."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trader_pipelines import demo
from trader_pipelines.core.trades import TRADES
from trader_pipelines.platform import Platform
from trader_pipelines.stores import database, hot
from trader_pipelines.stores.live import LiveWriter
from trader_pipelines_tests.stores import test_hot
from trader_pipelines_tests.stores.timescale import timescale, unavailable

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    with timescale(tmp_path_factory.mktemp("timescale") / "root") as address:
        yield address


def test_prepare_on_timescaledb_makes_extensions_and_a_hypertable(url: str) -> None:
    database.prepare(url)
    with database.connect(url) as connection:
        extensions = connection.execute("select extname from pg_extension").fetchall()
        hypertables = connection.execute(
            "select hypertable_name from timescaledb_information.hypertables"
        ).fetchall()
    assert {("timescaledb",), ("vector",)} <= set(extensions)
    assert hypertables == [("hot_ticks",)]


def test_hot_day_on_a_hypertable_is_written_added_to_read_and_dropped(url: str) -> None:
    database.prepare(url)
    day, following = test_hot.DAY, date(2024, 1, 2)
    btc, eth = test_hot.instrument("TSBTC"), test_hot.instrument("TSETH")
    with database.connect(url) as connection:
        for each, when in ((btc, day), (eth, day), (btc, following)):
            hot.write_day(connection, each, when, test_hot.trades(1_000))
        hot.write_day(connection, btc, day, test_hot.trades(1_200, shift=3))
        connection.commit()
        writer = LiveWriter(url)
        assert (
            writer.write({btc: test_hot.trades(1_500, shift=3), eth: test_hot.trades(1_000)}) == 300
        )
        assert writer.write({btc: test_hot.trades(1_700, shift=3).tail(200)}) == 200
        assert writer.write({eth: test_hot.trades(10, shift=1)}) == 0
        assert writer.contradictions == 10
        writer.close()
        whole = test_hot.trades(1_700, shift=3)
        assert_frame_equal(hot.read_day(connection, btc, day), whole)
        assert_frame_equal(pl.concat(hot.read_chunks(connection, btc, day, rows=500)), whole)
        connection.commit()
        assert not hot.drop_partition(connection, day, [btc])
        assert hot.drop_day(connection, eth, day) == 1_000
        assert hot.drop_partition(connection, day, [btc])
        connection.commit()
        assert_frame_equal(hot.read_day(connection, btc, day), TRADES.to_frame())
        assert hot.read_day(connection, btc, following).height == 1_000
        assert hot.drop_partition(connection, following, [btc])
        connection.execute("delete from reopened")
        reason = hot.compress(connection)
        edition = connection.execute("show timescaledb.license").fetchone()
    if edition == ("timescale",):
        assert reason is None
    else:
        assert reason == "TimescaleDB's edition 'apache' has no compression; TSL has"


def test_main_job_on_timescaledb_equals_the_embedded_one(
    url: str, database_url: str, tmp_path: Path
) -> None:
    found = []
    for number, address in enumerate((url, database_url)):
        home = tmp_path / str(number)
        here = Platform({"home": home, "database_url": address, "synthetic_trades": 1_000})
        what = demo.plan(here, "synthetic", ("ALPHAUSD",), date(2024, 1, 1), date(2024, 1, 3))
        summary = demo.run(here, what)
        cold = home / "cold"
        files = {p.relative_to(cold): p.read_bytes() for p in cold.rglob("*") if p.is_file()}
        found.append((summary, files))
    assert found[0][0] == found[1][0]
    assert found[0][1] == found[1][1]
    with database.connect(url) as connection:
        chunks = connection.execute(
            "select count(*) from timescaledb_information.chunks"
        ).fetchone()
    assert chunks == (3,)
