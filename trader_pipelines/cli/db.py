"""`trader db`: the embedded Postgres."""

import json
import sys
from typing import TYPE_CHECKING

import click

from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    pass


@click.group()
def db() -> None:
    """The embedded Postgres: start it, stop it, look at it, bring its tables up to date."""


@db.command()
def start() -> None:
    """Start the embedded server; it outlives this command."""
    from trader_pipelines.stores import embedded

    settings = Platform().settings
    server = embedded.start(settings.home, settings.postgres_bin)
    click.echo(f"running on 127.0.0.1:{server.port}, data in {server.data}")


@db.command()
def stop() -> None:
    """Stop the embedded server."""
    from trader_pipelines.stores import embedded

    stopped = embedded.stop(Platform().settings.home)
    click.echo("stopped" if stopped else "was not running")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="For machines; without the password.")
def status(as_json: bool) -> None:
    """Say whether the embedded server runs, and where."""
    from trader_pipelines.stores import embedded

    server = embedded.status(Platform().settings.home)
    running = server is not None and server.running
    if as_json:
        place = {"port": server.port, "data": str(server.data)} if server else {}
        click.echo(json.dumps({"running": running, **place}))
    elif server is None:
        click.echo("never started here; `trader db start` makes it")
    else:
        state = "running" if running else "stopped"
        click.echo(f"{state}, 127.0.0.1:{server.port}, data in {server.data}")
    sys.exit(0 if running else 3)


@db.command()
def upgrade() -> None:
    """Bring the tables of the database to the version of this code."""
    from trader_pipelines.stores import database

    url = Platform().database_url()
    database.migrate(url)
    click.echo(f"{database.where(url)} is at schema version {database.HEAD}")
