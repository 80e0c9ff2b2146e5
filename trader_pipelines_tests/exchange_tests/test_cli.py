"""The command line: starting, saying where, refusing, stopping."""

import json
import signal
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.kinds import KINDS
from trader_pipelines_tests.exchange.running import ROOT, running_exchange
from trader_pipelines_tests.exchange.state import digest
from trader_pipelines_tests.exchange.tapes import text

COMMAND = [sys.executable, "-m", "trader_pipelines_tests.exchange"]


def said(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


def test_start_and_sigterm_ends_with_zero_and_no_words() -> None:
    process = subprocess.Popen(
        [*COMMAND, "--tape", "synthetic:2:100:1", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert ready["ready"] is True
    assert ready["pid"] == process.pid
    assert ready["binance_ws"].startswith(f"ws://127.0.0.1:{ready['port']}/")
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no tape"),
        (["--tape", "nowhere.parquet"], "no tape at 'nowhere.parquet'"),
        (["--tape", "synthetic:1:1:1", "--faults", '[{"kind":"x"}]'], "kind 'x' is none of"),
        (["--tape", "synthetic:1:1:1", "--clock", "noon"], "noon"),
    ],
)
def test_start_a_mistake_is_one_line_and_two(arguments: list[str], words: str) -> None:
    result = said(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_list_faults_names_every_kind() -> None:
    result = said("--list-faults")
    assert {line.split()[0] for line in result.stdout.splitlines()} == set(KINDS)


def test_running_exchange_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no tape at"), running_exchange(["nowhere.csv"]):
        pass


def test_control_tells_the_true_tape(btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))
    with running_exchange([btc_tape]) as running:
        (listed,) = running.ask("symbols")
        assert listed["sha256"] == digest(tape)
        assert (listed["count"], listed["first_id"]) == (len(tape), int(tape.id[0]))
        rows = running.ask("tape", symbol="BTCUSDT", lo=10, hi=12)
        assert rows["id"] == tape.id[10:12].tolist()
        assert text(rows["price"][0], rows["price_dp"]) == text(int(tape.price[10]), tape.price_dp)


def test_control_requests_are_listed_with_their_faults() -> None:
    from trader_pipelines_tests.exchange_tests.conftest import spot

    with running_exchange(
        ["synthetic:1:10:1"], [{"kind": "slow", "at": [2], "seconds": 0}]
    ) as running:
        client = spot(running)
        client.publicGetPing()
        client.publicGetAggTrades({"symbol": "SYN000USDT", "limit": 3})
        told = [
            (r["endpoint"], r["status"], r["weight"], r["fault"]) for r in running.ask("requests")
        ]
        assert told == [("binance.ping", 200, 1, ""), ("binance.aggTrades", 200, 4, "slow")]
        running.tell("reset")
        assert running.ask("requests") == []


def test_control_bad_faults_are_refused_and_the_old_ones_stay() -> None:
    with running_exchange(["synthetic:1:10:1"], [{"kind": "slow"}]) as running:
        with pytest.raises(urllib.error.HTTPError, match="400"):
            running.tell("faults", [{"kind": "earthquake"}])
        assert [fault["kind"] for fault in running.ask("state")["faults"]] == ["slow"]


def test_two_exchanges_do_not_share_anything() -> None:
    with (
        running_exchange(["synthetic:1:10:1"]) as one,
        running_exchange(["synthetic:1:10:1"]) as two,
    ):
        assert one.urls["port"] != two.urls["port"]
        one.tell("clock", advance=1000)
        assert one.ask("state")["now_ms"] - two.ask("state")["now_ms"] > 900_000
