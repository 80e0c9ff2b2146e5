"""Superseded cold files: kept for those who ask what was known then, until they are forgotten."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import psycopg

from trader_pipelines.stores.cold.backend import Backend, at


@dataclass(frozen=True, slots=True)
class Superseded:
    """A cold file whose trades were replaced by others.

    Parameters
    ----------
    dataset, venue, symbol, day
    content_hash : str
        Of its trades, as the certificate of its time has it.
    path, rows, bytes, sha256
        As the manifest had them.
    superseded_at : datetime
        UTC.
    """

    dataset: str
    venue: str
    symbol: str
    day: date
    content_hash: str
    path: str
    rows: int
    bytes: int
    sha256: str
    superseded_at: datetime


def superseded(connection: psycopg.Connection, venue: str | None = None) -> list[Superseded]:
    """All files of the history, of one venue or of all, by path."""
    rows = connection.execute(
        """
        select dataset, venue, symbol, day, content_hash, path, rows, bytes, sha256, superseded_at
        from dataset_history where %(venue)s::text is null or venue = %(venue)s order by path
        """,
        {"venue": venue},
    ).fetchall()
    return [Superseded(*row) for row in rows]


def paths(
    connection: psycopg.Connection, dataset: str, venue: str, symbol: str, day: date
) -> list[str]:
    """Paths of a key's superseded files."""
    rows = connection.execute(
        "select path from dataset_history "
        "where (dataset, venue, symbol, day) = (%s, %s, %s, %s) order by path",
        (dataset, venue, symbol, day),
    ).fetchall()
    return [path for (path,) in rows]


def forget(connection: psycopg.Connection, root: Backend | Path, file: Superseded) -> bool:
    """Give up a superseded file: its row first, then the file itself.

    Killed between the two, the file is an orphan: the next writer of its key sweeps it.

    Returns
    -------
    bool
        False when it is no longer superseded: its trades count again, or somebody was faster.
    """
    key = (file.dataset, file.venue, file.symbol, file.day)
    with connection.transaction():
        lock(connection, *key)
        gone = connection.execute(
            "delete from dataset_history "
            "where (dataset, venue, symbol, day) = (%s, %s, %s, %s) and content_hash = %s",
            (*key, file.content_hash),
        ).rowcount
    with connection.transaction():
        lock(connection, *key)
        if gone and not named(connection, file.path):
            at(root).remove(file.path)
    return bool(gone)


def lock(connection: psycopg.Connection, dataset: str, venue: str, symbol: str, day: date) -> None:
    """Wait for the writer of a key, and keep others out until the transaction ends."""
    key = f"{venue}/{dataset} of {symbol} on {day}"
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))


def named(connection: psycopg.Connection, path: str) -> bool:
    """Whether a row of the manifest or of the history names a file."""
    row = connection.execute(
        "select exists (select from datasets where path = %(path)s) "
        "or exists (select from dataset_history where path = %(path)s)",
        {"path": path},
    ).fetchone()
    return row == (True,)
