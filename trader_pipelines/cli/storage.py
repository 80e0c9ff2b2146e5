"""`trader storage`: what both tiers take, and what that costs."""

import json

import click

from trader_pipelines.platform import Platform


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def storage(as_json: bool) -> None:
    """Show bytes by tier, venue, symbol and month, bytes a trade, and the monthly cost.

    Prices of a GB (10**9 bytes) for a month are TRADER_HOT_PRICE and TRADER_COLD_PRICE.
    """
    from trader_pipelines.steps.storage import tiers, used

    platform = Platform()
    with platform.connect() as connection:
        found = used(connection, platform)
    if as_json:
        sums = {row.pop("tier"): row for row in tiers(found).to_dicts()}
        rows = [{**row, "month": f"{row['month']:%Y-%m}"} for row in found.to_dicts()]
        click.echo(json.dumps({"tiers": sums, "months": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="storage", title_justify="left")
    for name in ("tier", "venue", "symbol", "month"):
        table.add_column(name, overflow="fold")
    for name in ("trades", "size", "B/trade", "cost/month"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.iter_rows(named=True):
        place = (row["tier"], row["venue"], row["symbol"], f"{row['month']:%Y-%m}")
        table.add_row(*place, *_figures(row))
    table.add_section()
    for row in tiers(found).iter_rows(named=True):
        table.add_row(row["tier"], "all", "", "", *_figures(row))
    screen = Console()
    if not screen.is_terminal:
        screen.width = max(screen.width, 110)
    screen.print(table)


def _figures(row: dict[str, float]) -> tuple[str, ...]:
    each = "-" if row["bytes_a_trade"] is None else f"{row['bytes_a_trade']:.2f}"
    return f"{row['trades']:,}", _size(row["bytes"]), each, f"{row['monthly_cost']:.4f}"


def _size(count: float) -> str:
    """Bytes for a person, in powers of a thousand as prices are."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1_000
    return f"{count:.1f} TB"
