"""`trader collect`: live trades into the hot store, until it is told to stop."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from trader_pipelines.core.errors import SettingsError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument, VenueSpec
from trader_pipelines.platform import Platform

if TYPE_CHECKING:
    from trader_pipelines.collector.options import Options
    from trader_pipelines.collector.running import Collecting, Report
    from trader_pipelines.collector.status import Status


@click.command()
@click.option("--venue", required=True, help="Venue of the universe.")
@click.option("--symbols", default="", help="Symbols, with commas between; all by default.")
@click.option(
    "--from-id",
    "from_ids",
    multiple=True,
    metavar="SYMBOL=ID",
    help="Id of the first trade that has to be there, in place of today's first; repeatable.",
)
@click.option("--every", type=click.FloatRange(0.05), help="Seconds between two reports.")
@click.option(
    "--silence",
    type=click.FloatRange(0.5),
    default=30.0,
    show_default=True,
    help="Seconds without any answer after which a connection is opened again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON a report.")
def collect(
    venue: str,
    symbols: str,
    from_ids: tuple[str, ...],
    every: float | None,
    silence: float,
    as_json: bool,
) -> None:
    """Collect live trades until Ctrl-C or SIGTERM; what was received by then is stored.

    What the stream loses is asked for over REST, from today's first trade on, so that today can
    become complete. What is stored already goes on. A second Ctrl-C ends it at once.
    """
    platform = Platform()
    spec = platform.universe.venue(venue)
    chosen = tuple(name.strip() for name in symbols.split(",") if name.strip())
    instruments = _listed(spec, chosen)
    begin = dict(_first_id(spec, text) for text in from_ids)

    from trader_pipelines.cli.collect_screen import Screen
    from trader_pipelines.collector.options import Options
    from trader_pipelines.collector.running import run

    live = not as_json and sys.stdout.isatty()
    options = Options(silence=silence, report=every or (1.0 if live else 10.0))
    collecting = _collecting(platform, spec, instruments, begin, options)
    with platform.connect():
        pass  # started, and its tables are there
    if as_json:
        print_line(run(collecting, print_line))
        return
    with Screen() as screen:
        last = run(collecting, screen.show)
    screen.summary(last)


def _collecting(
    platform: Platform,
    spec: VenueSpec,
    instruments: Sequence[Instrument],
    begin: Mapping[str, int],
    options: "Options",
) -> "Collecting":
    """How a venue is collected: by ids where it counts its trades, else by minutes."""
    if spec.source in ("alpaca", "alpaca_crypto"):
        return _by_minutes(platform, spec, instruments, begin, options)
    from trader_pipelines.collector.collect import collect as by_ids

    source = platform.live(spec)

    async def collecting(stop: asyncio.Event, report: "Report") -> "Status":
        return await by_ids(
            source,
            instruments,
            platform.database_url(),
            stop=stop,
            report=report,
            options=options,
            begin=begin,
        )

    return collecting


def _by_minutes(
    platform: Platform,
    spec: VenueSpec,
    instruments: Sequence[Instrument],
    begin: Mapping[str, int],
    options: "Options",
) -> "Collecting":
    from trader_pipelines.collector.windows.collect import collect_windows

    if begin:
        raise SettingsError(
            f"venue {spec.name!r} does not count its trades, so none can be begun with",
            where="command line, --from-id",
            remedy="leave it out: the session that is on is collected from its beginning",
        )
    feed, rest = platform.live_windows(spec, silence=options.silence)

    async def collecting(stop: asyncio.Event, report: "Report") -> "Status":
        return await collect_windows(
            feed,
            instruments,
            platform.database_url(),
            rest,
            spec.calendar,
            stop=stop,
            report=report,
            options=options,
        )

    return collecting


def _listed(spec: VenueSpec, chosen: tuple[str, ...]) -> tuple[Instrument, ...]:
    today = datetime.now(UTC).date()
    listed = spec.on(today, chosen)
    gone = [name for name in chosen if not spec.instrument(name).listed_on(today)]
    if gone or not listed:
        raise UnknownSymbolError(
            f"not in the universe of venue {spec.name!r} today: {', '.join(gone) or 'any symbol'}",
            where=f"universe, venues.{spec.name}.symbols",
            remedy="collect symbols that are traded today, or correct `since` and `until`",
        )
    return listed


def _first_id(spec: VenueSpec, text: str) -> tuple[str, int]:
    symbol, _, number = text.partition("=")
    if not (number.isascii() and number.isdigit() and int(number) < 1 << 63):
        raise SettingsError(
            f"--from-id {text!r} is not SYMBOL=ID",
            where="command line, --from-id",
            remedy="write a symbol and the id of a trade, such as BTCUSDT=3400000000",
        )
    return spec.instrument(symbol).symbol, int(number)


def print_line(status: "Status") -> None:
    """A status as one line of JSON."""
    sys.stdout.write(json.dumps(status.as_dict()) + "\n")
    sys.stdout.flush()
