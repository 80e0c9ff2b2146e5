"""The store of cold files that an address names: a folder or a container of Azure Blob."""

from pathlib import Path

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.stores.cold.azure import Azure
from trader_pipelines.stores.cold.backend import SCHEME, Backend, Disk


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


def _address(why: str) -> SettingsError:
    return SettingsError(
        f"cold_url is no address of a store: {why}",
        where="environment, TRADER_COLD_URL",
        remedy="set a folder, file:///… or az://container/prefix",
    )
