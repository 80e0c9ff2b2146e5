"""The same code on a real TimescaleDB: extensions, a hypertable, and the whole main job."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from trader_pipelines import demo
from trader_pipelines.platform import Platform
from trader_pipelines.stores import database
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
