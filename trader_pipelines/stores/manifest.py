"""The manifest: each symbol's day certified, and each Parquet file that counts as written.

A row's `revision` grows in the order of commits, and only when the row's content really changes:
whoever remembers the newest one he saw can ask what came since and miss nothing. To that end
writers take turns from their first change until they commit: put last in a transaction.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from trader_pipelines.core.certificates import Certificate, Status

_TAKING_TURNS = 0x7472_6164_6572_0003  # advisory lock

#: What is about to be replaced, kept so that the past can be asked for: every certificate, and of
#: cold trades the file whose content becomes another one.
_PAST_CERTIFICATE: LiteralString = """
    past as (
        insert into certificate_history
            (venue, symbol, day, revision, status, count, content_hash, source, ts_ingest)
        select venue, symbol, day, revision, status, count, content_hash, source, ts_ingest
        from certificates where (venue, symbol, day) = (%(venue)s, %(symbol)s, %(day)s)
        on conflict do nothing
    )
"""
_PAST_FILE: LiteralString = """
    back as (
        delete from dataset_history
        where (dataset, venue, symbol, day) = (%(dataset)s, %(venue)s, %(symbol)s, %(day)s)
            and content_hash = %(content_hash)s
    ),
    past as (
        insert into dataset_history (dataset, venue, symbol, day, content_hash, path, rows, bytes,
            sha256, seals, schema_version)
        select dataset, venue, symbol, day, content_hash, path, rows, bytes, sha256, seals,
            schema_version
        from datasets
        where (dataset, venue, symbol, day) = (%(dataset)s, %(venue)s, %(symbol)s, %(day)s)
            and dataset = 'cold_ticks' and content_hash <> %(content_hash)s
        on conflict do nothing
    )
"""


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One Parquet file of a dataset; the row is what makes the file part of it.

    Parameters
    ----------
    dataset, venue, symbol, day
        What the file holds: ``cold_ticks``, ``bars``, ``features`` of a symbol's day.
    path : str
        Below the cold store's root.
    rows, bytes : int
        Rows in it, and its size.
    sha256 : str
        Of the file's bytes.
    content_hash : str or None
        Of what it holds, whatever the file format; None where there is no such thing.
    schema_version : int
        Of the dataset's columns.
    code_version : str
        Of the code that made it.
    status : Status
        Of the certificates that it was built on, the weakest.
    synthetic : bool
        True when no venue ever printed what it rests on.
    inputs : mapping
        Names of the datasets it was made from, and their hashes.
    metadata : mapping
        Anything else that JSON can hold.
    seals : str or None
        Hashes of the file's parts, see `trader_pipelines.stores.cold.seals`; None where it has none
        and is to be checked whole.
    written_at : datetime or None
        UTC, set by the database when the entry last changed.
    revision : int or None
        Set by the database.
    """

    dataset: str
    venue: str
    symbol: str
    day: date
    path: str
    rows: int
    bytes: int
    sha256: str
    content_hash: str | None
    schema_version: int
    code_version: str
    status: Status
    synthetic: bool
    inputs: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seals: str | None = None
    written_at: datetime | None = field(default=None, compare=False)
    revision: int | None = field(default=None, compare=False)


def put_certificate(connection: psycopg.Connection, certificate: Certificate) -> bool:
    """Keep one certificate within the caller's transaction; False when it was there already."""
    return put_certificates(connection, [certificate]) == 1


def put_certificates(connection: psycopg.Connection, certificates: Iterable[Certificate]) -> int:
    """Keep certificates within the caller's transaction; how many were new or different."""
    rows = [
        {
            "venue": c.venue, "symbol": c.symbol, "day": c.day, "status": str(c.status),
            "count": c.count, "fills": c.fills, "first_id": c.first_id, "last_id": c.last_id,
            "missing": as_json([list(one) for one in c.missing]), "content_hash": c.content_hash,
            "source": c.source, "synthetic": c.synthetic, "reconciled": as_json(dict(c.reconciled)),
        }
        for c in certificates
    ]  # fmt: skip
    key: tuple[LiteralString, ...] = ("venue", "symbol", "day")
    return _put(connection, "certificates", key, "ts_ingest", rows, past=_PAST_CERTIFICATE)


def get_certificate(
    connection: psycopg.Connection, venue: str, symbol: str, day: date
) -> Certificate | None:
    """One certificate, None when the symbol's day has none."""
    found = get_certificates(connection, venue, symbols=(symbol,), first=day, last=day)
    return found[0] if found else None


def get_certificates(
    connection: psycopg.Connection,
    venue: str,
    *,
    symbols: Sequence[str] | None = None,
    first: date = date.min,
    last: date = date.max,
) -> list[Certificate]:
    """Certificates of a venue by day and symbol.

    Parameters
    ----------
    symbols : sequence of str or None
        Only these; None for all.
    first, last : date
        Both included.
    """
    rows = _get(connection, "certificates", venue, symbols=symbols, first=first, last=last)
    return [
        Certificate(
            venue=row["venue"], symbol=row["symbol"], day=row["day"], status=Status(row["status"]),
            count=row["count"], fills=row["fills"], first_id=row["first_id"],
            last_id=row["last_id"], missing=tuple((a, b) for a, b in row["missing"]),
            content_hash=row["content_hash"], source=row["source"], synthetic=row["synthetic"],
            reconciled=row["reconciled"],
        )
        for row in rows
    ]  # fmt: skip


