"""Writing a file whole or not at all, and saying plainly when the disk is full."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from trader_pipelines.core.errors import DiskFullError, TraderError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `path` into typed errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"no room to write: {error.strerror}",
                where=str(path),
                remedy="free room on that disk, or move TRADER_HOME or TRADER_COLD_URL; "
                "nothing was half-written, run the partition again",
                retry=True,
            ) from None
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise TraderError(
                f"may not write: {error.strerror}",
                where=str(path),
                remedy="give this user the right to write there, or set TRADER_HOME elsewhere",
            ) from None
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees all of it or none of it.

    Raises
    ------
    DiskFullError
        With nothing left behind.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring a folder's list of files to disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
