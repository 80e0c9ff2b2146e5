"""`trader collect` as its users run it: stopped, cut off, refused, left without a database."""

import json
import os
import queue
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from trader_pipelines.cli import main
from trader_pipelines.stores import database, embedded
from trader_pipelines_tests.collector.command import Told, collecting, environment, started, whole
from trader_pipelines_tests.collector.tape import BASE, SYMBOLS, stored, truth
from trader_pipelines_tests.exchange.running import Running, running_exchange

EACH = 2_000
FROM = [f"--from-id={symbol}={BASE}" for symbol in SYMBOLS]
TAPE = f"synthetic:2:400:{2 * EACH // 400}"


@pytest.fixture(scope="module")
def venue() -> Iterator[Running]:
    with running_exchange([TAPE], live_from="start", start_symbols=2, rate="800") as running:
        yield running


def rewound(venue: Running, *faults: dict[str, Any], rate: str = "800") -> int:
    venue.tell("reset", replay=True, limits=True, faults=list(faults))
    venue.tell("replay", rate=rate)
    return int(venue.urls["port"])


def listening(told: Told) -> bool:
    """The venue has answered the subscription."""
    return bool(told["counts"]["frames"])


def seen(frames: int) -> Callable[[Told], bool]:
    return lambda told: told["counts"]["frames"] + told["waiting_frames"] > frames


def today() -> date:
    """The UTC day, which does not end within the next minute."""
    now = datetime.now(UTC)
    if (now.hour, now.minute) == (23, 59):
        time.sleep(61 - now.second)
    return datetime.now(UTC).date()


def test_collect_stopped_twice_what_it_received_is_stored_and_the_next_one_goes_on(
    tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    day = today()
    with running_exchange(
        [f"{TAPE}:{day}T00:00"], live_from=f"{day}T00:00:02", start_symbols=0, rate="manual"
    ) as venue:
        env = environment(tmp_path, venue.urls["port"], database_url, SYMBOLS)
        for how in (signal.SIGINT, signal.SIGTERM):
            with collecting(env) as command:
                command.until(listening)
                venue.tell("replay", step=400)
                command.until(lambda told: told["contiguous"] and told["counts"]["frames"] > 300)
                venue.tell("replay", step=400)  # on their way
                told = command.stop(how)
            counts = told["counts"]
            # One frame answers the subscription; every other one is a trade, and is there.
            streamed = counts["stored"] - counts["refilled"] + counts["repeated"]
            assert counts["frames"] - told["connections"][0]["connects"] == streamed
            for symbol in SYMBOLS:
                last = told["symbols"][symbol]["last_id"]
                rows = stored(conn, symbol, day)
                assert rows == truth(venue, symbol)[: last - BASE + 1]
                assert last < BASE + EACH - 1
        # The first of today was asked for once a symbol, the rest of the requests went by id.
        asked = [each["query"] for each in venue.ask("requests")]
        assert sum("startTime" in query for query in asked) == 2 * len(SYMBOLS)


def test_collect_for_a_person_tells_lag_and_sums_up(
    venue: Running, tmp_path: Path, database_url: str
) -> None:
    hole = {"kind": "hole", "first": BASE + 5, "last": BASE + 9, "where": ["rest", "stream"]}
    env = environment(tmp_path, rewound(venue, hole), database_url, SYMBOLS)
    lines = []
    with started(env, "--every", "0.2", *FROM) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if int(line.split()[2].replace(",", "")) > 100:
                break
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
        assert process.wait(30) == 0
    assert all(" UTC  " in line and " ms, committed after " in line for line in lines)
    assert "lag ms" in said
    assert "1 of 1 open" not in said
    for symbol in SYMBOLS:
        assert f"{symbol} lacks {BASE + 5} to {BASE + 9}: asked for again" in said
    days = (datetime.now(UTC) - datetime(2024, 1, 2, tzinfo=UTC)).days
    shown = next(line for line in said.splitlines() if SYMBOLS[0] in line and "│" in line)
    lag = float(shown.split("│")[4].replace(",", ""))
    assert days - 1 <= lag / 86_400_000 <= days + 1
    assert "stopped: " in said


def test_collect_database_lost_and_back_nothing_lost(venue: Running, tmp_path: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="trader-"))
    home.chmod(0o755)
    try:
        url = embedded.start(home).url
        database.prepare(url)
        env = environment(tmp_path, rewound(venue, rate="manual"), url, SYMBOLS)
        with collecting(env, *FROM) as command:
            command.until(listening)
            venue.tell("replay", step=500)
            command.until(lambda told: told["counts"]["stored"] > 0)
            embedded.stop(home)
            venue.tell("replay", step=500)
            command.until(lambda told: told["counts"]["store_failures"] > 1)
            assert "database" in command.last["last_trouble"]
            embedded.start(home)
            venue.tell("replay", rate="max")
            command.until(whole(BASE + EACH - 1))
            told = command.stop()
        # Nothing was dropped for want of a database: REST had only the beginning to tell.
        assert told["connections"][0]["connects"] == 1
        with database.connect(url) as connection:
            for symbol in SYMBOLS:
                assert stored(connection, symbol) == truth(venue, symbol)
    finally:
        embedded.remove(home)
        shutil.rmtree(home, ignore_errors=True)


