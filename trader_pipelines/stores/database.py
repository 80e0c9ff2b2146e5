"""The way to Postgres: connect, and make sure that its schema is the one this code works with."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from trader_pipelines.core.errors import (
    DatabaseUnreachableError,
    DiskFullError,
    SchemaVersionError,
    SettingsError,
    TraderError,
)

#: The newest revision under ``migrations/versions``; kept here so that a check imports no Alembic.
HEAD = "0003"

VERSION_TABLE = "trader_schema_version"

CONNECT_TIMEOUT = 5  # seconds

_MIGRATING = 0x7472_6164_6572_0001  # advisory lock

#: Tables and views of the schema we would create ours in, those of extensions left out.
_TABLES = """
select c.relname from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
order by 1
"""


def connect(url: str) -> psycopg.Connection:
    """Open a connection whose session speaks UTC.

    Parameters
    ----------
    url : str
        ``postgresql://``, ``postgres://`` or ``postgresql+psycopg://``.

    Raises
    ------
    SettingsError
        When the URL is not one.
    DatabaseUnreachableError
        When the server does not answer in five seconds or refuses the login. Never tells the
        password.
    """
    parts = _parse(url)
    # Raised after the except block: the driver's own error must not hang on to ours as context.
    try:
        connection = psycopg.connect(_plain(url), connect_timeout=CONNECT_TIMEOUT)
        try:
            connection.execute("set time zone 'UTC'")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection
    except psycopg.Error as error:
        failure = _unreachable(parts, str(error))
    raise failure


@contextmanager
def typed_errors(url: str) -> Iterator[None]:
    """Tell a server that went away, or has no room, in our own words.

    Raises
    ------
    DatabaseUnreachableError
        When the connection broke under a statement.
    DiskFullError
        When the server's disk is full.
    """
    failure: TraderError
    try:
        yield
        return
    except psycopg.errors.DiskFull as error:
        failure = DiskFullError(
            f"the database has no room: {error.diag.message_primary}",
            where=where(url),
            remedy="free room on the database's disk; what was not committed is undone",
            retry=True,
        )
    except psycopg.OperationalError as error:
        failure = _unreachable(_parse(url), str(error))
    raise failure


def where(url: str) -> str:
    """Host, port and database of a URL, for a person: no user and no password."""
    parts = _parse(url)
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    return f"{host}:{port}/{parts.get('dbname', '')}"


def prepare(url: str) -> None:
    """Make a database ready: an empty one gets our tables, a right one passes.

    Raises
    ------
    SchemaVersionError
        When it has an older or newer schema, or holds somebody else's tables.
    """
    with connect(url) as connection:
        if _version(connection) is not None or _tables(connection):
            check_schema(connection)
            return
    migrate(url)


def check_schema(connection: psycopg.Connection) -> None:
    """Pass when the schema is the one of this code.

    Raises
    ------
    SchemaVersionError
        With both versions and what to do.
    """
    found = _version(connection)
    if found == HEAD:
        return
    place = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
    if found is None:
        tables = _tables(connection)
        holds = f"holds other tables ({', '.join(tables[:3])})" if tables else "is empty"
        what = f"the database {holds} and has no schema version; this code works with {HEAD}"
        remedy = (
            "give it a database of its own, or run `trader db upgrade` to create the tables here"
        )
    elif not re.fullmatch(r"\d{4}", found):
        what = f"the database has schema version {found!r}, which this code ({HEAD}) does not know"
        remedy = "name the right database in TRADER_DATABASE_URL"
    elif found < HEAD:
        what = f"the database has schema version {found}, older than the {HEAD} of this code"
        remedy = "run `trader db upgrade`"
    else:
        what = f"the database has schema version {found}, newer than the {HEAD} of this code"
        remedy = "update the package trader-pipelines to the version that made it"
    raise SchemaVersionError(what, where=place, remedy=remedy)


def migrate(url: str) -> None:
    """Bring the schema to `HEAD` in one transaction; safe from several processes at once.

    Raises
    ------
    SchemaVersionError
        When the schema is newer than this code, or tables of our names are there without a version.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", "trader_pipelines.stores:migrations")
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(url), poolclass=NullPool
    )
    failure: TraderError | None = None
    with connect(url) as watch, engine.connect() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
        if (found := _version(watch)) is not None and not ("0000" < found <= HEAD):
            check_schema(watch)
        if found == HEAD:
            return
        config.attributes["connection"] = connection
        config.attributes["version_table"] = VERSION_TABLE
        try:
            command.upgrade(config, "head")
            connection.commit()
        except DBAPIError as error:
            connection.rollback()
            failure = SchemaVersionError(
                f"the schema could not be brought to {HEAD}: {str(error.orig).splitlines()[0]}",
                where=where(url),
                remedy="give it a database of its own, and a role that may create tables in it",
            )
    if failure is not None:
        raise failure


def _version(connection: psycopg.Connection) -> str | None:
    """The revision a database is at, None without one; ``mixed`` when it tells several."""
    row = connection.execute("select to_regclass(%s)", (VERSION_TABLE,)).fetchone()
    if row is None or row[0] is None:
        return None
    rows = connection.execute(f"select version_num from {VERSION_TABLE}").fetchall()  # noqa: S608
    return str(rows[0][0]) if len(rows) == 1 else "mixed" if rows else None


def _tables(connection: psycopg.Connection) -> list[str]:
    return [row[0] for row in connection.execute(_TABLES)]


def _plain(url: str) -> str:
    return re.sub(r"^(postgresql\+psycopg|postgres)://", "postgresql://", url)


def _parse(url: str) -> dict[str, str]:
    plain = _plain(url)
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except psycopg.Error:
        parts = {}
    # An "@" or "/" in a password that is not percent-encoded ends up in the parts after it.
    torn = any(sign in parts.get(name, "") for name in ("host", "port", "dbname") for sign in "@:")
    ports = all(port.isdigit() for port in parts.get("port", "5432").split(","))
    if plain.startswith("postgresql://") and parts and ports and not torn:
        return parts
    raise SettingsError(
        "the database URL is not one (its text is not shown: it may hold a password)",
        where="database URL",
        remedy="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with every sign of the "
        "password other than letters and digits percent-encoded",
    )


def _unreachable(parts: dict[str, str], said: str) -> DatabaseUnreachableError:
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    reason = " ".join(said.split())
    for secret in {parts.get("password", ""), unquote(parts.get("password", ""))} - {""}:
        reason = reason.replace(secret, "***")
    return DatabaseUnreachableError(
        f"the database does not answer or refuses the login: {reason}",
        where=f"{host}:{port}/{parts.get('dbname', '')}",
        remedy="start it (`trader db start` for the embedded one), or correct TRADER_DATABASE_URL",
        retry=True,
    )
