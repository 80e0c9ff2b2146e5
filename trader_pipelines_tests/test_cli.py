"""`trader …` as a user types it: in a process of its own, with what it prints and where."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from trader_pipelines.stores import database

TRADER = str(Path(sys.executable).with_name("trader"))


def trader(*arguments: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADER_")}
    return subprocess.run(
        [TRADER, *arguments],
        env={**kept, "TRADER_HOME": str(home), "NO_COLOR": "1", **environment},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    done = trader("--help", home=tmp_path)
    assert done.returncode == 0
    for command in ("demo", "ui", "db", "doctor", "collect", "cold", "storage"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--days", "yesterday"), "SettingsError", "--days 'yesterday' is not FROM..TO"),
        (("--days", "2024-01-02..2024-01-01"), "SettingsError", "write two days in order"),
        (("--symbols", "NOPE"), "UnknownSymbolError", "choose one of: ALPHAUSD, BRAVOUSD"),
        (
            ("--venue", "nyse"),
            "UnknownSymbolError",
            "choose one of: alpaca, binance, kraken, synthetic",
        ),
        (("--days", "2023-12-31..2024-01-01"), "UnknownSymbolError", "choose days from 2024-01-01"),
        (("--days", "2024-01-01..2999-01-01"), "DayNotOverError", "is not over yet"),
        (
            ("--symbols", "ALPHAUSD", "--days", "2023-12-31..2024-01-01"),
            "UnknownSymbolError",
            "choose days within 2024-01-01..today",
        ),
    ],
)
def test_demo_user_mistake_is_one_readable_message(
    tmp_path: Path, arguments: tuple[str, ...], error: str, said: str
) -> None:
    done = trader("demo", *arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{error}: ")
    assert said in done.stderr
    assert "remedy: " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # refused before anything was started


def test_setting_wrong_is_one_readable_message(tmp_path: Path) -> None:
    done = trader("demo", home=tmp_path, TRADER_SYNTHETIC_EFFECT="2")
    assert done.returncode == 1
    assert done.stderr.startswith("SettingsError: synthetic_effect = '2'")
    assert "environment, TRADER_SYNTHETIC_EFFECT" in done.stderr


def test_demo_json_prints_the_summary_alone_and_keeps_it(tmp_path: Path, database_url: str) -> None:
    arguments = ("demo", "--json", "--symbols", "ALPHAUSD", "--days", "2024-01-01..2024-01-02")
    settings = {"TRADER_DATABASE_URL": database_url, "TRADER_SYNTHETIC_TRADES": "1000"}
    done = trader(*arguments, home=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "demo" / "summary.json").read_text())
    row = summary["symbols"]["ALPHAUSD"]
    assert (row["certificate"], row["synthetic"], row["missing"]) == ("complete", True, {})
    assert row["trades"] > 1_000
    assert row["model"]["scores"] is None
    assert (row["signals"], row["last_signal"]) == (0, None)
    assert "hot_ticks" in done.stderr
    again = trader(*arguments, home=tmp_path, **settings)
    assert again.stdout == done.stdout


def test_demo_database_unreachable_is_told_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:9/trader"
    days = ("--days", "2024-01-01..2024-01-01")
    done = trader("demo", *days, home=tmp_path, TRADER_DATABASE_URL=url)
    assert done.returncode == 1
    assert "DatabaseUnreachableError" in done.stderr
    assert "127.0.0.1:9/trader" in done.stderr
    assert "Traceback" not in done.stderr
    kept = "".join(
        path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
    )
    assert "hunter2" not in done.stdout + done.stderr + kept


def test_db_start_status_stop_tell_where_it_is(tmp_path: Path) -> None:
    never = trader("db", "status", home=tmp_path)
    assert (never.returncode, never.stdout) == (
        3,
        "never started here; `trader db start` makes it\n",
    )
    started = trader("db", "start", home=tmp_path)
    assert started.returncode == 0, started.stderr
    try:
        assert started.stdout.startswith("running on 127.0.0.1:")
        status = trader("db", "status", "--json", home=tmp_path)
        found = json.loads(status.stdout)
        assert (status.returncode, found["running"]) == (0, True)
        assert set(found) == {"running", "port", "data"}  # and no password
        upgraded = trader("db", "upgrade", home=tmp_path)
        said = f"/trader is at schema version {database.HEAD}\n"
        assert upgraded.stdout.endswith(said), upgraded.stderr
        doctor = trader("doctor", "--json", home=tmp_path)
        assert json.loads(doctor.stdout)["healthy"] is True
    finally:
        stopped = trader("db", "stop", home=tmp_path)
    assert stopped.stdout == "stopped\n"
    assert trader("db", "stop", home=tmp_path).stdout == "was not running\n"
    assert trader("db", "status", home=tmp_path).returncode == 3


def test_doctor_of_a_broken_machine_says_what_is_wrong(tmp_path: Path) -> None:
    done = trader(
        "doctor", home=tmp_path, TRADER_DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/x"
    )
    assert done.returncode == 1
    assert "DatabaseUnreachableError" in done.stdout
    assert "hunter2" not in done.stdout


@pytest.fixture
def compacted(tmp_path: Path, database_url: str) -> tuple[dict[str, str], list[Path]]:
    """Two days of a symbol in both tiers: the settings, and the cold files."""
    from trader_pipelines.platform import Platform
    from trader_pipelines.steps import compact, ticks

    parts = Platform({"home": tmp_path, "database_url": database_url, "synthetic_trades": 500})
    venue = parts.universe.venue("synthetic")
    one = venue.instrument("ALPHAUSD")
    with parts.connect() as connection:
        for day in (date(2024, 1, 1), date(2024, 1, 2)):
            made = ticks.ingest(connection, parts, parts.venue(venue), one, day)
            compact.freeze(connection, parts, one, made)
    files = sorted((tmp_path / "cold" / "cold_ticks").rglob("*.parquet"))
    return {"TRADER_DATABASE_URL": database_url}, files


def test_cold_verify_names_every_fault_and_its_exit_code_says_so(
    tmp_path: Path, compacted: tuple[dict[str, str], list[Path]]
) -> None:
    settings, (file, missing) = compacted
    sound = trader("cold", "verify", home=tmp_path, **settings)
    assert (sound.returncode, sound.stdout) == (
        0,
        "every file is as the manifest says, and there are no others\n",
    )
    file.write_bytes(file.read_bytes()[:-1])
    extra = file.with_name("extra.parquet")
    extra.write_bytes(b"nobody's")
    missing.unlink()
    told = trader("cold", "verify", "--json", home=tmp_path, **settings)
    assert told.returncode == 1
    found = json.loads(told.stdout)
    assert found["sound"] is False
    assert {Path(one["path"]).name: one["fault"] for one in found["findings"]} == {
        file.name: "changed",
        "extra.parquet": "extra",
        missing.name: "missing",
    }
    shown = trader("cold", "verify", home=tmp_path, **settings)
    assert shown.returncode == 1
    assert "3 files are not as the manifest says" in shown.stdout
    assert "Traceback" not in shown.stderr


def test_storage_shows_bytes_and_cost_by_tier_symbol_and_month(
    tmp_path: Path, compacted: tuple[dict[str, str], list[Path]]
) -> None:
    settings, files = compacted
    prices = {"TRADER_HOT_PRICE": "1000000", "TRADER_COLD_PRICE": "1"}
    done = trader("storage", "--json", home=tmp_path, **settings, **prices)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    cold = sum(file.stat().st_size for file in files)
    hot, of_cold = told["tiers"]["hot"], told["tiers"]["cold"]
    assert of_cold["bytes"] == cold
    assert of_cold["monthly_cost"] == pytest.approx(cold / 1e9)
    assert hot["monthly_cost"] == pytest.approx(hot["bytes"] / 1e3)
    assert hot["trades"] == of_cold["trades"] > 500
    assert of_cold["bytes_a_trade"] == pytest.approx(cold / of_cold["trades"])
    assert [(row["tier"], row["symbol"], row["month"]) for row in told["months"]] == [
        ("cold", "ALPHAUSD", "2024-01"),
        ("hot", "ALPHAUSD", "2024-01"),
    ]
    shown = trader("storage", home=tmp_path, **settings, **prices)
    assert "ALPHAUSD" in shown.stdout
    # For a person in kB and MB; exact for a machine.
    assert f"{cold / 1e3:.1f} kB" in shown.stdout


def test_cold_retain_proves_first_and_names_what_is_refused(
    tmp_path: Path, compacted: tuple[dict[str, str], list[Path]]
) -> None:
    settings, (file, _) = compacted
    file.unlink()
    limits = {**settings, "TRADER_HOT_DAYS": "30"}
    kept = trader("cold", "retain", home=tmp_path, **settings)
    assert kept.returncode == 0
    assert "2 symbol-days stay within the limits" in kept.stdout
    dry = trader("cold", "retain", "--dry-run", "--json", home=tmp_path, **limits)
    real = trader("cold", "retain", "--json", home=tmp_path, **limits)
    assert (dry.returncode, real.returncode) == (1, 1)
    would, did = json.loads(dry.stdout), json.loads(real.stdout)
    assert (would.pop("dry_run"), did.pop("dry_run")) == (True, False)
    assert would == did
    assert {one["day"]: one["verdict"] for one in did["days"]} == {
        "2024-01-01": "refused",
        "2024-01-02": "goes",
    }
    assert file.name in did["days"][0]["why"]
    assert did["emptied"] == ["2024-01-02"]


def test_cold_migrate_with_nothing_to_do_says_so(
    tmp_path: Path, compacted: tuple[dict[str, str], list[Path]]
) -> None:
    settings, _ = compacted
    done = trader("cold", "migrate", "--json", home=tmp_path, **settings)
    assert json.loads(done.stdout) == {"rewritten": 0, "swept": []}
