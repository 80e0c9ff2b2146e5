"""Connecting and schema versions, against a real server."""

import socket
import subprocess
import sys
import threading
import traceback

import psycopg
import pytest

from trader_pipelines.core.errors import (
    DatabaseUnreachableError,
    SchemaVersionError,
    SettingsError,
    TraderError,
)
from trader_pipelines.stores import database
from trader_pipelines.stores.embedded import Server

SECRET = "s3cr3t-Gr8"
TABLES = {
    "certificate_history", "certificates", "champions", "dataset_history", "datasets", "hot_ticks",
    "instruments", "models", "outages", "reopened",
}  # fmt: skip


def tables(url: str) -> set[str]:
    with database.connect(url) as connection:
        return set(database._tables(connection)) - {database.VERSION_TABLE}


def test_head_constant_equals_the_newest_alembic_revision():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "trader_pipelines.stores:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_connect_with_each_scheme_gives_a_utc_session(postgres: Server, scheme: str):
    url = postgres.url.replace("postgresql", scheme, 1)
    with database.connect(url) as connection:
        connection.rollback()
        assert connection.execute("show timezone").fetchone() == ("UTC",)


def test_connect_with_nobody_listening_names_the_address_and_not_the_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DatabaseUnreachableError) as caught:
            database.connect(f"postgresql://trader:{SECRET}@127.0.0.1:{port}/ticks")
    assert caught.value.where == f"127.0.0.1:{port}/ticks"
    assert caught.value.retry
    assert SECRET not in everything_told(caught.value)


def test_connect_with_a_wrong_password_says_so_and_not_the_password(postgres: Server):
    with pytest.raises(DatabaseUnreachableError, match="password authentication failed") as caught:
        database.connect(f"postgresql://trader:{SECRET}@127.0.0.1:{postgres.port}/trader")
    assert SECRET not in everything_told(caught.value)


def test_connect_with_a_silent_server_gives_up_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(DatabaseUnreachableError, match="timeout"):
            database.connect(f"postgresql://trader:{SECRET}@127.0.0.1:{port}/ticks")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://trader:{SECRET}/x@127.0.0.1/ticks",
        f"postgresql://trader:12/{SECRET}@127.0.0.1/ticks",
        f"postgresql://trader:a@{SECRET}@127.0.0.1/ticks",
        f"postgresql://trader:{SECRET}@127.0.0.1:port/ticks",
        f"postgresql://trader:{SECRET}@[127.0.0.1/ticks",
        f"mysql://trader:{SECRET}@127.0.0.1/ticks",
        f"host=127.0.0.1 password={SECRET}",
        SECRET,
        "",
    ],
)
def test_connect_with_a_torn_url_is_refused_without_its_text(url: str):
    with pytest.raises(SettingsError) as caught:
        database.connect(url)
    assert SECRET not in everything_told(caught.value)


def everything_told(error: TraderError) -> str:
    assert error.__cause__ is None
    chain = "" if error.__context__ is None else str(error.__context__)
    return (
        "".join(traceback.format_exception(error))
        + repr(error)
        + chain * (not error.__suppress_context__)
    )


def test_prepare_of_an_empty_database_creates_the_tables(empty_database_url: str):
    database.prepare(empty_database_url)
    assert tables(empty_database_url) == TABLES
    with database.connect(empty_database_url) as connection:
        database.check_schema(connection)
        extensions = {row[0] for row in connection.execute("select extname from pg_extension")}
        assert "vector" in extensions


def test_prepare_twice_changes_nothing(database_url: str, conn: psycopg.Connection):
    conn.execute("insert into instruments (venue, symbol, price_scale, size_scale) "
                 "values ('binance', 'BTCUSDT', 2, 5)")  # fmt: skip
    conn.commit()
    database.prepare(database_url)
    database.migrate(database_url)
    assert conn.execute("select count(*) from instruments").fetchone() == (1,)


