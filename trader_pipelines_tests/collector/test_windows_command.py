"""`trader collect --venue alpaca` as a process against the test exchange."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from trader_pipelines_tests.collector.windows_process import MINUTE
from trader_pipelines_tests.exchange.running import Running, running_exchange

TRADER = str(Path(sys.executable).with_name("trader"))
UNIVERSE = """\
venues:
  coins:
    source: alpaca_crypto
    symbols:
      SYN000USDT: {since: 2020-01-01, tick_size: "0.01", lot_size: "0.0001"}
  alpaca:
    source: alpaca
    symbols:
      SYAA: {since: 2020-01-01, tick_size: "0.01", lot_size: "0.0001"}
"""


def environment(folder: Path, running: Running, url: str, **more: str) -> dict[str, str]:
    (folder / "universe.yaml").write_text(UNIVERSE)
    names = ("TRADER_", "ALPACA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return kept | {
        "TRADER_HOME": str(folder / "home"),
        "TRADER_UNIVERSE": str(folder / "universe.yaml"),
        "TRADER_DATABASE_URL": url,
        "TRADER_ALPACA_STREAM_URL": f"ws://127.0.0.1:{running.urls['port']}",
        "ALPACA_BASE_URL": running.urls["alpaca"],
        "ALPACA_API_KEY": "test-key",
        "ALPACA_API_SECRET": "test-secret",
        "NO_COLOR": "1",
        "COLUMNS": "150",
        **more,
    }


def test_collect_crypto_now_stores_what_comes_and_names_what_is_open(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    start = datetime.fromtimestamp(time.time() - 300, UTC).replace(second=0, microsecond=0)
    live = datetime.fromtimestamp(time.time(), UTC)
    with running_exchange(
        [f"crypto=synthetic:1:20:3600:{start:%Y-%m-%dT%H:%M:%S}"],
        rate="x1",
        live_from=f"{live:%Y-%m-%dT%H:%M:%S}",
    ) as running:
        process = subprocess.Popen(
            [TRADER, "collect", "--venue", "coins", "--json", "--every", "0.2"],
            env=environment(tmp_path, running, database_url),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["counts"]["stored"] >= 40:
                break
        process.send_signal(signal.SIGTERM)
        last = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait(20) == 0
        process.stdout.close()
    symbol = last["symbols"]["SYN000USDT"]
    (count,) = conn.execute("select count(*) from hot_ticks").fetchone() or (0,)
    # What came by the stream, and what REST had of the minutes before it.
    assert count >= symbol["trades"] == last["counts"]["stored"] >= 40
    # The minute in which listening began is not over yet.
    began = live.replace(second=0, microsecond=0).timestamp()
    assert any(first >= (began - 60) * 10**9 for first, _ in symbol["missing"])
    assert symbol["windows"][-1].endswith("nobody listened")
    assert all((end + 1) % MINUTE == first % MINUTE == 0 for first, end in symbol["missing"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ALPACA_API_KEY": ""}, "ALPACA_API_KEY"),
        ({"ALPACA_API_KEY": "wrong"}, "refuses this key"),
        (
            {"ALPACA_API_KEY": "basic-key", "ALPACA_API_SECRET": "basic-secret"},
            "the key has no subscription for",  # the stream and REST are asked side by side
        ),
    ],
    ids=["none", "refused", "not entitled"],
)
def test_collect_key_is_not_good_is_one_readable_message(
    database_url: str, tmp_path: Path, more: dict[str, str], said: str
) -> None:
    with running_exchange(["alpaca=synthetic:1:1:60:2024-07-09T14:00"]) as running:
        env = environment(tmp_path, running, database_url, **more)
        if not more["ALPACA_API_KEY"]:
            del env["ALPACA_API_KEY"]
        ended = subprocess.run(
            [TRADER, "collect", "--venue", "alpaca"],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "remedy" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "basic-secret" not in ended.stderr + ended.stdout


def test_collect_from_id_is_refused_where_trades_are_not_counted(
    database_url: str, tmp_path: Path
) -> None:
    with running_exchange(["alpaca=synthetic:1:1:60:2024-07-09T14:00"]) as running:
        ended = subprocess.run(
            [TRADER, "collect", "--venue", "alpaca", "--from-id", "SYAA=5"],
            env=environment(tmp_path, running, database_url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert "does not count its trades" in ended.stderr
