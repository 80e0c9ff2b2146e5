"""How many trades a second the collector commits on one core, and how soon after receipt."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from trader_pipelines.stores import database, embedded
from trader_pipelines_tests.exchange.running import ROOT, running_exchange

SYMBOLS = 50
RATE = 20_000


def run(seconds: int = 300, rate: int = RATE) -> dict[str, float]:
    """Collect `rate` trades a second of 50 symbols into a database of its own.

    The collector is a process pinned to one core; the venue and the database have the others.

    Returns
    -------
    dict
        ``collector_trades_per_s``: all rows that were committed, over the time from before the
        first was received to after the last was committed; it cannot exceed what was offered.
        ``collector_p99_ms``: 99th percentile of the whole run, receipt to commit.
        ``collector_worst_second_p99_ms``: that of the worst second.
        ``collector_cpu``: cores used. ``collector_growth_mb``: resident memory at the end less
        that after a fifth of the time. ``collector_missing``: trades lacking at the end.
    """
    home = Path(tempfile.mkdtemp(prefix="trader-bench-"))
    home.chmod(0o755)
    try:
        url = embedded.start(home).url
        database.prepare(url)
        tape = f"synthetic:{SYMBOLS}:{rate}:{seconds}"
        with running_exchange(
            [tape], rate=str(rate), start_symbols=SYMBOLS, weight_limit=10_000_000
        ) as running:
            told = {
                "port": running.urls["port"],
                "symbols": [f"SYN{i:03d}USDT" for i in range(SYMBOLS)],
                "options": {"report": 1.0},
            }
            return _measure(told, url, rate * seconds)
    finally:
        embedded.remove(home)
        shutil.rmtree(home, ignore_errors=True)


def _measure(told: dict[str, object], url: str, wanted: int) -> dict[str, float]:
    command = [sys.executable, "-m", "trader_pipelines_tests.collector.process", json.dumps(told)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    core = min(os.sched_getaffinity(0))
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"TRADER_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509
    )
    assert child.stdout is not None
    course: list[tuple[float, int, float, float]] = []
    begun, idle, run_p99 = time.time(), 0, 0.0
    for line in child.stdout:
        status = json.loads(line)
        at, stored = status["at_ns"] / 1e9, status["counts"]["stored"]
        if not status["counts"]["frames"]:
            begun = at
        idle = idle + 1 if course and stored == course[-1][1] else 0
        if stored and not idle:
            run_p99 = float(status["run_p99_ms"])
            p99 = status["committed_p99_ms"] or 0.0
            course.append((at, stored, p99, _resident_mb(child.pid)))
        if stored >= wanted or idle > 20:
            break
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    child.stdout.close()
    child.wait(30)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    times, stored_at, p99s, memory = (np.array(column) for column in zip(*course, strict=True))
    span = times[-1] - begun
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "collector_trades_per_s": float(stored_at[-1] / span),
        "collector_p99_ms": run_p99,
        "collector_worst_second_p99_ms": float(p99s.max()),
        "collector_cpu": float(cpu / span),
        "collector_growth_mb": float(memory[-1] - memory[len(memory) // 5]),
        "collector_missing": float(wanted - stored_at[-1]),
    }


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))
