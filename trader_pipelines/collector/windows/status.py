"""What a collector tells of minutes: which are proven, and which are open and why."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from trader_pipelines.collector.status import Delays, Status, SymbolStatus
from trader_pipelines.collector.windows.intake import Symbol, WindowIntake
from trader_pipelines.collector.windows.minutes import MINUTE

#: Nothing proven for so long beyond the delay, nanoseconds, and a symbol is not whole.
_LATE = 3 * MINUTE


@dataclass(frozen=True, slots=True)
class WindowsStatus(SymbolStatus):
    """One symbol of a venue that does not count its trades: ids are stamps, nanoseconds.

    `missing` are the open windows as ranges of stamps, `given_up` those that REST was asked for in
    vain: they stay open, and are asked for again later.

    Parameters
    ----------
    proven_to_ns : int or None
        Every minute before it is proven, or in an open window.
    last_ns : int or None
        Stamp of the latest trade.
    windows : list of str
        The open windows, UTC, each with the reason.
    """

    proven_to_ns: int | None = None
    last_ns: int | None = None
    windows: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """Stamp of the latest trade."""
        return "-" if self.last_ns is None else f"{_moment(self.last_ns):%H:%M:%S.%f}"[:-3]

    @property
    def lacks(self) -> list[str]:
        """The open windows."""
        return self.windows

    @property
    def lacking(self) -> str:
        """How long they are together."""
        minutes = sum(last - first + 1 for first, last in self.missing) // MINUTE
        return f"{minutes:,} min" if minutes else ""


def status(intake: WindowIntake) -> Status:
    """Now; the delays begin anew."""
    symbols: dict[str, SymbolStatus] = {}
    for name, each in intake.symbols.items():
        symbols[name] = _symbol(intake, each)
        each.delays = Delays()
    meter, link = intake.meter, intake.link
    told = Status(
        at_ns=time.time_ns(),
        venue=intake.feed.name,
        connections=[
            {
                "symbols": len(intake.symbols),
                "open": link.open,
                "connects": link.connects,
                "silent_s": round(time.monotonic() - link.heard, 3),
                "trouble": link.trouble,
            }
        ],
        waiting_frames=len(link.frames),
        counts=dict(meter.counts),
        last_refusal=meter.last_refusal,
        last_trouble=meter.last_trouble,
        committed_p50_ms=meter.delays.quantile(0.5),
        committed_p99_ms=meter.delays.quantile(0.99),
        run_p99_ms=meter.run.quantile(0.99),
        symbols=symbols,
    )
    meter.delays = Delays()
    return told


def _symbol(intake: WindowIntake, symbol: Symbol) -> WindowsStatus:
    ledger, delays = symbol.ledger, symbol.delays
    windows = list(_windows(symbol, intake.options.tries))
    return WindowsStatus(
        contiguous=intake.link.open
        and not windows
        and ledger.checked_to is not None
        and ledger.checked_to >= intake.now() - intake.proving.delay_ns - _LATE,
        last_id=ledger.last_ns,
        trades=symbol.trades,
        missing=[(first, last) for first, last, _, _ in windows],
        given_up=[(first, last) for first, last, _, vain in windows if vain],
        clock_lag_ms=symbol.lag_ms,
        committed_p50_ms=delays.quantile(0.5),
        committed_p99_ms=delays.quantile(0.99),
        proven_to_ns=ledger.checked_to,
        last_ns=ledger.last_ns,
        windows=[
            f"{_clock(first)} to {_clock(last + 1)[-5:]}: {why}" for first, last, why, _ in windows
        ],
    )


def _windows(symbol: Symbol, tries: int) -> Iterator[tuple[int, int, str, bool]]:
    """Neighbouring open minutes of one reason: first and last nanosecond, reason, in vain."""
    found: tuple[int, int, str, bool] | None = None
    for start, each in sorted(symbol.ledger.open.items()):
        vain = each.tries >= tries
        if found is not None and (start, each.why, vain) == (found[1] + 1, *found[2:]):
            found = (found[0], start + MINUTE - 1, *found[2:])
            continue
        if found is not None:
            yield found
        found = (start, start + MINUTE - 1, each.why, vain)
    if found is not None:
        yield found


def _clock(ns: int) -> str:
    return f"{_moment(ns):%Y-%m-%d %H:%M}"


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1000 / 1e6, UTC)
