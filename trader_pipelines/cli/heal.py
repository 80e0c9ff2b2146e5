"""`trader heal`: what is missing asked for again, and what came of it."""

import json
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from trader_pipelines.cli.demo import parse_days
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    import psycopg

    from trader_pipelines.core.instruments import VenueSpec
    from trader_pipelines.steps.asking import Report
    from trader_pipelines.steps.due import Due


@click.command()
@click.option("--venue", required=True, help="Venue of the universe.")
@click.option("--symbols", default="", help="Symbols, with commas between; all by default.")
@click.option("--days", "span", help="FROM..TO, both included, as YYYY-MM-DD; all by default.")
@click.option("--dry-run", is_flag=True, help="Only say what would be asked for.")
@click.option(
    "--reconcile",
    is_flag=True,
    help="Compare every certified day with the venue's other source as well (REST and archive).",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def heal(
    venue: str, symbols: str, span: str | None, dry_run: bool, reconcile: bool, as_json: bool
) -> None:
    """Ask every source again for trades that are missing; name as outages those that none has.

    Exit code 1 when a source did not answer, so that asking again later may find more.
    """
    from trader_pipelines.steps.due import due

    platform = Platform()
    spec = platform.universe.venue(venue)
    chosen = {spec.instrument(name.strip()).symbol for name in symbols.split(",") if name.strip()}
    first, last = parse_days(span) if span else (date.min, date.max)
    with platform.connect() as connection:
        wanted = [
            one
            for one in due(connection, platform, spec, datetime.now(UTC), patient=False)
            if first <= one.day <= last and one.symbol in (chosen or spec.instruments)
        ]
        if dry_run:
            _tell_wanted(venue, wanted, as_json=as_json)
            return
        reports = _heal(connection, platform, spec, wanted)
        compared = _reconcile(connection, platform, spec, chosen, first, last) if reconcile else []
    if as_json:
        told = {"venue": venue, "days": [_as_json(one) for one in reports]}
        click.echo(json.dumps(told | ({"compared": compared} if reconcile else {}), indent=2))
    else:
        _tell(venue, reports, compared)
    sys.exit(1 if any(one.errors for one in reports) else 0)


def _heal(
    connection: "psycopg.Connection", platform: Platform, spec: "VenueSpec", wanted: "list[Due]"
) -> "list[Report]":
    from rich.console import Console
    from rich.progress import track

    from trader_pipelines.core.errors import TraderError
    from trader_pipelines.steps.asking import Report
    from trader_pipelines.steps.heal import heal

    reports = []
    screen = Console(stderr=True)
    for one in track(wanted, "heal", console=screen, disable=not screen.is_terminal):
        try:
            report = heal(connection, platform, spec, spec.instrument(one.symbol), one.day)
        except TraderError as error:
            report = Report(one.symbol, one.day, one.why, errors=[error])
        reports.append(report)
    return reports


def _reconcile(
    connection: "psycopg.Connection",
    platform: Platform,
    spec: "VenueSpec",
    chosen: set[str],
    first: date,
    last: date,
) -> list[dict[str, Any]]:
    """Rows of what two sources have of each certified day; days that only one has are left out."""
    from trader_pipelines.core.healing import COMPARED
    from trader_pipelines.steps.recheck import reconcile
    from trader_pipelines.stores import manifest

    rows = []
    for certificate in manifest.get_certificates(
        connection, spec.name, symbols=sorted(chosen) or None, first=first, last=last
    ):
        if certificate.symbol in spec.instruments:
            instrument = spec.instrument(certificate.symbol)
            made = reconcile(connection, platform, spec, instrument, certificate)
            told = {
                name.removeprefix(COMPARED): value
                for name, value in made.reconciled.items()
                if name.startswith(COMPARED)
            }
            if told:
                rows.append({"symbol": made.symbol, "day": made.day.isoformat(), **told})
    return rows


def _as_json(report: "Report") -> dict[str, Any]:
    certificate = report.certificate
    return {
        "symbol": report.symbol,
        "day": report.day.isoformat(),
        "lacked": report.lacked,
        "reopened": report.reopened,
        "found": report.found,
        "certificate": str(certificate.status) if certificate else None,
        "missing": [list(one) for one in certificate.missing] if certificate else None,
        "outage": report.outage,
        "evidence": [dict(one.told) for one in report.asked],
        "errors": [
            {"error": type(e).__name__, "what": e.what, "where": e.where, "remedy": e.remedy}
            for e in report.errors
        ],
    }


def _tell_wanted(venue: str, wanted: "list[Due]", *, as_json: bool) -> None:
    if as_json:
        rows = [{"symbol": w.symbol, "day": w.day.isoformat(), "why": w.why} for w in wanted]
        click.echo(json.dumps({"venue": venue, "wanted": rows}, indent=2))
    elif wanted:
        rows = [{"symbol": w.symbol, "day": w.day.isoformat(), "why": w.why} for w in wanted]
        _table(f"{venue}: {len(wanted)} symbol-days would be healed", rows)
    else:
        click.echo(f"{venue}: nothing is missing")


def _tell(venue: str, reports: "list[Report]", compared: list[dict[str, Any]]) -> None:
    if not reports:
        click.echo(f"{venue}: nothing is missing")
    else:
        _table(f"{venue}: {len(reports)} symbol-days", [_row(report) for report in reports])
    for report in reports:
        if report.outage:
            click.echo(f"outage: {report.symbol} on {report.day}, {report.lacks}: nobody has it")
            for one in report.asked:
                told = one.told
                click.echo(f"  {told['asked_at']}  {told['source']}: {told['answered']}")
        for error in report.errors:
            click.echo(
                f"{report.symbol} on {report.day}, {type(error).__name__}: {error}", err=True
            )
    if compared:
        _table(f"{venue}: one source against the other", compared)


def _row(report: "Report") -> dict[str, Any]:
    found = [f"{name} {count}" for name, count in report.found.items() if count]
    return {
        "symbol": report.symbol,
        "day": report.day.isoformat(),
        "lacked": report.lacked or ("to be certified anew" if report.reopened else "-"),
        "found": ", ".join(found) or "-",
        "still missing": report.lacks or "-",
        "certificate": str(report.certificate.status) if report.certificate else "-",
        "what it is": "outage" if report.outage else "no answer" if report.errors else "whole",
    }


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    screen = Console()
    if not screen.is_terminal:
        screen.width = max(screen.width, 140)
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(str(row.get(name, "-")) for name in rows[0]))
    screen.print(table)
