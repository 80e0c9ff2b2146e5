"""Alpaca's collector killed with SIGKILL at random moments, and stopped with SIGTERM."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trader_pipelines_tests.collector.windows_process import MINUTE, stocks
from trader_pipelines_tests.collector.windows_runs import stored, truth
from trader_pipelines_tests.exchange.running import ROOT, Running, running_exchange
from trader_pipelines_tests.venues import alpaca_exchange as made

BEGIN = 1_720_533_600_000_000_000
STOCKS = stocks(["SYAA", "SYAB"])
RATE = 400  # prints a second; a second of ours is 40 of the tape
PACE = 40


def started(arguments: dict[str, Any]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "trader_pipelines_tests.collector.windows_process"]
    return subprocess.Popen(
        [*command, json.dumps(arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def killed(arguments: dict[str, Any], after: float) -> None:
    """Run a collector, and kill it so many seconds after its first word."""
    child = started(arguments)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(after)
    child.kill()
    child.wait()
    child.stdout.close()


def whole(running: Running, arguments: dict[str, Any], end: int) -> int:
    """Run until every minute is proven, then stop it by SIGTERM; its exit code."""
    child = started(arguments)
    assert child.stdout is not None
    ahead = Path(arguments["ahead"])
    deadline = time.monotonic() + 240
    for line in child.stdout:
        assert time.monotonic() < deadline, line
        if not ahead.exists() and running.ask("state")["replay"]["done"]:
            part = ahead.with_suffix(".part")
            part.write_text(str(30 * MINUTE))
            part.replace(ahead)
        symbols = json.loads(line)["symbols"].values()
        if all(s["proven_to_ns"] >= end and not s["missing"] for s in symbols):
            break
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    child.stdout.close()
    return child.wait(20)


@pytest.mark.parametrize(
    "kills",
    [2, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_collect_windows_killed_at_random_nothing_lost_nothing_twice(
    conn: psycopg.Connection, database_url: str, tmp_path: Path, kills: int
) -> None:
    rng = random.Random(kills)
    seconds = (2 * kills + 2) * PACE
    tape = f"alpaca=synthetic:2:{RATE / PACE}:{seconds}:2024-07-09T14:00"
    faults = [{"kind": "drop", "rate": 0.005}, {"kind": "cancel", "rate": 0.002}]
    options: dict[str, Any] = {"rate": str(RATE), "live_from": "start", "clock": "tape"}
    with running_exchange(
        [tape], faults, start_symbols=2, request_limit=10**9, **options
    ) as running:
        told = {
            "port": running.urls["port"],
            "symbols": [stock.symbol for stock in STOCKS],
            "database_url": database_url,
            "begin": BEGIN,
            "ahead": str(tmp_path / "ahead"),
        }
        for _ in range(kills):
            killed(told, rng.uniform(0.0, 0.8))
        running.tell("replay", rate="2000")
        assert whole(running, told, BEGIN + seconds * 10**9) == 0
        for stock in STOCKS:
            assert stored(conn, stock, made.DAY).equals(truth(running, stock, made.DAY))
