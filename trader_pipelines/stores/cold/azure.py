"""Cold files as blobs of an Azure container, created once and never half-written.

Credentials come from the environment when they are needed: AZURE_STORAGE_ACCOUNT_NAME with
AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or a managed identity where neither is set.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from trader_pipelines.core.errors import MissingDataError, SettingsError, TraderError
from trader_pipelines.stores.cold.backend import SCHEME, Span, missing, taken

# A batch of deletions answers 200 and tells in its body what Azure said of each.
_NO_CONTAINER = ("ContainerNotFound", "The specified container does not exist")
_LEASED = ("LeaseIdMissing", "There is currently a lease on the blob")
_REFUSED = (
    "AuthenticationFailed",
    "Authorization",
    "Error performing token",
    "Error getting token",
)

#: A gap of fewer bytes costs less than a request of its own.
_GAP = 1 << 16
_AT_ONCE = 8  # requests of one file


@dataclass(frozen=True)
class Azure:
    """Blobs of a container; every request is retried for a minute where that can help.

    Parameters
    ----------
    container, prefix : str
    options : mapping
        Of obstore's `AzureStore`, over the environment; never shown.
    seconds : float
        For how long a request is tried again.
    retries : int
        How often.
    """

    container: str
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seconds: float = 60
    retries: int = 8

    def create(self, path: str, content: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError

        with self._errors(path):
            try:
                self._put(path, content, "create")
            except AlreadyExistsError:
                # A writer of the same content before us, or our own request whose answer was lost.
                if self._there(path) != content:
                    raise taken(self.where(path)) from None

    def replace(self, path: str, content: bytes) -> None:
        with self._errors(path):
            self._put(path, content, "overwrite")

    def get(self, path: str) -> bytes:
        import obstore

        with self._errors(path):
            return bytes(obstore.get(self._store, path).bytes())

    def view(self, path: str) -> bytes:
        return self.get(path)

    def get_spans(self, path: str, spans: Sequence[Span]) -> list[bytes]:
        # Not obstore's get_ranges: it panics where a blob ends before one of them.
        fetched = _merged(spans)
        if len(fetched) == 1:
            parts = [self._span(path, fetched[0])]
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                parts = list(pool.map(lambda span: self._span(path, span), fetched))
        found = []
        for start, end in spans:
            first, part = next(
                (low, part)
                for (low, high), part in zip(fetched, parts, strict=True)
                if low <= start and end <= high
            )
            found.append(bytes(part[start - first : end - first]))
        return found

    def names(self, prefix: str = "") -> list[str]:
        import obstore

        with self._errors(prefix):
            batches = obstore.list(self._store, prefix or None)
            return sorted(blob["path"] for batch in batches for blob in batch)

    def remove(self, path: str) -> None:
        import obstore

        with self._errors(path):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                # Of the blob, or of its container?
                self.names(path)

    def where(self, path: str = "") -> str:
        return SCHEME + "/".join(part for part in (self.container, self.prefix, path) if part)

    def present(self) -> bool:
        """True; a container that is not there is a wrong setting, and raised as one."""
        self.names("_")
        return True

    def _there(self, path: str) -> bytes:
        """What lies where Azure says that something lies."""
        try:
            return self.get(path)
        except MissingDataError:
            raise self._unwell(path, "a conflict without a blob") from None

    def _span(self, path: str, span: Span) -> memoryview:
        import obstore
        from obstore.exceptions import BaseError

        with self._errors(path):
            try:
                return memoryview(obstore.get_range(self._store, path, start=span[0], end=span[1]))
            except BaseError as error:
                if "InvalidRange" in str(error):
                    return memoryview(b"")
                raise

    def _put(self, path: str, content: bytes, mode: Any) -> None:
        import obstore

        # In one request: nothing but the whole blob can ever be there.
        obstore.put(self._store, path, content, mode=mode, use_multipart=False)

    @cached_property
    def _store(self) -> Any:
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore

        options = {**self.options}
        # Given any of these, the client no longer looks for them in the environment.
        client: Any = {
            "timeout": "5 minutes",
            "allow_http": os.environ.get("AZURE_ALLOW_HTTP", "").lower() == "true",
            **options.pop("client_options", {}),
        }
        try:
            return AzureStore(
                self.container,
                prefix=self.prefix or None,
                client_options=client,
                retry_config={
                    "max_retries": self.retries,
                    "retry_timeout": timedelta(seconds=self.seconds),
                },
                **options,
            )
        except BaseError:
            raise self._refusal(
                "Azure's account name, key or token is missing or not one"
            ) from None

    def _refusal(self, what: str) -> SettingsError:
        return SettingsError(
            what,
            where=self.where(),
            remedy="check AZURE_STORAGE_ACCOUNT_NAME and its key, SAS token or managed "
            "identity, and that it may read and write blobs",
        )

    def _unwell(self, path: str, said: str) -> TraderError:
        return TraderError(
            f"Azure does not answer as it should ({said})",
            where=self.where(path),
            remedy="run it again; nothing was half-written",
            retry=True,
        )

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Typed errors; the client's own text is dropped, it can hold a signed address."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise self._typed(path, error) from None

    def _typed(self, path: str, error: Exception) -> TraderError:
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        said = str(error)
        if any(code in said for code in _NO_CONTAINER):
            return SettingsError(
                f"there is no container {self.container!r}",
                where=self.where(),
                remedy="create it, or correct TRADER_COLD_URL",
            )
        if isinstance(error, FileNotFoundError):
            return missing(self.where(path))
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        if denied or any(code in said for code in _REFUSED):
            return self._refusal("Azure refuses the credentials")
        if any(code in said for code in _LEASED):
            return TraderError(
                "somebody holds a lease on this blob, so it can be neither replaced nor removed",
                where=self.where(path),
                remedy="break or release the lease, then run it again",
                retry=True,
            )
        return self._unwell(path, type(error).__name__)


def _merged(spans: Sequence[Span]) -> list[Span]:
    """As few requests as hold all spans, ascending."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start - merged[-1][1] <= _GAP:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
