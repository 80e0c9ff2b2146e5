"""Which version of each symbol's day counts, now or at a past moment, and where its trades lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import psycopg

COLD = "cold_ticks"


@dataclass(frozen=True, slots=True)
class Piece:
    """The trades of one symbol's day, told by their content, and where they are to be read.

    Parameters
    ----------
    symbol, day
    content_hash : str or None
        Of the trades; None where the manifest has no certificate and the file none either.
    rows : int or None
        What the certificate promises; None without one.
    path : str or None
        Of the cold file, below the root; None where the hot table has to answer.
    sha256, bytes, seals
        Of the cold file.
    """

    symbol: str
    day: date
    content_hash: str | None
    rows: int | None
    path: str | None = None
    sha256: str = ""
    bytes: int = 0
    seals: str | None = None


#: Cold answers when its trades are those of the certificate, hot when it was certified anew since.
_NOW = """
    select symbol, day, coalesce(c.content_hash, d.content_hash), coalesce(c.count, d.rows),
        case when fits then path end, case when fits then sha256 else '' end,
        case when fits then bytes else 0 end, case when fits then seals end
    from (select symbol, day, content_hash, count from certificates where venue = %(venue)s
            and symbol = any(%(symbols)s) and day between %(first)s and %(last)s) c
    full join (select symbol, day, content_hash, rows, path, sha256, bytes, seals
            from datasets where dataset = %(cold)s and venue = %(venue)s
            and symbol = any(%(symbols)s) and day between %(first)s and %(last)s) d
        using (symbol, day)
    cross join lateral (select c.content_hash is null
        or c.content_hash is not distinct from d.content_hash as fits) f
    order by symbol, day
"""

# Each row's revisions and stamps grow together, so the last revision stamped by then is what was
# known then.
_THEN = """
    select distinct on (symbol, day) symbol, day, content_hash, count,
        path, coalesce(sha256, ''), coalesce(bytes, 0), seals
    from (
        select symbol, day, content_hash, count, ts_ingest, revision
        from certificates where venue = %(venue)s
            and symbol = any(%(symbols)s) and day between %(first)s and %(last)s
        union all
        select symbol, day, content_hash, count, ts_ingest, revision
        from certificate_history where venue = %(venue)s
            and symbol = any(%(symbols)s) and day between %(first)s and %(last)s
    ) v
    left join (
        select symbol, day, content_hash, path, sha256, bytes, seals
        from datasets where dataset = %(cold)s and venue = %(venue)s
            and symbol = any(%(symbols)s) and day between %(first)s and %(last)s
        union all
        select symbol, day, content_hash, path, sha256, bytes, seals
        from dataset_history where dataset = %(cold)s and venue = %(venue)s
            and symbol = any(%(symbols)s) and day between %(first)s and %(last)s
    ) f using (symbol, day, content_hash)
    where ts_ingest <= %(as_of)s order by symbol, day, revision desc
"""

_FILE = """
    select path, sha256, bytes, seals from datasets
    where (dataset, venue, symbol, day) = (%(cold)s, %(venue)s, %(symbol)s, %(day)s)
        and content_hash is not distinct from %(content_hash)s
    union all
    select path, sha256, bytes, seals from dataset_history
    where (dataset, venue, symbol, day) = (%(cold)s, %(venue)s, %(symbol)s, %(day)s)
        and content_hash = %(content_hash)s
    limit 1
"""


def plan(
    connection: psycopg.Connection,
    venue: str,
    symbols: Sequence[str],
    first: date,
    last: date,
    *,
    as_of: datetime | None = None,
) -> list[Piece]:
    """Decide for each symbol's day of the manifest, in one statement, which trades count.

    Parameters
    ----------
    first, last : date
        Both included.
    as_of : datetime or None
        What was certified by then; None for now.

    Returns
    -------
    list of Piece
        By symbol and day.
    """
    told = {
        "venue": venue, "symbols": list(symbols), "first": first, "last": last, "cold": COLD,
        "as_of": as_of,
    }  # fmt: skip
    rows = connection.execute(_NOW if as_of is None else _THEN, told).fetchall()
    return [Piece(*row) for row in rows]


def locate(connection: psycopg.Connection, venue: str, piece: Piece) -> Piece:
    """The same trades where they lie now: in a cold file, kept or current, or else in hot."""
    row = connection.execute(
        _FILE,
        {
            "cold": COLD, "venue": venue, "symbol": piece.symbol, "day": piece.day,
            "content_hash": piece.content_hash,
        },
    ).fetchone()  # fmt: skip
    path, sha256, size, seals = row if row is not None else (None, "", 0, None)
    return replace(piece, path=path, sha256=sha256, bytes=size, seals=seals)
