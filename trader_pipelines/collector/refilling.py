"""Holes are asked for over REST: what the stream lost, and what it may keep to itself."""

import asyncio
import time
from collections.abc import Callable

import polars as pl

from trader_pipelines.collector.intake import Intake, Symbol
from trader_pipelines.collector.link import back_off, pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.ranges import difference, runs
from trader_pipelines.core.certificates import Range
from trader_pipelines.core.errors import SettingsError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES

#: Trades of the ids from first to last, both included, that the venue's REST has: of schema
#: `TRADES`. Runs in a thread; may raise, and is then asked again.
Refill = Callable[[Instrument, int, int], pl.DataFrame]

PAGE = 1_000  # ids looked for behind the last one
SLICE = 10_000  # ids of a hole asked for at once


async def mend(intake: Intake, refill: Refill, stop: asyncio.Event) -> None:
    """Ask REST for what the stream did not bring, one question at a time, until the stop.

    Raises
    ------
    UnknownSymbolError, SettingsError
        Of `refill`: asking again would not help. Every other failure is asked again, later.
    """
    options, meter = intake.options, intake.meter
    connects = dict.fromkeys(intake.symbols, 0)
    failures = 0
    while not stop.is_set():
        asked = False
        for name, symbol in intake.symbols.items():
            if stop.is_set():
                return
            now = time.monotonic()
            if connects[name] != symbol.link.connects:
                # Whatever was printed while nobody listened is behind the last id.
                connects[name] = symbol.link.connects
                symbol.due = symbol.due or now + options.grace
                symbol.tail_due, symbol.tail_wait = now + options.grace, options.quiet
            if (question := _question(symbol, options, now)) is None:
                continue
            asked = True
            try:
                trades = await asyncio.to_thread(_fetch, refill, symbol.instrument, question[0])
            except (UnknownSymbolError, SettingsError):
                raise
            except Exception as error:  # noqa: BLE001  REST fails in every client's own ways
                failures += 1
                meter.counts["refill_failures"] += 1
                meter.last_trouble = f"{type(error).__name__}: {error}"
                await pause(back_off(options, failures), stop)
                continue
            failures = 0
            asked_for, tail = question
            proof = connects[name] if tail else None
            await _take(intake, symbol, asked_for, trades, proof, stop)
        if not asked:
            await pause(0.05, stop)


def _fetch(refill: Refill, instrument: Instrument, asked: Range) -> pl.DataFrame:
    trades = refill(instrument, *asked).cast(TRADES).filter(pl.col("id").is_between(*asked))
    return trades.unique("id", keep="first").sort("id")


def _question(symbol: Symbol, options: Options, now: float) -> tuple[Range, bool] | None:
    """A hole that is due; or, with True, the ids behind the last one."""
    ledger = symbol.ledger
    if ledger.given_up and now - symbol.given_up_at > options.quiet_cap:
        # REST may lag behind the stream, or have been mended since.
        ledger.given_up, symbol.due = [], now
    if symbol.due and now >= symbol.due:
        for first, last in ledger.open():
            return (first, min(last, first + SLICE - 1)), False
        symbol.due, symbol.tries = 0.0, 0
    if ledger.first is not None and symbol.link.open and now >= symbol.tail_due:
        return (ledger.after, ledger.after + PAGE - 1), True
    return None


async def _take(
    intake: Intake,
    symbol: Symbol,
    asked: Range,
    trades: pl.DataFrame,
    proof: int | None,
    stop: asyncio.Event,
) -> None:
    """Store an answer and see what it leaves open; `proof`: the connection whose end it tells."""
    ledger, options = symbol.ledger, intake.options
    ids = trades["id"].to_numpy()
    new = ledger.accept(ids)
    count = int(new.sum())
    await intake.store({symbol.instrument: trades.filter(pl.Series(new))}, stop)
    intake.meter.counts["refilled"] += count
    symbol.trades += count
    now = time.monotonic()
    if proof is not None:
        _tail_told(symbol, options, ids.size, count, proof, now)
        if ledger.open():
            symbol.due = symbol.due or now + options.grace
        return
    left = difference([asked], runs(ids))
    if not left:
        symbol.due, symbol.tries = now, 0
        return
    symbol.tries += 1
    symbol.due = now + back_off(options, symbol.tries)
    if symbol.tries >= options.tries:
        intake.meter.counts["strangers"] += sum(ledger.dismiss(each) for each in left)
        symbol.due, symbol.tries, symbol.given_up_at = now, 0, now


def _tail_told(
    symbol: Symbol, options: Options, found: int, new: int, connects: int, now: float
) -> None:
    if found >= PAGE:
        symbol.tail_due = now
        return
    symbol.proven_at = connects
    symbol.behind = symbol.behind + 1 if new else 0
    if symbol.behind >= 3:
        # REST goes on and the stream of this symbol does not: it is deaf.
        symbol.link.trouble = f"REST has trades of {symbol.instrument.symbol}, the stream none"
        symbol.link.cut.set()
        symbol.behind = 0
    if not new:
        symbol.tail_wait = min(2 * symbol.tail_wait, options.quiet_cap)
    symbol.tail_due = now + symbol.tail_wait
