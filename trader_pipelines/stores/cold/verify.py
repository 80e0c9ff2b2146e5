"""Every damaged, missing or extra file of the cold store, found and named."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg

from trader_pipelines.core.errors import (
    ChecksumError,
    DamagedFileError,
    MissingDataError,
    TraderError,
)
from trader_pipelines.core.trades import TRADES, content_hash
from trader_pipelines.stores import parquet


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


def verify(connection: psycopg.Connection, root: Path) -> list[Finding]:
    """Read every file of the manifest whole, and look for files that it does not name.

    Files are listed before the manifest is read, so that a file committed meanwhile is known; an
    extra file may be of a writer at work, or of one that was killed: its next run sweeps it.

    Returns
    -------
    list of Finding
        By path; empty when everything is as it should be.

    Raises
    ------
    MissingDataError
        When the root is no folder although the manifest names files in it.
    """
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    rows = connection.execute(
        "select dataset, path, sha256, rows, bytes, content_hash from datasets order by path"
    ).fetchall()
    if rows and not root.is_dir():
        raise MissingDataError(
            f"the cold store is not there; the manifest names {len(rows)} files in it",
            where=str(root),
            remedy="mount or restore it, or set TRADER_COLD_URL to where it lies",
        )
    named = {row[1] for row in rows}
    found = [
        Finding(path, Fault.EXTRA, "no row of the manifest names it") for path in there - named
    ]
    for dataset, path, sha256, count, size, hashed in rows:
        try:
            frame = parquet.read(root, path, sha256)
        except MissingDataError as error:
            found.append(Finding(path, Fault.MISSING, error.what))
        except ChecksumError as error:
            found.append(Finding(path, Fault.CHANGED, f"{error.what}, {size} when written"))
        except DamagedFileError as error:
            found.append(Finding(path, Fault.DAMAGED, error.what))
        except (OSError, TraderError) as error:
            found.append(Finding(path, Fault.DAMAGED, f"cannot be read: {error}"))
        else:
            wrong = ""
            if frame.height != count:
                wrong = f"{frame.height} rows, the manifest says {count}"
            elif dataset == "cold_ticks" and frame.schema != TRADES:
                wrong = f"columns {', '.join(frame.columns)} are not those of trades"
            elif dataset == "cold_ticks" and hashed not in {None, content_hash(frame)}:
                wrong = "its trades are not those of the manifest's content hash"
            if wrong:
                found.append(Finding(path, Fault.DAMAGED, wrong))
    return sorted(found, key=lambda finding: finding.path)