def test_collect_handshake_refused_is_asked_again_as_late_as_it_says(
    venue: Running, tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    faults = [
        {"kind": "too_many", "on": "binance.connect", "retry_after": 1, "times": 1},
        {"kind": "ban", "on": "binance.connect", "seconds": 1, "times": 1},
        {"kind": "refuse", "on": "binance.connect", "times": 1},
    ]
    port = rewound(venue, *faults, rate="max")
    with collecting(environment(tmp_path, port, database_url, SYMBOLS), *FROM) as command:
        command.until(whole(BASE + EACH - 1))
        command.stop()
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(venue, symbol)
    tries = [r for r in venue.ask("requests") if r["endpoint"] == "binance.connect"]
    assert [each["status"] for each in tries[:3]] == [429, 418, 499]
    # Not one attempt within the second that each of the first two answers asked for.
    assert all(b["at_ms"] - a["at_ms"] >= 1_000 for a, b in pairwise(tries[:3]))


def test_collect_silent_connection_is_opened_again(
    venue: Running, tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    env = environment(tmp_path, rewound(venue), database_url, SYMBOLS)
    with collecting(env, "--silence", "0.6", *FROM) as command:
        command.until(lambda told: told["counts"]["stored"] > 0)
        os.kill(venue.process.pid, signal.SIGSTOP)
        try:
            command.until(lambda told: "no frame for" in told["connections"][0]["trouble"])
        finally:
            os.kill(venue.process.pid, signal.SIGCONT)
        venue.tell("replay", rate="max")
        command.until(whole(BASE + EACH - 1))
        assert command.stop()["connections"][0]["connects"] >= 2
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(venue, symbol)


def test_collect_second_interrupt_ends_at_once(
    venue: Running, tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    env = environment(tmp_path, rewound(venue, rate="manual"), database_url, SYMBOLS)
    with collecting(env, *FROM) as command:
        command.until(listening)
        conn.execute("lock table hot_ticks in access exclusive mode")
        for enough in (1, 2):
            venue.tell("replay", step=100)
            command.until(seen(100 * enough))
        command.process.send_signal(signal.SIGINT)
        with suppress(queue.Empty):  # it tells nothing more, and waits for the database
            while command.said.get(timeout=0.5) is not None:
                pass
        assert command.process.poll() is None
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(10) == 128 + signal.SIGINT


def test_collect_nobody_reads_its_lines_any_more_what_it_received_is_stored(
    venue: Running, tmp_path: Path, conn: psycopg.Connection, database_url: str
) -> None:
    env = environment(tmp_path, rewound(venue, rate="max"), database_url, SYMBOLS)
    with started(env, "--every", "0.1", "--json", *FROM) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if whole(BASE + EACH - 1)(told):
                break
        process.stdout.close()
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    for symbol in SYMBOLS:
        assert stored(conn, symbol) == truth(venue, symbol)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"kind": "status", "status": 403}, "KeyRefusedError", "it answers 403"),
        ({"kind": "status", "status": 404}, "SettingsError", "no stream of venue binance"),
    ],
)
def test_collect_refused_for_good_is_one_readable_message(
    venue: Running,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    error: str,
    said: str,
) -> None:
    port = rewound(venue, fault | {"on": "binance.connect"})
    for name, value in environment(tmp_path, port, database_url, SYMBOLS).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["collect", "--venue", "binance", *FROM])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{error}: ")
    assert said in done.stderr


def test_collect_symbol_unknown_to_the_venue_is_one_readable_message(
    venue: Running, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment(tmp_path, rewound(venue), database_url, ("NOPEUSDT",))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["collect", "--venue", "binance"])
    assert done.exit_code == 1
    assert done.stderr.startswith("UnknownSymbolError: venue binance knows no symbol 'NOPEUSDT'")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["--venue", "synthetic"], "SettingsError", "has no live stream"),
        (["--venue", "nyse"], "UnknownSymbolError", "choose one of: "),
        (["--venue", "binance", "--symbols", "NOPE"], "UnknownSymbolError", "choose one of: "),
        (["--venue", "binance", "--from-id", "BTCUSDT"], "SettingsError", "is not SYMBOL=ID"),
        (["--venue", "binance", "--from-id", "NOPE=1"], "UnknownSymbolError", "choose one of: "),
    ],
)
def test_collect_user_mistake_is_refused_before_anything_is_started(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: str,
    said: str,
) -> None:
    monkeypatch.setenv("TRADER_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(main, ["collect", *arguments])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{error}: ")
    assert said in done.stderr
    assert not (tmp_path / "home").exists()
