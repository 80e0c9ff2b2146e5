"""The main job as a user meets it: the demo's time and memory, and how fast the location loads."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_LOAD = "import trader_pipelines.definitions as d; d.defs()"
_PEER = "import dagster"


def run() -> dict[str, float]:
    """Measure in processes of their own.

    Returns
    -------
    dict
        ``demo_seconds`` and ``demo_peak_mb`` (the largest process) of one cold run with a new
        database; ``location_load_seconds``, and as a ratio to importing Dagster alone, medians of
        five interleaved pairs.
    """
    with tempfile.TemporaryDirectory() as home:
        trader = str(Path(sys.executable).with_name("trader"))
        environment = os.environ | {"TRADER_HOME": home}
        seconds, peak = _measure([trader, "demo"], environment)
        subprocess.run([trader, "db", "stop"], env=environment, check=True, capture_output=True)
    pairs = [(_python(_LOAD), _python(_PEER)) for _ in range(6)][1:]
    return {
        "demo_seconds": seconds,
        "demo_peak_mb": peak,
        "location_load_seconds": statistics.median(ours for ours, _ in pairs),
        "location_load_vs_dagster": statistics.median(ours / peer for ours, peer in pairs),
    }


def _python(code: str) -> float:
    return _measure([sys.executable, "-W", "ignore", "-c", code], dict(os.environ))[0]


def _measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode()[-2000:])
    return seconds, usage.ru_maxrss / 1024
