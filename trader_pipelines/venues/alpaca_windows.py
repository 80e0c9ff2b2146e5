"""Stretches of Alpaca's trades, asked for until they agree with the venue's own bars."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trader_pipelines.core.errors import BadAnswerError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.reconciliation import KlineReconciliation, reconcile_with_klines
from trader_pipelines.venues import alpaca_rows
from trader_pipelines.venues.alpaca_api import Api
from trader_pipelines.venues.alpaca_bars import Bar, bars_frame, minutes
from trader_pipelines.venues.alpaca_rows import Row, settle
from trader_pipelines.venues.asking import SuspectError

_MINUTE = 60_000_000_000
_LEAD = 1_000_000  # more trades than this never share one stamp
_ROUNDS = 4  # of asking again for what the bars count and the trades lack


@dataclass(frozen=True, slots=True)
class Window:
    """What the venue says of some whole minutes.

    Parameters
    ----------
    before : list of Row
        Of the millisecond before them: ties there may number the first ones.
    rows : list of Row
        Every row of them once, revisions too.
    agreed : KlineReconciliation
        How they agree with the bars.
    bars : dict
        Minute bars, by start in nanoseconds.
    """

    before: list[Row]
    rows: list[Row]
    agreed: KlineReconciliation
    bars: dict[int, Bar]


@dataclass(frozen=True)
class Windows:
    """What asks for them; `name` is the venue's, for messages."""

    api: Api
    name: str

    def fetch(self, instrument: Instrument, start: int, end: int, kept: list[Row]) -> Window:
        """Rows of whole minutes; see `trader_pipelines.venues.alpaca.Alpaca.window`."""
        where = f"venue {self.name}, symbol {instrument.symbol}, window"
        low = start - _LEAD
        for page in self.api.pages(instrument, kept[-1].ts_event if kept else low, end):
            kept.extend(page)
        rows = self.merged([kept], where)
        before = [row for row in rows if row.ts_event < start]
        inside = [row for row in rows if row.ts_event >= start]
        inside, agreed, bars = self.completed(instrument, inside, start, end, where)
        return Window(before, inside, agreed, bars)

    def merged(self, pages: Iterable[Sequence[Row]], where: str) -> list[Row]:
        """Rows of all pages, each once; a contradiction is a `BadAnswerError`."""
        try:
            return alpaca_rows.merged(pages)
        except SuspectError as error:
            raise BadAnswerError(
                f"venue {self.name} contradicts itself: {error}",
                where=where,
                remedy="try again later; nothing was stored",
                retry=True,
            ) from None

    def completed(
        self, instrument: Instrument, rows: list[Row], start: int, end: int, where: str
    ) -> tuple[list[Row], KlineReconciliation, dict[int, Bar]]:
        """Ask again, bars and trades, while they disagree; keep what they come to."""
        for _ in range(_ROUNDS):
            agreed, bars = self._agreed(instrument, rows, start, end)
            if agreed.agrees:
                return rows, agreed, bars
            for first, last in _runs(agreed.differing["minute"].dt.epoch("ns").to_list()):
                asked = self.api.pages(instrument, max(first, start), min(last, end))
                again = self.merged(asked, where)
                within = [row for row in rows if first <= row.ts_event < last]
                self.merged([within, again], where)  # no contradiction
                # As it is told now: a trade may have been cancelled since it was first told.
                now = {row.identity for row in again}
                kept = [row for row in within if row.identity not in now]
                outside = [row for row in rows if not first <= row.ts_event < last]
                rows = sorted([*outside, *again, *kept], key=lambda row: row.ts_event)
        return rows, *self._agreed(instrument, rows, start, end)

    def _agreed(
        self, instrument: Instrument, rows: Sequence[Row], start: int, end: int
    ) -> tuple[KlineReconciliation, dict[int, Bar]]:
        bars = self.api.bars(instrument, start, end)
        klines = bars_frame(bars, instrument)
        agreed = reconcile_with_klines(settle(rows).trades, klines, instrument)
        return agreed, minutes(bars, instrument)


def _runs(minutes: Sequence[int], gap: int = 5) -> list[tuple[int, int]]:
    """Minutes that lie close together as spans of time, each end excluded."""
    spans: list[list[int]] = []
    for minute in minutes:
        if spans and minute <= spans[-1][1] + gap * _MINUTE:
            spans[-1][1] = minute + _MINUTE
        else:
            spans.append([minute, minute + _MINUTE])
    return [(first, last) for first, last in spans]