def put_dataset(connection: psycopg.Connection, entry: DatasetEntry) -> bool:
    """Keep one entry within the caller's transaction; False when it was there already."""
    return put_datasets(connection, [entry]) == 1


def put_datasets(connection: psycopg.Connection, entries: Iterable[DatasetEntry]) -> int:
    """Keep entries within the caller's transaction; how many were new or different."""
    rows = [
        {
            "dataset": e.dataset, "venue": e.venue, "symbol": e.symbol, "day": e.day,
            "path": e.path, "rows": e.rows, "bytes": e.bytes, "sha256": e.sha256,
            "content_hash": e.content_hash, "schema_version": e.schema_version,
            "code_version": e.code_version, "status": str(e.status), "synthetic": e.synthetic,
            "inputs": as_json(dict(e.inputs)), "metadata": as_json(dict(e.metadata)),
            "seals": e.seals,
        }
        for e in entries
    ]  # fmt: skip
    key: tuple[LiteralString, ...] = ("dataset", "venue", "symbol", "day")
    return _put(connection, "datasets", key, "written_at", rows, past=_PAST_FILE)


def get_dataset(
    connection: psycopg.Connection, dataset: str, venue: str, symbol: str, day: date
) -> DatasetEntry | None:
    """One entry, None when the file was never written."""
    found = get_datasets(connection, dataset, venue, symbols=(symbol,), first=day, last=day)
    return found[0] if found else None


def get_datasets(
    connection: psycopg.Connection,
    dataset: str,
    venue: str,
    *,
    symbols: Sequence[str] | None = None,
    first: date = date.min,
    last: date = date.max,
) -> list[DatasetEntry]:
    """Entries of a dataset and venue by day and symbol; see `get_certificates`."""
    rows = _get(
        connection, "datasets", venue, symbols=symbols, first=first, last=last, dataset=dataset
    )
    return [DatasetEntry(**{**row, "status": Status(row["status"])}) for row in rows]


def changed_since(
    connection: psycopg.Connection, venue: str, revision: int
) -> tuple[list[tuple[date, str]], int]:
    """Which days and symbols were certified anew since `revision`, and the newest one now.

    A revision of another database, beyond anything this one gave out, starts over from nothing.

    Parameters
    ----------
    revision : int
        What the last call returned; 0 for everything.

    Returns
    -------
    list of (date, str), int
        By day and symbol, each once; `revision` itself when nothing changed.
    """
    row = connection.execute("select last_value from manifest_revision").fetchone()
    assert row is not None
    since = revision if revision <= row[0] else 0
    rows = connection.execute(
        "select day, symbol, revision from certificates where venue = %s and revision > %s "
        "order by day, symbol",
        (venue, since),
    ).fetchall()
    return [(day, symbol) for day, symbol, _ in rows], max((r for *_, r in rows), default=since)


def settle(connection: psycopg.Connection) -> None:
    """Wait for writers at work: whatever was stamped before now can then be seen."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock_shared(%s)", (_TAKING_TURNS,))


def as_json(value: object) -> Jsonb:
    """A value for a jsonb column; NaN and infinity, which JSON has not, raise ValueError."""
    return Jsonb(value, dumps=lambda told: json.dumps(told, allow_nan=False))


def _put(
    connection: psycopg.Connection,
    table: LiteralString,
    key: tuple[LiteralString, ...],
    stamp: LiteralString,
    rows: list[dict[str, Any]],
    *,
    past: LiteralString,
) -> int:
    names = tuple(rows[0]) if rows else key
    rest = [name for name in names if name not in key]
    same = " and ".join(f"t.{name} = %({name})s" for name in key)
    mine = ", ".join(f"%({name})s" for name in rest)
    theirs = ", ".join(f"t.{name}" for name in rest)
    unchanged = f"select 1 from {table} t where {same} and ({theirs}) is not distinct from ({mine})"  # noqa: S608
    changed = [row for row in rows if not connection.execute(unchanged.encode(), row).fetchone()]
    if not changed:
        return 0
    # Held until the commit: revisions become visible in their order.
    connection.execute("select pg_advisory_xact_lock(%s)", (_TAKING_TURNS,))
    update = ", ".join(f"{name} = excluded.{name}" for name in (*rest, "revision"))
    # Stamped in the order of commits, and never back: a clock that was set back must not make what
    # is newer look older.
    upsert = f"""
        with {past}
        insert into {table} as t ({", ".join(names)}, {stamp})
        values ({", ".join(f"%({name})s" for name in names)}, clock_timestamp())
        on conflict ({", ".join(key)}) do update
        set {update}, {stamp} = greatest(excluded.{stamp}, t.{stamp})
        where ({theirs}) is distinct from ({", ".join(f"excluded.{name}" for name in rest)})
    """  # noqa: S608
    return sum(connection.execute(upsert.encode(), row).rowcount for row in changed)


def _get(
    connection: psycopg.Connection,
    table: LiteralString,
    venue: str,
    *,
    symbols: Sequence[str] | None,
    first: date,
    last: date,
    dataset: str | None = None,
) -> list[dict[str, Any]]:
    narrowed = " and dataset = %(dataset)s" if dataset is not None else ""
    narrowed += " and symbol = any(%(symbols)s)" if symbols is not None else ""
    query = (
        f"select * from {table} where venue = %(venue)s and day between %(first)s and %(last)s"  # noqa: S608
        f"{narrowed} order by day, symbol"
    )
    told = {"venue": venue, "first": first, "last": last, "dataset": dataset}
    told["symbols"] = None if symbols is None else list(symbols)
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), told).fetchall()
