"""`trader collect` as a process: started against a running exchange, followed line by line."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TRADER = str(Path(sys.executable).with_name("trader"))

Told = dict[str, Any]


def environment(folder: Path, port: int, url: str, symbols: Sequence[str]) -> dict[str, str]:
    """Of a command that collects made-up symbols from an exchange on this machine."""
    universe = folder / "universe.yaml"
    grid = 'since: 2017-01-01, tick_size: "0.00000001", lot_size: "0.00000001"'
    rows = "".join(f"      {symbol}: {{{grid}}}\n" for symbol in symbols)
    universe.write_text(f"venues:\n  binance:\n    source: binance_rest\n    symbols:\n{rows}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADER_")}
    return kept | {
        "TRADER_HOME": str(folder / "home"),
        "TRADER_UNIVERSE": str(universe),
        "TRADER_DATABASE_URL": url,
        "TRADER_BINANCE_URL": f"http://127.0.0.1:{port}/api/v3",
        "TRADER_BINANCE_STREAM_URL": f"ws://127.0.0.1:{port}/ws",
        "NO_COLOR": "1",
        "COLUMNS": "150",
    }


class Collecting:
    """A running `trader collect --json`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.last: Told = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.put(line)
        self.said.put(None)

    def until(self, wanted: Callable[[Told], bool], seconds: float = 60.0) -> Told:
        """The first status of which that is true."""
        end = time.monotonic() + seconds
        while (line := self.said.get(timeout=max(0.1, end - time.monotonic()))) is not None:
            self.last = json.loads(line)
            if wanted(self.last):
                return self.last
        raise AssertionError(f"ended: {self.errors()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> Told:
        """Tell it to stop; the last status, once it has ended well."""
        self.process.send_signal(how)
        code = self.process.wait(30)
        assert code == 0, self.errors()
        while (line := self.said.get(timeout=10)) is not None:
            self.last = json.loads(line)
        return self.last

    def errors(self) -> str:
        """What it said on standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def started(env: dict[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`trader collect --venue binance`; it does not outlive the block."""
    process = subprocess.Popen(
        [TRADER, "collect", "--venue", "binance", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def collecting(env: dict[str, str], *arguments: str) -> Iterator[Collecting]:
    """The same, followed by its lines of JSON."""
    with started(env, "--json", "--every", "0.1", *arguments) as process:
        yield Collecting(process)


def whole(last_id: int) -> Callable[[Told], bool]:
    """Whether every symbol is there up to an id."""
    return lambda status: all(
        symbol["last_id"] == last_id and symbol["contiguous"]
        for symbol in status["symbols"].values()
    )
