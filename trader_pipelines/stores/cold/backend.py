"""Where cold files lie: a folder, or a container of Azure Blob; written once, whole or not at all.

Azure's credentials come from the environment when they are needed: AZURE_STORAGE_ACCOUNT_NAME
with AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or a managed identity where neither is set.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from trader_pipelines.core.errors import (
    ChecksumError,
    MissingDataError,
    SettingsError,
    TraderError,
)
from trader_pipelines.stores.files import write_atomic

SCHEME = "az://"


class Backend(Protocol):
    """Files by their path below a root."""

    def create(self, path: str, content: bytes) -> None:
        """Write a file that must not be there yet; equal content that is there is no fault.

        Raises
        ------
        ChecksumError
            When other content lies there: what was written is never overwritten.
        """

    def get(self, path: str) -> bytes:
        """A file's content; MissingDataError where there is none."""

    def names(self, prefix: str = "") -> list[str]:
        """Paths of all files below a folder, ascending."""

    def remove(self, path: str) -> None:
        """Remove a file, or nothing where there is none."""


def open_backend(url: str) -> Backend:
    """The backend of a folder, ``file:///…`` or ``az://container/prefix``.

    Raises
    ------
    SettingsError
        When the address cannot be one.
    """
    if url.startswith(SCHEME):
        container, _, prefix = url.removeprefix(SCHEME).strip("/").partition("/")
        if not container:
            raise _address("it names no container")
        return Azure(container, prefix)
    if "://" in url and not url.startswith("file:///"):
        raise _address("neither a folder nor file:/// nor az://")
    return Disk(Path(url.removeprefix("file://")))


@dataclass(frozen=True, slots=True)
class Disk:
    """Files of a local folder."""

    root: Path

    def create(self, path: str, content: bytes) -> None:
        file = self.root / path
        if file.exists():
            if file.read_bytes() != content:
                raise _taken(str(file))
            return
        write_atomic(file, content)

    def get(self, path: str) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            raise _missing(str(self.root / path)) from None

    def names(self, prefix: str = "") -> list[str]:
        found = (self.root / prefix).rglob("*")
        return sorted(f.relative_to(self.root).as_posix() for f in found if f.is_file())

    def remove(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Azure:
    """Blobs of a container; every request is retried for a minute where that can help.

    Parameters
    ----------
    container, prefix : str
    options : mapping
        Of obstore's `AzureStore`, over the environment; never shown.
    """

    container: str
    prefix: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    seconds: float = 60

    def create(self, path: str, content: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._errors(path):
            try:
                obstore.put(self._store(), path, content, mode="create")
            except AlreadyExistsError:
                # A writer of the same content before us, or our own request whose answer was lost.
                if self.get(path) != content:
                    raise _taken(self._where(path)) from None

    def get(self, path: str) -> bytes:
        import obstore

        with self._errors(path):
            return bytes(obstore.get(self._store(), path).bytes())

    def names(self, prefix: str = "") -> list[str]:
        import obstore

        with self._errors(prefix):
            batches = obstore.list(self._store(), prefix or None)
            return sorted(blob["path"] for batch in batches for blob in batch)

    def remove(self, path: str) -> None:
        import obstore

        with self._errors(path):
            try:
                obstore.delete(self._store(), path)
            except FileNotFoundError:
                return

    def _store(self) -> Any:
        from obstore.store import AzureStore

        return AzureStore(
            self.container,
            prefix=self.prefix or None,
            retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=self.seconds)},
            **self.options,
        )

    def _where(self, path: str) -> str:
        return SCHEME + "/".join(part for part in (self.container, self.prefix, path) if part)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Typed errors; the client's own text is dropped, it can hold a signed address."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except FileNotFoundError as error:
            if "ContainerNotFound" in str(error):
                raise SettingsError(
                    f"there is no container {self.container!r}",
                    where=self._where(""),
                    remedy="create it, or correct TRADER_COLD_URL",
                ) from None
            raise _missing(self._where(path)) from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise SettingsError(
                "Azure refuses the credentials",
                where=self._where(path),
                remedy="check AZURE_STORAGE_ACCOUNT_NAME and its key, SAS token or managed "
                "identity, and that it may read and write blobs",
            ) from None
        except (BaseError, OSError) as error:
            raise TraderError(
                f"Azure does not answer as it should ({type(error).__name__})",
                where=self._where(path),
                remedy="run it again; nothing was half-written",
                retry=True,
            ) from None


def _missing(where: str) -> MissingDataError:
    return MissingDataError(
        "there is no such file",
        where=where,
        remedy="restore it, or materialize its partition again",
    )


def _taken(where: str) -> ChecksumError:
    return ChecksumError(
        "another content lies under this name; nothing was overwritten",
        where=where,
        remedy="run `trader cold verify`; remove the file if no manifest row names it",
    )


def _address(why: str) -> SettingsError:
    return SettingsError(
        f"cold_url is no address of a store: {why}",
        where="environment, TRADER_COLD_URL",
        remedy="set a folder, file:///… or az://container/prefix",
    )
