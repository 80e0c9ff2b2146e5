"""`trader …`: one module a command. Thin."""

import sys
from typing import Any

import click

from trader_pipelines.cli.cold import cold
from trader_pipelines.cli.collect import collect
from trader_pipelines.cli.db import db
from trader_pipelines.cli.demo import demo
from trader_pipelines.cli.doctor import doctor
from trader_pipelines.cli.heal import heal
from trader_pipelines.cli.storage import storage
from trader_pipelines.cli.symbols import symbols
from trader_pipelines.cli.ui import ui
from trader_pipelines.core.errors import TraderError


class Group(click.Group):
    """Commands whose users' mistakes end in one readable message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; tell a typed error without a stack trace."""
        try:
            return super().invoke(ctx)
        except TraderError as error:
            click.echo(f"{type(error).__name__}: {error}", err=True)
            sys.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trader-pipelines")
def main() -> None:
    """Trades in, proven complete; calibrated signals out."""


for command in (demo, ui, db, doctor, collect, heal, symbols, cold, storage):
    main.add_command(command)
