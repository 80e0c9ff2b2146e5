"""What a person sees of a collector: trouble first, everything named."""

import io

from rich.console import Console

from trader_pipelines.cli.collect_screen import Screen, table
from trader_pipelines.collector.status import Meter, Status, SymbolStatus


def symbol(missing: list[tuple[int, int]], *, contiguous: bool = False) -> SymbolStatus:
    return SymbolStatus(contiguous, 120, 100, missing, missing[:1], 12.4, 80.0, 240.0)


def status(symbols: dict[str, SymbolStatus]) -> Status:
    link = {"symbols": 3, "open": False, "connects": 2, "silent_s": 1.0, "trouble": "ClientError"}
    return Status(
        at_ns=1_767_225_600_000_000_000,
        venue="binance",
        connections=[link],
        waiting_frames=7,
        counts=dict(Meter().counts) | {"stored": 1_234, "refused": 3, "contradictions": 2},
        last_refusal="",
        last_trouble="VenueUnreachableError: nobody answers\n  where: here",
        committed_p50_ms=80.0,
        committed_p99_ms=240.0,
        run_p99_ms=250.0,
        symbols=symbols,
    )


def said(what: Status, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=140, height=height)
    console.print(table(what, most=height - 10))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_table_every_symbol_has_its_state_lag_and_holes() -> None:
    text = said(
        status(
            {
                "AAA": symbol([], contiguous=True),
                "BBB": symbol([(5, 9)]),
                "CCC": symbol([(5, 9), (20, 20)]),
                "DDD": symbol([]),
            }
        )
    )
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if "│" in line}
    assert [rows[name].split("│")[2].strip() for name in ("AAA", "BBB", "CCC", "DDD")] == [
        "whole",
        "missing",
        "refilling",
        "waiting",
    ]
    assert [cell.strip() for cell in rows["CCC"].split("│")[3:9]] == [
        "120",
        "100",
        "12",
        "80",
        "240",
        "6",
    ]
    assert "0 of 1 open, 1 reconnects" in text
    assert "frames refused 3; contradictions 2" in text
    assert "last trouble: ClientError" in text


def test_table_more_symbols_than_room_shows_those_with_trouble() -> None:
    many = {f"S{n:03d}": symbol([], contiguous=True) for n in range(50)} | {"ZZZ": symbol([(1, 1)])}
    text = said(status(many), height=15)
    assert "ZZZ" in text
    assert "5 of 51 symbols" in text
    assert sum("│" in line for line in text.splitlines()) == 5


def test_summary_names_what_is_missing_and_counts_the_rest() -> None:
    console = Console(file=io.StringIO(), width=140)
    ranges = [(n, n + 1) for n in range(0, 50, 10)]
    Screen(console).summary(status({"AAA": symbol(ranges)}))
    file = console.file
    assert isinstance(file, io.StringIO)
    text = " ".join(file.getvalue().split())
    assert "AAA lacks 0 to 1, 10 to 11, 20 to 21 and 2 more ranges: asked for again" in text
    assert "stopped: 100 trades collected" in text
