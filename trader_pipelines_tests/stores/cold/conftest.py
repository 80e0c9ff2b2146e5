"""A connection whose statements commit by themselves, and both kinds of cold store."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.stores import database
from trader_pipelines.stores.cold.backend import Backend, Disk
from trader_pipelines_tests.stores.cold import azurite as azurites


@pytest.fixture
def auto(database_url: str) -> Iterator[psycopg.Connection]:
    """As the platform hands them out."""
    with database.connect(database_url) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an Azurite with the container `ticks`."""
    yield from azurites.started(tmp_path_factory.mktemp("azurite"))


@pytest.fixture(params=["disk", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty store of each kind."""
    if request.param == "disk":
        return Disk(tmp_path)
    return azurites.azure(request.getfixturevalue("azurite"), os.urandom(4).hex())
