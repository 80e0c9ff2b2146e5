"""`trader ui`: the Dagster web UI over the same instance."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--port", default=3000, show_default=True)
def ui(port: int) -> None:
    """Open the Dagster web UI over the same instance."""
    from trader_pipelines.demo import open_instance

    platform = Platform()
    with open_instance(platform):
        pass
    home = platform.settings.dagster_home.resolve()
    dg = Path(sys.executable).with_name("dg")
    # The servers may work in another folder than this one.
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ["TRADER_HOME"] = str(home.parent)
    # dg warns of another environment than the one it stands in, or of none.
    os.environ["VIRTUAL_ENV"] = sys.prefix
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    os.execv(  # noqa: S606 - the server takes this process over
        dg, [str(dg), "dev", "--port", str(port)]
    )
