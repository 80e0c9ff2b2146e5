"""The real command over a small world: wrong settings, its table, its doctor, and a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from trader_pipelines.stores import database
from trader_pipelines_tests.end_to_end import worlds

SECRET = "s3cr3t-Gr8"


def command(home: Path, **settings: str) -> tuple[list[str], dict[str, str]]:
    """The command's path and an environment that holds these settings only."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRADER_")}
    told = {f"TRADER_{name.upper()}": value for name, value in settings.items()}
    trader = [str(Path(sys.executable).with_name("trader"))]
    return trader, {**environment, "TRADER_HOME": str(home), **told}


def trader(*arguments: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    start, environment = command(home, **settings)
    return subprocess.run(
        [*start, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=environment,
    )


def mistake(done: subprocess.CompletedProcess[str]) -> str:
    """What a user's mistake prints: one typed message, nothing on stdout, no stack trace."""
    assert done.returncode == 1
    assert done.stdout == ""
    first, where, remedy = done.stderr.rstrip("\n").split("\n")
    assert where.startswith("  where:  ")
    assert remedy.startswith("  remedy: ")
    assert "Traceback" not in done.stderr
    return first


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A universe of two synthetic symbols and one venue's archive."""
    return str(worlds.universe(tmp_path, worlds.SYNTHETIC, worlds.BINANCE))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("training_weeks", "many", "SettingsError: training_weeks = 'many'"),
        ("trainingweeks", "4", "SettingsError: there is no setting TRADER_TRAININGWEEKS"),
        ("universe", "/nowhere.yaml", "SettingsError: the universe file cannot be read"),
        ("database_url", f"mysql://me:{SECRET}@host/db", "SettingsError: the database URL is not"),
    ],
)
def test_demo_with_a_wrong_setting_names_it(
    tmp_path: Path, small: str, setting: str, value: str, said: str
) -> None:
    settings = {"universe": small, setting: value}
    done = trader("demo", "--days", "2024-01-01..2024-01-01", home=tmp_path, **settings)
    assert SECRET not in done.stderr
    if setting == "database_url":
        # It is found wrong in the run, whose failure the message repeats.
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert said in done.stderr
    else:
        assert mistake(done).startswith(said)


def test_demo_on_days_before_a_symbol_was_listed_names_its_first_day(
    tmp_path: Path, small: str
) -> None:
    done = trader(
        "demo", "--venue", "binance", "--symbols", "XRPETH", "--days", "2019-10-01..2019-10-08",
        home=tmp_path, universe=small,
    )  # fmt: skip
    assert mistake(done) == (
        "UnknownSymbolError: XRPETH.BINANCE is not in the universe on all of 2019-10-01..2019-10-08"
    )
    assert "choose days within 2019-10-07..today" in done.stderr


def test_demo_prints_a_table_that_is_marked_synthetic(
    tmp_path: Path, small: str, database_url: str
) -> None:
    done = trader(
        "demo", "--days", "2024-01-01..2024-01-02", "--symbols", "AAA",
        home=tmp_path, universe=small, database_url=database_url, synthetic_trades="300",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("synthetic, 2024-01-01 to 2024-01-02: SYNTHETIC trades")
    (row,) = [line for line in lines if " AAA " in line]
    assert " complete " in row
    assert not any(" BBB " in line for line in lines)
    assert lines[-1] == f"summary: {tmp_path}/demo/summary.json    look at it: make ui"
    # Progress goes the other way.
    assert "hot_ticks" in done.stderr
    assert "hot_ticks" not in done.stdout
    password = urlsplit(database_url).password
    assert password
    assert password not in done.stdout + done.stderr


def test_upgrade_of_a_newer_database_is_refused(tmp_path: Path, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"update {database.VERSION_TABLE} set version_num = '0999'".encode())
    done = trader("db", "upgrade", home=tmp_path, database_url=database_url)
    assert mistake(done).startswith("SchemaVersionError: the database has schema version 0999")


def test_doctor_names_every_ill_and_ends_with_one(tmp_path: Path) -> None:
    url = f"postgresql://trader:{SECRET}@127.0.0.1:9/ticks"
    broken = tmp_path / "universe.yaml"
    broken.write_text("venues: []\n")
    done = trader("doctor", home=tmp_path, universe=str(broken), database_url=url)
    assert done.returncode == 1
    assert "settings    ok: home" in done.stdout
    assert f"universe    SettingsError: venues = []\n  where:  {broken}, venues" in done.stdout
    assert "database    DatabaseUnreachableError: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    as_json = trader("doctor", "--json", home=tmp_path, universe=str(broken), database_url=url)
    assert as_json.returncode == 1
    told = json.loads(as_json.stdout)
    assert told["healthy"] is False
    assert told["found"]["universe"].startswith("SettingsError: ")
    assert SECRET not in as_json.stdout


def test_doctor_with_a_wrong_setting_stops_at_it(tmp_path: Path) -> None:
    done = trader("doctor", "--json", home=tmp_path, synthetic_effect="strong")
    assert done.returncode == 1
    assert list(json.loads(done.stdout)["found"]) == ["settings"]


@pytest.mark.long
def test_demo_killed_while_it_works_and_run_again_ends_as_if_never_killed(
    tmp_path: Path, small: str, database_url: str
) -> None:
    arguments = ("demo", "--days", "2024-01-01..2024-01-09", "--json")
    settings = {"universe": small, "database_url": database_url, "synthetic_trades": "300"}
    start, environment = command(tmp_path, **settings)
    process = subprocess.Popen(
        [*start, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment,
    )
    while not list(tmp_path.glob("cold/minute_bars/**/*.parquet")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    second = trader(*arguments, home=tmp_path, **settings)
    assert second.returncode == 0, second.stderr
    state = worlds.kept(tmp_path, database_url)
    third = trader(*arguments, home=tmp_path, **settings)
    assert json.loads(third.stdout) == json.loads(second.stdout)
    assert worlds.kept(tmp_path, database_url) == state
