"""`trader symbols`: lines for universe.yaml, from what the venue lists."""

import click

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.platform import Platform

_SOURCES = ("binance_rest", "binance_archive")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--venue", default="binance", show_default=True, help="Of the universe.")
def symbols(names: tuple[str, ...], venue: str) -> None:
    """Print lines for universe.yaml: first day, tick and lot size of Binance's symbols."""
    platform = Platform()
    spec = platform.universe.venue(venue)
    if spec.source not in _SOURCES:
        raise SettingsError(
            f"venue {venue!r} cannot be asked for its symbols: its source is {spec.source!r}",
            where=f"universe, venues.{venue}.source",
            remedy=f"write since, tick_size and lot_size by hand; asked can be: "
            f"{', '.join(_SOURCES)}",
        )
    listed = platform.binance(spec).instruments(
        name.strip().upper() for told in names for name in told.split(",") if name.strip()
    )
    click.echo("      # The grid of today: where a day is refused as finer, give it the finer one.")
    for instrument in listed:
        click.echo(
            f"      {instrument.symbol}: {{since: {instrument.since}, "
            f'tick_size: "{instrument.tick_size.normalize():f}", '
            f'lot_size: "{instrument.lot_size.normalize():f}"}}'
        )
