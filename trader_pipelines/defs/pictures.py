"""Pictures and tables that a person sees in the metadata of an asset."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, GREY = "#1f2933", "#2563eb", "#cbd5e1"
_MOST_PANELS = 6


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; the keys of the first row are its header."""
    if not rows:
        return dg.MetadataValue.md("*nothing*")
    header = list(rows[0])
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in header) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value).replace("|", "\\|")


def price_and_volume(
    bars: Mapping[str, pl.DataFrame], scales: Mapping[str, tuple[int, int]], title: str
) -> dg.MarkdownMetadataValue:
    """Close and volume of each symbol's minute bars, one panel a symbol.

    Parameters
    ----------
    bars : mapping of str to DataFrame
        Minute bars by symbol.
    scales : mapping of str to (int, int)
        Decimals of prices and sizes by symbol.
    """
    shown = [symbol for symbol, frame in bars.items() if frame.height][:_MOST_PANELS]
    if not shown:
        return dg.MetadataValue.md("*no trades, nothing to draw*")
    figure, panels = _panels(len(shown), title)
    for symbol, axes in zip(shown, panels, strict=True):
        frame = bars[symbol]
        price_scale, size_scale = scales[symbol]
        stamps = frame["ts_close"].to_numpy()
        axes.plot(stamps, frame["close"].to_numpy() / 10**price_scale, color=BLUE, lw=0.9)
        axes.set_title(symbol, fontsize=9, loc="left", color=INK)
        _clock(axes)
        volume = axes.twinx()
        volume.fill_between(
            stamps, frame["volume"].to_numpy() / 10**size_scale, color=GREY, step="mid", alpha=0.7
        )
        # A few prints are a hundred times the rest; the strip shows the day, not the largest one.
        usual = frame["volume"].quantile(0.99) or 1
        volume.set_ylim(0, usual / 10**size_scale * 4)
        volume.set_yticks([])
        axes.set_zorder(volume.get_zorder() + 1)
        axes.patch.set_visible(False)
    return _png(figure)


def calibration(
    bins: Sequence[tuple[float, float, int]], base_rate: float, title: str
) -> dg.MarkdownMetadataValue:
    """Forecast probability against what happened: a calibrated model lies on the diagonal.

    Parameters
    ----------
    bins : sequence of (float, float, int)
        Mean forecast, share of ups, rows; one a bin.
    base_rate : float
        Share of ups over all rows.
    """
    figure, (axes,) = _panels(1, title)
    forecast = [b[0] for b in bins]
    observed = [b[1] for b in bins]
    error = [2 * (b[1] * (1 - b[1]) / max(b[2], 1)) ** 0.5 for b in bins]
    low = min([*forecast, *observed]) - 0.02
    high = max([*forecast, *observed]) + 0.02
    axes.plot([low, high], [low, high], color=GREY, lw=1, label="perfectly calibrated")
    axes.axhline(base_rate, color=GREY, lw=1, ls=":", label=f"base rate {base_rate:.3f}")
    axes.errorbar(
        forecast, observed, yerr=error, color=BLUE, marker="o", ms=4, lw=1, label="out of sample"
    )
    axes.set_xlabel("forecast probability of up", fontsize=8)
    axes.set_ylabel("share that went up (±2 s.e.)", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def probabilities(signals: Mapping[str, tuple[Any, Any]], title: str) -> dg.MarkdownMetadataValue:
    """Probability of up through the day, one panel a symbol.

    Parameters
    ----------
    signals : mapping of str to (stamps, probabilities)
        numpy arrays of equal length.
    """
    shown = list(signals)[:_MOST_PANELS]
    if not shown:
        return dg.MetadataValue.md("*no signals*")
    figure, panels = _panels(len(shown), title)
    for symbol, axes in zip(shown, panels, strict=True):
        stamps, values = signals[symbol]
        axes.axhline(0.5, color=GREY, lw=1)
        axes.plot(stamps, values, color=BLUE, lw=0.8)
        axes.set_title(symbol, fontsize=9, loc="left", color=INK)
        _clock(axes)
    return _png(figure)


def _panels(count: int, title: str) -> "tuple[Figure, list[Axes]]":
    # The figure is made without pyplot: no global state, nothing to close, safe in any thread.
    from matplotlib.figure import Figure

    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    figure = Figure(
        figsize=(8.4 if columns == 2 else 5.6, 0.6 + (1.9 if count > 1 else 3.4) * rows)
    )
    grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in grid[count:]:
        spare.set_axis_off()
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    for axes in grid:
        axes.tick_params(labelsize=7, colors=INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.subplots_adjust(
        left=0.09, right=0.98, top=1 - 0.55 / figure.get_figheight(), bottom=0.12, hspace=0.5
    )
    return figure, grid[:count]


def _clock(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axes.xaxis.set_major_locator(AutoDateLocator(maxticks=7))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]


def _png(figure: "Figure") -> dg.MarkdownMetadataValue:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=80)
    encoded = base64.b64encode(sink.getvalue()).decode()
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{encoded})")
