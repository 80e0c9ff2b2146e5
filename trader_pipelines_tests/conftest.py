"""What tests share: the real tapes, one Postgres a session, a fresh database a test."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.stores import database, embedded

# A failure that may pass by itself is a failure here: nothing waits to try again.
os.environ.setdefault("TRADER_RETRIES", "0")

PROJECT = Path(__file__).resolve().parents[1]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real tapes, or a skip that says where it was looked for."""
    told = os.environ.get("TRADER_MARKET_DATA", "../shared/market-data")
    folder = (PROJECT / told).resolve()
    if not folder.is_dir():
        pytest.skip(f"no market data in {folder} (set TRADER_MARKET_DATA)")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.Server]:
    """One embedded server for all tests of this process (of each worker under xdist)."""
    home = Path(tempfile.mkdtemp(prefix="trader-"))
    home.chmod(0o755)
    try:
        server = embedded.start(home)
        # These databases live a second each: only their making and dropping wait for the disk.
        _execute(server, "alter system set fsync = off")
        _execute(server, "select pg_reload_conf()")
        yield server
    finally:
        embedded.remove(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def _template(postgres: embedded.Server) -> str:
    _execute(postgres, "create database template_migrated")
    database.migrate(_url(postgres, "template_migrated"))
    return "template_migrated"


@pytest.fixture
def empty_database_url(postgres: embedded.Server) -> Iterator[str]:
    """URL of a database without any table, dropped after the test."""
    yield from _database(postgres, "template0")


@pytest.fixture
def database_url(postgres: embedded.Server, _template: str) -> Iterator[str]:
    """URL of a fresh migrated database, dropped after the test."""
    yield from _database(postgres, _template)


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the test's fresh migrated database."""
    with database.connect(database_url) as connection:
        yield connection


def _database(postgres: embedded.Server, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _execute(postgres, f"create database {name} template {template}")
    yield _url(postgres, name)
    _execute(postgres, f"drop database {name} with (force)")


def _execute(postgres: embedded.Server, statement: str) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(statement.encode())


def _url(postgres: embedded.Server, name: str) -> str:
    return f"{postgres.url.rpartition('/')[0]}/{name}"
