"""Where cold files lie: written once, whole or not at all."""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trader_pipelines.core.errors import (
    ChecksumError,
    DamagedFileError,
    MissingDataError,
    TraderError,
)
from trader_pipelines.stores.files import disk_errors, sync_folder, write_atomic

SCHEME = "az://"

Buffer = bytes | mmap.mmap

#: Of a file's bytes: the first, and the first one after.
Span = tuple[int, int]


class Backend(Protocol):
    """Files by their path below a root; safe to use from several threads."""

    def create(self, path: str, content: bytes) -> None:
        """Write a file that must not be there yet; equal content that is there is no fault.

        Raises
        ------
        ChecksumError
            When other content lies there: what was written is never overwritten.
        """

    def replace(self, path: str, content: bytes) -> None:
        """Put a file in the place of one that is proven damaged, in one step."""

    def get(self, path: str) -> bytes:
        """A file's content; MissingDataError where there is none."""

    def view(self, path: str) -> Buffer:
        """A file's content as `get` gives it, without a copy where that can be spared."""

    def get_spans(self, path: str, spans: Sequence[Span]) -> list[bytes]:
        """Parts of a file's content, none empty; shorter ones where the file ends before them."""

    def names(self, prefix: str = "") -> list[str]:
        """Paths of all files below a folder, ascending."""

    def remove(self, path: str) -> None:
        """Remove a file, or nothing where there is none."""

    def where(self, path: str = "") -> str:
        """Address of a file, or of the root, for a person."""

    def present(self) -> bool:
        """Whether the root itself is there."""


def at(root: Backend | Path) -> Backend:
    """A store as it is given, or the folder as one."""
    return Disk(root) if isinstance(root, Path) else root


@dataclass(frozen=True, slots=True)
class Disk:
    """Files of a local folder."""

    root: Path

    def create(self, path: str, content: bytes) -> None:
        file = self.root / path
        try:
            there = self.get(path)
        except MissingDataError:
            return write_atomic(file, content)
        if there != content:
            raise taken(str(file))
        # Its writer may have been killed before the folder's entry was on disk.
        return sync_folder(file.parent)

    def replace(self, path: str, content: bytes) -> None:
        write_atomic(self.root / path, content)

    def get(self, path: str) -> bytes:
        with _reading(self.where(path)):
            return (self.root / path).read_bytes()

    def view(self, path: str) -> Buffer:
        # Files are replaced as a whole and never cut short, so the map stays good.
        with _reading(self.where(path)), (self.root / path).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def get_spans(self, path: str, spans: Sequence[Span]) -> list[bytes]:
        with _reading(self.where(path)), (self.root / path).open("rb") as file:
            return [os.pread(file.fileno(), end - start, start) for start, end in spans]

    def names(self, prefix: str = "") -> list[str]:
        found = (self.root / prefix).rglob("*")
        return sorted(f.relative_to(self.root).as_posix() for f in found if f.is_file())

    def remove(self, path: str) -> None:
        with disk_errors(self.root / path):
            (self.root / path).unlink(missing_ok=True)

    def where(self, path: str = "") -> str:
        return str(self.root / path)

    def present(self) -> bool:
        return self.root.is_dir()


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise missing(where) from None
    except PermissionError:
        raise TraderError(
            "may not read this file",
            where=where,
            remedy="give this user the right to read it",
        ) from None
    except OSError as error:
        raise DamagedFileError(
            f"cannot be read: {error.strerror}",
            where=where,
            remedy="check the disk, then restore it or materialize its partition again",
        ) from None


def missing(where: str) -> MissingDataError:
    return MissingDataError(
        "there is no such file",
        where=where,
        remedy="restore it, or materialize its partition again",
    )


def taken(where: str) -> ChecksumError:
    return ChecksumError(
        "another content lies under this name; nothing was overwritten",
        where=where,
        remedy="run `trader cold verify`; remove the file if no manifest row names it",
    )
