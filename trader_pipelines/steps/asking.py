"""Who is asked for missing ids, and what they answer: the evidence of healing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from trader_pipelines.core.certificates import Certificate, Range, describe_ranges
from trader_pipelines.core.errors import MissingDataError, TraderError
from trader_pipelines.core.healing import Found
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.ranges import difference, inside, runs, union, windows
from trader_pipelines.stores import outages
from trader_pipelines.venues.base import Healer, RangeTrades

Clock = Callable[[], datetime]

#: Holes within so many ids are asked for at once: a page of Binance, the largest there is.
_WINDOW = 1_000


def utc_now() -> datetime:
    """Now, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question put to a source.

    Parameters
    ----------
    range : Range or None
        Of ids; None when it was for the day as a whole.
    told : mapping
        Evidence, see `stores.outages.answer`.
    """

    range: Range | None
    told: Mapping[str, str]


@dataclass
class Report:
    """What healing came to, of one symbol's day.

    Parameters
    ----------
    symbol, day
        Which.
    lacked : str
        What was missing before, for a person; empty when nothing was.
    reopened : bool
        Whether the day had got rows since it was certified.
    found : dict
        Trades that came of each source.
    asked : list of Asked
        Who was asked for what, when, and what came.
    certificate : Certificate or None
        Afterwards.
    errors : list of TraderError
        Of sources that did not answer, or not with what can be believed: no evidence of anything.
    """

    symbol: str
    day: date
    lacked: str = ""
    reopened: bool = False
    found: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    certificate: Certificate | None = None
    errors: list[TraderError] = field(default_factory=list)

    @property
    def lacks(self) -> str:
        """What is missing afterwards, for a person."""
        return self.certificate.describe_missing() if self.certificate else ""

    @property
    def outage(self) -> bool:
        """Whether every source was asked for what is missing, and none has it."""
        return bool(self.lacks and self.asked) and not self.errors


def ask(
    sources: Mapping[str, Healer],
    instrument: Instrument,
    wanted: Mapping[date, list[Range]],
    report: Report,
    now: Clock,
) -> dict[date, list[Found]]:
    """Ask one source after the other for what is still missing; its answers of a day are one."""
    answers: dict[date, list[Found]] = {day: [] for day in wanted}
    known: list[Range] = []
    for name, source in sources.items():
        for day, ranges in wanted.items():
            parts: list[RangeTrades] = []
            for holes in windows(difference(ranges, known), _WINDOW):
                asked = now()
                first, last = holes[0][0], holes[-1][1]
                try:
                    got = source.fetch_range(instrument, day, first, last)
                except TraderError as error:
                    # That there is no such day is an answer; that nobody answers is none.
                    if isinstance(error, MissingDataError) and not error.retry:
                        told = outages.answer(f"{name}, {error.where}", asked, error.what)
                        report.asked.append(Asked(None, told))
                    else:
                        report.errors.append(error)
                    break
                parts.append(_within(got, holes))
                told = outages.answer(f"{name}, {got.source}", asked, _said(holes, parts[-1]))
                report.asked.append(Asked((first, last), told))
            if parts:
                void = tuple(one for part in parts for one in part.void_ids)
                found = Found(name, pl.concat([part.trades for part in parts]), void)
                answers[day].append(found)
                known = union(known, accounted(found))
    return answers


def accounted(found: Found) -> list[Range]:
    """What a source accounts for; it may have given its rows in any order."""
    ids = np.append(found.trades["id"].to_numpy(), np.asarray(found.void_ids, np.int64))
    return runs(np.unique(ids))


def _within(got: RangeTrades, holes: list[Range]) -> RangeTrades:
    """Of what a source gave, what is missing; what lies between the holes is there."""
    lost = inside(got.trades["id"].to_numpy(), holes)
    void = np.asarray(got.void_ids, np.int64)
    return RangeTrades(
        got.trades.filter(pl.Series(lost)), got.source, tuple(void[inside(void, holes)].tolist())
    )


def _said(asked: list[Range], found: RangeTrades) -> str:
    what = f"{found.trades.height} trades" if found.trades.height else "no trade"
    void = f" and {len(found.void_ids)} void ids" if found.void_ids else ""
    return f"{what}{void} of {describe_ranges(asked)}"
