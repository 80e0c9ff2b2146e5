"""`trader demo`: the main job with its progress and its summary."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    from rich.console import Console

#: Three weeks to learn from and three days to speak on, in a market that begins on a Monday.
DEMO_DAYS = (date(2024, 1, 1), date(2024, 1, 24))
#: So many days without a session are named.
_MOST_TOLD = 10


@click.command()
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

    # Somebody waits here: what fails is told at once.
    overrides: dict[str, Any] = {"retries": 0}
    if archive:
        overrides["archive_url"] = archive
    venue = venue or ("binance" if archive else "synthetic")
    first, last = parse_days(span) if span else DEMO_DAYS
    chosen = tuple(name.strip() for name in symbols.split(",") if name.strip())
    # A run redirects standard error while it works; the progress keeps a way of its own.
    screen = Console(file=os.fdopen(os.dup(2), "w", encoding="utf-8"))
    what = job.plan(Platform(overrides), venue, chosen, first, last)
    if closed := [day.isoformat() for day in what.skipped]:
        more = f" and {len(closed) - _MOST_TOLD} more" if len(closed) > _MOST_TOLD else ""
        told = ", ".join(closed[:_MOST_TOLD])
        screen.print(f"without a session: {told}{more}", highlight=False)
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
        if lacks := missing_for_people(row):
            screen.print(f"{symbol} lacks {lacks}", highlight=False)
