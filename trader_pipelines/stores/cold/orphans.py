"""Cold files that no row of the manifest names: left behind by a writer that was killed."""

import re
from datetime import date
from pathlib import Path

import psycopg

from trader_pipelines.stores.cold import history
from trader_pipelines.stores.cold.backend import Backend, at

#: Only what lies where we write is ever taken for ours.
_PLACE = re.compile(
    r"(?P<dataset>[^/]+)/venue=(?P<venue>[^/]+)/symbol=(?P<symbol>[^/]+)/"
    r"day=(?P<day>\d{4}-\d\d-\d\d)/[^/]+"
)

_NAMED = "select path from (select path from datasets union select path from dataset_history) named"


def orphans(connection: psycopg.Connection, store: Backend | Path) -> list[str]:
    """Files in a dataset's folders that no row of the manifest names, ascending.

    One of them may be of a writer that has not committed yet.
    """
    # Listed before the manifest is read: a file committed meanwhile is known.
    there = [path for path in at(store).names() if _PLACE.fullmatch(path)]
    named = {path for (path,) in connection.execute(_NAMED)}
    return [path for path in there if path not in named]


def sweep(connection: psycopg.Connection, store: Backend | Path) -> list[str]:
    """Remove the orphans, each under its key's lock: what a writer is about to commit stays.

    Returns
    -------
    list of str
        Paths removed.
    """
    return [path for path in orphans(connection, store) if _remove(connection, store, path)]


def _remove(connection: psycopg.Connection, store: Backend | Path, path: str) -> bool:
    match = _PLACE.fullmatch(path)
    assert match is not None, path
    dataset, venue, symbol, day = match.groups()
    with connection.transaction():
        history.lock(connection, dataset, venue, symbol, date.fromisoformat(day))
        if connection.execute(f"{_NAMED} where path = %s", (path,)).fetchone() is not None:
            return False
        at(store).remove(path)
    return True
