"""What `trader collect` shows a person: a table that lives, a line a report in a log, a summary."""

from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from trader_pipelines.collector.status import Status

_COLUMNS = ("symbol", "state", "last id", "trades", "lag ms", "p50 ms", "p99 ms", "missing")
_COLOURS = {"whole": "green", "missing": "red"}
_FRAME = 10  # lines of the terminal around the rows
_NAMED = 3  # ranges that are named before they are only counted


class Screen:
    """The terminal while a collector runs."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, 140)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, status: "Status") -> None:
        """Tell of a moment: the table of a terminal, one line elsewhere."""
        if self._console.is_terminal:
            rows = max(1, self._console.size.height - _FRAME)
            self._live.update(table(status, most=rows), refresh=True)
            return
        at = datetime.fromtimestamp(status.at_ns / 1e9, UTC)
        whole = sum(symbol.contiguous for symbol in status.symbols.values())
        lag = [each.clock_lag_ms for each in status.symbols.values() if each.clock_lag_ms]
        self._console.print(
            f"{at:%H:%M:%S} UTC  {status.counts['stored']:,} stored, {whole} of "
            f"{len(status.symbols)} symbols whole, lag {_figure(max(lag, default=None))} ms, "
            f"committed after {_figure(status.committed_p99_ms)} ms (p99)",
            highlight=False,
        )

    def summary(self, status: "Status") -> None:
        """What was done, and what is missing, symbol by symbol."""
        self._console.print(table(status, live=False))
        for name, symbol in status.symbols.items():
            if symbol.missing:
                ranges = ", ".join(symbol.lacks[:_NAMED])
                more = len(symbol.lacks) - _NAMED
                rest = f" and {more} more ranges" if more > 0 else ""
                self._console.print(
                    f"{name} lacks {ranges}{rest}: asked for again at the next start",
                    highlight=False,
                )
        trades = sum(symbol.trades for symbol in status.symbols.values())
        self._console.print(
            f"stopped: {trades:,} trades collected, all that was received is stored; committed "
            f"{_figure(status.run_p99_ms)} ms after receipt (p99 of the run)",
            highlight=False,
        )


def table(status: "Status", *, live: bool = True, most: int | None = None) -> Table:
    """A row a symbol, those with trouble first where not all have room; what concerns all below."""
    at = datetime.fromtimestamp(status.at_ns / 1e9, UTC)
    shown = Table(
        title=f"{status.venue} live, {at:%Y-%m-%d %H:%M:%S} UTC",
        title_justify="left",
        caption=_caption(status),
        caption_justify="left",
    )
    for name in _COLUMNS:
        if live or name != "state":
            shown.add_column(name, justify="left" if name in ("symbol", "state") else "right")
    symbols = list(status.symbols.items())
    if most is not None and len(symbols) > most:
        symbols = sorted(symbols, key=lambda pair: (pair[1].contiguous, pair[0]))[:most]
        shown.title = f"{shown.title}, {most} of {len(status.symbols)} symbols"
    for name, symbol in symbols:
        state = symbol.state
        shown.add_row(
            name,
            *([f"[{_COLOURS.get(state, 'yellow')}]{state}[/]"] if live else []),
            symbol.last,
            f"{symbol.trades:,}",
            _figure(symbol.clock_lag_ms),
            _figure(symbol.committed_p50_ms),
            _figure(symbol.committed_p99_ms),
            symbol.lacking,
        )
    return shown


def _caption(status: "Status") -> str:
    counts, links = status.counts, status.connections
    lines = [
        f"connections {sum(link['open'] for link in links)} of {len(links)} open, "
        f"{sum(max(0, link['connects'] - 1) for link in links)} reconnects; "
        f"stored {counts['stored']:,}, refilled over REST {counts['refilled']:,}, "
        f"waiting {status.waiting_frames:,}",
    ]
    faults = {
        "frames refused": "refused",
        "ids of another space": "strangers",
        "contradictions": "contradictions",
        "REST failures": "refill_failures",
        "database failures": "store_failures",
    }
    told = [f"{word} {counts[key]:,}" for word, key in faults.items() if counts[key]]
    if told:
        lines.append("; ".join(told))
    troubles = [status.last_trouble, *(link["trouble"] for link in links if not link["open"])]
    if trouble := next((text for text in reversed(troubles) if text), ""):
        lines.append(f"last trouble: {trouble.splitlines()[0]:.120}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
