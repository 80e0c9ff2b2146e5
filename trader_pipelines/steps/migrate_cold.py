"""Migration: cold files of older layouts rewritten, each proven, from wherever it stopped."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from trader_pipelines.platform import Platform
from trader_pipelines.stores.cold import migrate, orphans
from trader_pipelines.stores.datasets import SCHEMA_VERSION, Key


@dataclass(frozen=True, slots=True)
class Waiting:
    """Files of one dataset whose layout is older than this code's."""

    dataset: str
    venue: str
    schema_version: int
    files: int
    bytes: int


def waiting(connection: psycopg.Connection) -> list[Waiting]:
    """What there is to rewrite, by dataset, venue and version; nothing when all is done."""
    rows = connection.execute(
        "select dataset, venue, schema_version, count(*), sum(bytes)::int8 from datasets "
        "where schema_version < %s group by 1, 2, 3 order by 1, 2, 3",
        (SCHEMA_VERSION,),
    )
    return [Waiting(*row) for row in rows]


def migrate_cold(
    connection: psycopg.Connection,
    platform: Platform,
    *,
    told: Callable[[Key], None] | None = None,
) -> tuple[int, list[str]]:
    """Rewrite every file of an older layout, and sweep what a run that was killed left behind.

    Parameters
    ----------
    connection : Connection
        Outside of any transaction.
    told : callable or None
        Called with each key that was rewritten.

    Returns
    -------
    int, list of str
        Files rewritten; paths swept.

    Raises
    ------
    MissingDataError, ChecksumError, DamagedFileError
        Naming the file that cannot be read; those before it stay rewritten.
    """
    places = sorted({(one.dataset, one.venue) for one in waiting(connection)})
    done = [
        migrate.migrate(connection, platform.cold, dataset, venue, told=told)
        for dataset, venue in places
    ]
    return sum(done), orphans.sweep(connection, platform.cold)
