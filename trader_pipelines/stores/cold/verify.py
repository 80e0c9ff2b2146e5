"""Every damaged, missing or extra file of the cold store, found and named."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg

from trader_pipelines.core.errors import ChecksumError, DamagedFileError, MissingDataError
from trader_pipelines.stores import parquet
from trader_pipelines.stores.cold import history, streaming
from trader_pipelines.stores.cold.backend import Backend, at
from trader_pipelines.stores.cold.plan import COLD


class Fault(StrEnum):
    """What can be wrong with a file."""

    MISSING = "missing"
    CHANGED = "changed"
    DAMAGED = "damaged"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that is not as the manifest says.

    Parameters
    ----------
    path : str
        Relative to the cold root.
    fault : Fault
    said : str
        For a person.
    """

    path: str
    fault: Fault
    said: str


#: Current files, and those kept for the past.
_FILES = """
    select dataset, path, sha256, rows, bytes, content_hash from datasets
    union
    select dataset, path, sha256, rows, bytes, content_hash from dataset_history
    order by path
"""


def verify(
    connection: psycopg.Connection,
    root: Backend | Path,
    *,
    told: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Read every file of the manifest whole, and look for files that it does not name.

    Files are listed before the manifest is read, so that a file committed meanwhile is known; an
    extra file may be of a writer at work, or of one that was killed: its next run sweeps it.

    Parameters
    ----------
    told : callable or None
        Called after each file with how many were read, of how many.

    Returns
    -------
    list of Finding
        By path; empty when everything is as it should be.

    Raises
    ------
    MissingDataError
        When the root is no folder although the manifest names files in it.
    SettingsError, TraderError
        When the store refuses the credentials, has no such container or does not answer: that says
        nothing about its files.
    """
    store = at(root)
    there = set(store.names())
    rows = connection.execute(_FILES).fetchall()
    if rows and not store.present():
        raise MissingDataError(
            f"the cold store is not there; the manifest names {len(rows)} files in it",
            where=store.where(),
            remedy="mount or restore it, or set TRADER_COLD_URL to where it lies",
        )
    named = {row[1] for row in rows}
    found = [
        Finding(path, Fault.EXTRA, "no row of the manifest names it") for path in there - named
    ]
    for done, row in enumerate(rows, 1):
        finding = _examine(store, *row)
        # Missing because it was replaced meanwhile? Then nothing names it any more.
        if finding is not None and (
            finding.fault is not Fault.MISSING or history.named(connection, finding.path)
        ):
            found.append(finding)
        if told is not None:
            told(done, len(rows))
    return sorted(found, key=lambda finding: finding.path)


def _examine(
    store: Backend, dataset: str, path: str, sha256: str, count: int, size: int, hashed: str | None
) -> Finding | None:
    try:
        content = parquet.fetch(store, path, sha256)
        if dataset == COLD:
            # A column of a row group at a time: a day of any length fits.
            rows, proven = streaming.proof(content, path)
        else:
            rows, proven = parquet.decode(content, path).height, ""
    except MissingDataError as error:
        return Finding(path, Fault.MISSING, error.what)
    except ChecksumError as error:
        return Finding(path, Fault.CHANGED, f"{error.what}, {size} when written")
    except (DamagedFileError, OSError) as error:
        return Finding(path, Fault.DAMAGED, getattr(error, "what", f"cannot be read: {error}"))
    if rows != count:
        return Finding(path, Fault.DAMAGED, f"{rows} rows, the manifest says {count}")
    if dataset == COLD and hashed not in {None, proven}:
        wrong = "its trades are not those of the manifest's content hash"
        return Finding(path, Fault.DAMAGED, wrong)
    return None
