"""A connection whose statements commit by themselves, as the platform hands them out."""

from collections.abc import Iterator

import psycopg
import pytest

from trader_pipelines.stores import database


@pytest.fixture
def auto(database_url: str) -> Iterator[psycopg.Connection]:
    with database.connect(database_url) as connection:
        connection.autocommit = True
        yield connection
