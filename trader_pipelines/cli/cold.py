"""`trader cold`: look for what is wrong with cold files, rewrite old ones, let hot days go."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@click.group()
def cold() -> None:
    """The cold files: verify them, migrate old ones, and what hot may let go of."""


@cold.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(as_json: bool) -> None:
    """Read every cold file and name those that are damaged, missing or extra; exit code 1 then."""
    from trader_pipelines.stores.cold.verify import verify as verify_files

    platform = Platform()
    with platform.connect() as connection, _progress("files") as bar:
        task = bar.add_task("verify", total=None)
        found = verify_files(
            connection,
            platform.cold,
            told=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        rows = [{"path": one.path, "fault": str(one.fault), "said": one.said} for one in found]
        click.echo(json.dumps({"sound": not found, "findings": rows}, indent=2))
    elif found:
        _table(
            f"{len(found)} files are not as the manifest says",
            ("fault", "file", "what is wrong"),
            [(str(one.fault), one.path, one.said) for one in found],
        )
    else:
        click.echo("every file is as the manifest says, and there are no others")
    sys.exit(1 if found else 0)


@cold.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def migrate(as_json: bool) -> None:
    """Rewrite files of older layouts, each proven; run again, it goes on where it stopped."""
    from trader_pipelines.steps.migrate_cold import migrate_cold, waiting

    platform = Platform()
    with platform.connect() as connection, _progress("files") as bar:
        total = sum(one.files for one in waiting(connection))
        task = bar.add_task("migrate", total=total)
        count, swept = migrate_cold(connection, platform, told=lambda _: bar.advance(task))
    if as_json:
        click.echo(json.dumps({"rewritten": count, "swept": swept}, indent=2))
    else:
        click.echo(f"{count} files rewritten, {len(swept)} left by killed writers swept")


@cold.command()
@click.option("--dry-run", is_flag=True, help="Prove and report, and let go of nothing.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def retain(dry_run: bool, as_json: bool) -> None:
    """Let hot go of days beyond the limits that are proven in cold; name what is refused.

    The limits are TRADER_HOT_DAYS and TRADER_HOT_BYTES; exit code 1 when something was refused.
    """
    from trader_pipelines.core.retention import Verdict
    from trader_pipelines.steps.retain import retain as let_go

    platform = Platform()
    with platform.connect() as connection, _progress("days") as bar:
        task = bar.add_task("retain", total=None)
        report = let_go(
            connection,
            platform,
            now=datetime.now(UTC),
            dry_run=dry_run,
            told=lambda _: bar.advance(task),
        )
    told = [one for one in report.decisions if one.verdict is not Verdict.KEPT]
    if as_json:
        rows = [
            {
                "venue": one.holding.venue,
                "symbol": one.holding.symbol,
                "day": one.holding.day.isoformat(),
                "verdict": str(one.verdict),
                "why": one.why,
                "trades": one.holding.trades,
                "bytes": one.holding.bytes,
            }
            for one in told
        ]
        emptied = [day.isoformat() for day in report.partitions]
        click.echo(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "days": rows,
                    "kept": len(report.of(Verdict.KEPT)),
                    "emptied": emptied,
                    "forgotten": report.forgotten,
                    "swept": report.swept,
                },
                indent=2,
            )
        )
    else:
        _table(
            "would go, in a dry run" if dry_run else "let go",
            ("day", "symbol", "verdict", "trades", "why"),
            [
                (
                    str(one.holding.day),
                    f"{one.holding.symbol}.{one.holding.venue.upper()}",
                    str(one.verdict),
                    f"{one.holding.trades:,}",
                    one.why,
                )
                for one in told
            ],
        )
        click.echo(f"{len(report.of(Verdict.KEPT))} symbol-days stay within the limits")
    sys.exit(1 if report.of(Verdict.REFUSED) else 0)


@contextmanager
def _progress(unit: str) -> "Iterator[Progress]":
    """A bar on the error stream, which a machine that reads the output does not see."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield bar


def _table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="right" if name == "trades" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _screen().print(table)


def _screen() -> "Console":
    from rich.console import Console

    screen = Console()
    if not screen.is_terminal:
        screen.width = max(screen.width, 110)
    return screen
