"""`trader doctor`: what is wrong, before anything runs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trader_pipelines.core.errors import TraderError
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def doctor(as_json: bool) -> None:
    """Check settings, universe, database and the stores, and say what is wrong."""
    found: dict[str, str] = {}
    platform = Platform()
    steps: dict[str, Callable[[], str]] = {
        "settings": lambda: f"home {platform.settings.home.resolve()}",
        "universe": lambda: ", ".join(
            f"{name}: {len(spec.instruments)} symbols"
            for name, spec in platform.universe.venues.items()
        ),
        "database": lambda: _database(platform),
        "cold store": lambda: _cold(platform),
    }
    healthy = True
    for name, step in steps.items():
        try:
            found[name] = f"ok: {step()}"
        except TraderError as error:
            healthy = False
            found[name] = f"{type(error).__name__}: {error}"
            if name == "settings":
                break
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "found": found}, indent=2))
    else:
        for name, said in found.items():
            click.echo(f"{name:<11} {said}")
    sys.exit(0 if healthy else 1)


def _cold(platform: Platform) -> str:
    """Where it is; in Azure after asking for the container with the credentials."""
    there, where = platform.cold.present(), platform.cold.where()
    address = where if "://" in where else str(Path(where).resolve())
    return address if there else f"{address} (made with the first file)"


def _database(platform: Platform) -> str:
    from trader_pipelines.stores import database

    with platform.connect() as connection:
        row = connection.execute(
            "select split_part(version(), ' on ', 1), "
            "coalesce((select string_agg(extname, ', ' order by extname) from pg_extension "
            "where extname in ('timescaledb', 'vector')), 'no extensions')"
        ).fetchone()
    assert row is not None
    return f"{database.where(platform.database_url())}, {row[0]}, {row[1]}"
