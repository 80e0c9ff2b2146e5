"""Holes are asked for over REST: what the stream lost, and what it may keep to itself."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import polars as pl

from trader_pipelines.collector.aside import unless
from trader_pipelines.collector.intake import Intake, Symbol
from trader_pipelines.collector.link import back_off, pause
from trader_pipelines.collector.options import Options
from trader_pipelines.collector.source import Source
from trader_pipelines.core.certificates import Range
from trader_pipelines.core.errors import SettingsError, TraderError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.ranges import difference, runs
from trader_pipelines.core.trades import TRADES

PAGE = 1_000  # ids looked for behind the last one
SLICE = 10_000  # ids of a hole asked for at once


@dataclass(frozen=True, slots=True)
class Question:
    """What REST is asked: a hole, what is behind the last id (`tail`), or where to begin."""

    ids: Range | None
    tail: bool = False


async def mend(intake: Intake, source: Source, stop: asyncio.Event) -> None:
    """Ask REST for what the stream did not bring, one question at a time, until the stop.

    Raises
    ------
    TraderError
        What asking again would not help: an unknown symbol, another grid; and before REST has
        answered for the first time also a refused address or a clock that is off. Every other
        failure is asked again, later.
    """
    options, meter = intake.options, intake.meter
    connects = dict.fromkeys(intake.symbols, 0)
    failures, answered = 0, False
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
                answer = await unless(stop, partial(_ask, source, symbol.instrument, question))
            except Exception as error:
                if _hopeless(error, answered=answered):
                    raise
                failures += 1
                meter.counts["refill_failures"] += 1
                meter.last_trouble = f"{type(error).__name__}: {error}"
                await pause(back_off(options, failures), stop)
                continue
            if answer is None:
                return
            failures, answered = 0, True
            if isinstance(answer, int):
                symbol.ledger.begin(answer)
                symbol.begun, symbol.due = True, symbol.due or now
            elif question.ids is not None:
                proof = connects[name] if question.tail else None
                await _take(intake, symbol, question.ids, answer, proof, stop)
        if not asked:
            await pause(0.05, stop)


def _hopeless(error: Exception, *, answered: bool) -> bool:
    if isinstance(error, (UnknownSymbolError, SettingsError)):
        return True
    return isinstance(error, TraderError) and not error.retry and not answered


def _ask(source: Source, instrument: Instrument, question: Question) -> pl.DataFrame | int:
    if question.ids is None:
        assert source.begin is not None
        return source.begin(instrument)
    trades = source.refill(instrument, *question.ids).cast(TRADES)
    return trades.filter(pl.col("id").is_between(*question.ids)).unique("id").sort("id")


def _question(symbol: Symbol, options: Options, now: float) -> Question | None:
    """What is due."""
    ledger = symbol.ledger
    if not symbol.begun:
        return Question(None)
    if ledger.given_up and now - symbol.given_up_at > options.quiet_cap:
        # REST may lag behind the stream, or have been mended since.
        ledger.given_up, symbol.due = [], now
    if symbol.due and now >= symbol.due:
        for first, last in ledger.open():
            return Question((first, min(last, first + SLICE - 1)))
        symbol.due, symbol.tries = 0.0, 0
    if ledger.first is not None and symbol.link.open and now >= symbol.tail_due:
        return Question((ledger.after, ledger.after + PAGE - 1), tail=True)
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
    await intake.store.commit({symbol.instrument: trades.filter(pl.Series(new))}, stop)
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
