"""Memory that compaction takes: days of 10 and 20 million trades, in processes of their own."""

import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trader_pipelines.core.instruments import Instrument

MILLIONS = (10, 20)
DAY = date(2024, 1, 2)
SYMBOL = "BENCH"

_UNIVERSE = """\
venues:
  synthetic:
    source: synthetic
    symbols:
      BENCH: {since: 2024-01-01, tick_size: "0.01", lot_size: "0.00001"}
"""


def run() -> dict[str, float]:
    """Measure against an embedded server of its own.

    Returns
    -------
    dict
        ``compaction_peak_mb`` of 10 million trades, the whole process; ``compaction_growth_mb``,
        what 20 million take beyond that; ``compaction_trades_per_s`` of the first.
    """
    from trader_pipelines.stores import embedded

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        try:
            told = {}
            for millions in MILLIONS:
                _child(home, "fill", millions)
                told[millions] = _child(home, "compact", millions)
        finally:
            embedded.remove(home)
    few, many = (told[millions] for millions in MILLIONS)
    return {
        "compaction_peak_mb": few["peak_mb"],
        "compaction_growth_mb": many["peak_mb"] - few["peak_mb"],
        "compaction_trades_per_s": few["trades"] / few["seconds"],
    }


def _child(home: Path, what: str, millions: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__, str(home), what, str(millions)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(home: Path, what: str, millions: int) -> dict[str, float]:
    """In the child: fill hot with a certified day, or compact it and tell what that took."""
    from trader_pipelines.platform import Platform
    from trader_pipelines.steps import compact
    from trader_pipelines.stores import manifest

    universe = home / "universe.yaml"
    universe.write_text(_UNIVERSE, encoding="utf-8")
    parts = Platform({"home": home, "universe": universe})
    instrument = parts.universe.venue("synthetic").instrument(SYMBOL)
    with parts.connect() as connection:
        if what == "fill":
            _fill(connection, instrument, millions * 1_000_000)
            return {}
        certificate = manifest.get_certificate(connection, "synthetic", SYMBOL, DAY)
        assert certificate is not None
        start = time.perf_counter()
        entry = compact.freeze(connection, parts, instrument, certificate)
        seconds = time.perf_counter() - start
    assert entry.rows == millions * 1_000_000
    # Of this program alone: what the kernel tells a parent includes the parent before the start.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {"trades": entry.rows, "seconds": seconds, "peak_mb": int(peak.split()[1]) / 1024}


def _fill(connection: Any, instrument: "Instrument", count: int) -> None:
    import numpy as np
    import polars as pl

    from trader_pipelines.core.certificates import certify
    from trader_pipelines.core.trades import TRADES, utc_day_bounds
    from trader_pipelines.stores import hot, manifest

    dice = np.random.default_rng(7)
    start, end = utc_day_bounds(DAY)
    stamps = np.sort(dice.integers(start // 1_000_000, end // 1_000_000, count)) * 1_000_000
    trades = pl.DataFrame(
        {
            "id": np.arange(1, count + 1),
            "ts_event": stamps,
            "price": 4_200_000 + np.cumsum(dice.integers(-1, 2, count)) % 100_000,
            "size": (dice.lognormal(9, 2, count) + 1).astype(np.int64),
            "side": dice.choice([-1, 1], count),
            "fills": dice.geometric(0.7, count),
        }
    ).cast(TRADES)
    certificate = certify(
        trades,
        venue="synthetic",
        symbol=SYMBOL,
        day=DAY,
        source="a benchmark",
        synthetic=True,
        reconciled={},
    )
    with connection.transaction():
        hot.write_day(connection, instrument, DAY, trades)
        manifest.put_certificate(connection, certificate)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
