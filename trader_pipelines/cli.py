"""`trader …`: the demo, the web UI, the embedded database and a doctor. Thin."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trader_pipelines.core.errors import SettingsError, TraderError
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    from rich.console import Console

#: Three weeks to learn from and three days to speak on, in a market that begins on a Monday.
DEMO_DAYS = (date(2024, 1, 1), date(2024, 1, 24))


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


@main.command()
@click.option("--venue", help="Venue of the universe; synthetic unless an archive is given.")
@click.option("--archive", help="Folder or http(s) base in the layout of Binance's public data.")
@click.option("--symbols", default="", help="Symbols, with commas between; all by default.")
@click.option("--days", "span", help="FROM..TO, both included, as YYYY-MM-DD.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary for machines.")
def demo(
    venue: str | None, archive: str | None, symbols: str, span: str | None, as_json: bool
) -> None:
    """Run the main job: trades, certificates, bars, features, models, signals."""
    from rich.console import Console

    from trader_pipelines import demo as job

    overrides = {"archive_url": archive} if archive else {}
    venue = venue or ("binance" if archive else "synthetic")
    first, last = parse_days(span) if span else DEMO_DAYS
    chosen = tuple(name.strip() for name in symbols.split(",") if name.strip())
    # A run redirects standard error while it works; the progress keeps a way of its own.
    screen = Console(file=os.fdopen(os.dup(2), "w", encoding="utf-8"))
    what = job.plan(Platform(overrides), venue, chosen, first, last)
    with progress(screen, what.stages()) as told:
        platform = Platform(overrides, told)
        summary = job.run(platform, what)
    path = job.write_summary(platform, summary)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        screen = Console()
        if not screen.is_terminal:
            screen.width = max(screen.width, 110)
        show_summary(screen, summary)
        click.echo(f"summary: {path}    look at it: make ui")


def parse_days(span: str) -> tuple[date, date]:
    """Two days from ``FROM..TO``."""
    try:
        first, last = (date.fromisoformat(part) for part in span.split(".."))
    except ValueError:
        first, last = date.max, date.min
    if first > last:
        raise SettingsError(
            f"--days {span!r} is not FROM..TO",
            where="command line, --days",
            remedy="write two days in order, such as 2024-01-01..2024-01-14",
        )
    return first, last


@contextmanager
def progress(screen: "Console", stages: dict[str, int]) -> Iterator[Any]:
    """A bar a stage; yields the function that is told of every finished partition."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[at]:<10}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen) as bars:
        tasks = {
            stage: bars.add_task(stage, total=count, start=False, at="")
            for stage, count in stages.items()
        }

        def tell(stage: str, done: str) -> None:
            if stage in tasks:
                following = list(tasks).index(stage) + 1
                bars.start_task(tasks[stage])
                bars.update(tasks[stage], advance=1, at=done)
                if bars.tasks[tasks[stage]].finished and following < len(tasks):
                    bars.start_task(list(tasks.values())[following])

        bars.start_task(next(iter(tasks.values())))
        yield tell


def show_summary(screen: "Console", summary: dict[str, Any]) -> None:
    """The table at the end: a row a symbol."""
    from rich.table import Table

    from trader_pipelines.demo import missing_for_people

    title = f"{summary['venue']}, {summary['days'][0]} to {summary['days'][1]}"
    if summary["synthetic"]:
        title += ": SYNTHETIC trades, no venue ever printed them"
    table = Table(title=title, title_justify="left")
    for name in (
        "symbol",
        "trades",
        "certificate",
        "bars",
        "Brier",
        "base rate",
        "skill",
        "signals",
        "last signal",
    ):
        table.add_column(name, justify="right" if name in {"trades", "bars", "signals"} else "left")
    for symbol, row in summary["symbols"].items():
        scores, last = row["model"]["scores"], row["last_signal"]
        figures = ["-"] * 3
        if scores:
            figures = [
                f"{scores['brier']:.4f}",
                f"{scores['brier_base']:.4f}",
                f"{scores['skill']:+.2%}",
            ]
        said = f"{last['side']} p={last['probability']:.3f} {last['ts'][:16]}" if last else "-"
        table.add_row(
            symbol,
            f"{row['trades']:,}",
            row["certificate"],
            f"{row['bars']:,}",
            *figures,
            f"{row['signals']:,}",
            said,
        )
    screen.print(table)
    model = next(iter(summary["symbols"].values()))["model"]
    screen.print(f"model: {model['version'] or 'none'}; {model['reason']}", highlight=False)
    for symbol, row in summary["symbols"].items():
        if row["missing"]:
            screen.print(f"{symbol} lacks {missing_for_people(row['missing'])}", highlight=False)


@main.command()
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


@main.group()
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


@main.command()
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
        "cold store": lambda: str(platform.settings.cold_root.resolve()),
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