def test_prepare_of_a_ready_database_imports_no_alembic(database_url: str):
    code = (
        "import sys; from trader_pipelines.stores import database; "
        "database.prepare(sys.argv[1]); "
        "assert not {'alembic', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, database_url], check=True)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("0000", "trader db upgrade"), ("9999", "update the package"), ("5f3a9c", "right database")],
)
def test_prepare_of_another_version_names_both_and_the_remedy(
    database_url: str, conn: psycopg.Connection, version: str, remedy: str
):
    conn.execute("update trader_schema_version set version_num = %s", (version,))
    conn.commit()
    with pytest.raises(SchemaVersionError, match=version) as caught:
        database.prepare(database_url)
    assert database.HEAD in caught.value.what
    assert remedy in caught.value.remedy


def test_migrate_of_the_first_schema_adds_what_came_since_and_keeps_the_rows(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
):
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        database.migrate(empty_database_url)
    assert tables(empty_database_url) < TABLES
    kept = (
        "insert into instruments (venue, symbol, price_scale, size_scale) values ('v', 's', 2, 5)"
    )
    with database.connect(empty_database_url) as connection:
        connection.execute(kept)
    with pytest.raises(SchemaVersionError, match="trader db upgrade"):
        database.prepare(empty_database_url)
    database.migrate(empty_database_url)
    database.prepare(empty_database_url)
    assert tables(empty_database_url) == TABLES
    with database.connect(empty_database_url) as connection:
        assert connection.execute("select venue, symbol from instruments").fetchall() == [
            ("v", "s")
        ]


@pytest.mark.parametrize("version", ["9999", "5f3a9c"])
def test_migrate_of_a_version_it_does_not_know_is_refused(
    database_url: str, conn: psycopg.Connection, version: str
):
    conn.execute("update trader_schema_version set version_num = %s", (version,))
    conn.commit()
    with pytest.raises(SchemaVersionError, match=version):
        database.migrate(database_url)


def test_prepare_of_a_foreign_database_is_refused_and_leaves_it(empty_database_url: str):
    with database.connect(empty_database_url) as connection:
        connection.execute("create table customers (name text)")
    with pytest.raises(SchemaVersionError, match="customers"):
        database.prepare(empty_database_url)
    assert tables(empty_database_url) == {"customers"}


def test_migrate_beside_other_tables_creates_ours(empty_database_url: str):
    with database.connect(empty_database_url) as connection:
        connection.execute("create table customers (name text)")
    database.migrate(empty_database_url)
    database.prepare(empty_database_url)
    assert tables(empty_database_url) == TABLES | {"customers"}


def test_migrate_over_a_table_of_our_name_fails_whole(empty_database_url: str):
    with database.connect(empty_database_url) as connection:
        connection.execute("create table models (name text)")
    with pytest.raises(SchemaVersionError, match='"models" already exists'):
        database.migrate(empty_database_url)
    assert tables(empty_database_url) == {"models"}


def test_prepare_from_six_threads_at_once_migrates_once(empty_database_url: str):
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        try:
            barrier.wait()
            database.prepare(empty_database_url)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert tables(empty_database_url) == TABLES


def test_migrate_without_the_right_to_create_is_typed(postgres: Server, empty_database_url: str):
    with database.connect(empty_database_url) as connection:
        connection.execute(f"create role reader login password '{SECRET}'")
    try:
        url = empty_database_url.partition("@")[2]
        with pytest.raises(SchemaVersionError, match="permission denied") as caught:
            database.migrate(f"postgresql://reader:{SECRET}@{url}")
        assert SECRET not in everything_told(caught.value)
    finally:
        with database.connect(postgres.url) as connection:
            connection.execute("drop role reader")


def test_migrate_as_a_role_without_extensions_creates_the_tables(
    postgres: Server, empty_database_url: str
):
    with database.connect(empty_database_url) as connection:
        connection.execute(f"create role owner login password '{SECRET}'")
        connection.execute("grant create on schema public to owner")
    try:
        url = empty_database_url.partition("@")[2]
        database.prepare(f"postgresql://owner:{SECRET}@{url}")
        assert tables(empty_database_url) == TABLES
    finally:
        with database.connect(empty_database_url) as connection:
            connection.execute("drop owned by owner cascade")
            connection.execute("drop role owner")
