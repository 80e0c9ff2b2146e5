"""The code location loads fast and with nothing configured: no heavy import, no environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "alpaca",
    "ccxt",
    "exchange_calendars",
    "httpx",
    "matplotlib",
    "numba",
    "obstore",
    "pandas",
    "pyarrow.parquet",
    "scipy",
    "skops",
    "sklearn",
]

LOAD = f"""
import json, os, socket, sys
def refuse(*args, **kwargs): raise AssertionError("the network was asked for")
socket.socket.connect = refuse
import trader_pipelines.definitions as location
before = sorted(name for name in {HEAVY!r} if name in sys.modules)
defs = location.defs()
defs.get_repository_def()
after = sorted(name for name in {HEAVY!r} if name in sys.modules)
print(json.dumps([before, after, sorted(map(str, defs.resolve_asset_graph().get_all_asset_keys()))]))
"""


def python(code: str, tmp_path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_location_with_empty_environment_loads_without_heavy_imports(tmp_path: Path) -> None:
    done = python(LOAD, tmp_path)
    assert done.returncode == 0, done.stderr
    before, after, keys = json.loads(done.stdout)
    assert (before, after) == ([], [])
    assert len(keys) == 4 * 9 + 3  # four chains, and what looks after both tiers
    assert list(tmp_path.iterdir()) == []  # nothing is made, started or connected


def test_location_with_a_wrong_setting_imports_and_fails_only_when_loaded(tmp_path: Path) -> None:
    code = "import trader_pipelines.definitions as d; print('imported'); d.defs()"
    done = python(code, tmp_path, TRADER_TRAINING_WEEKS="many")
    assert done.stdout == "imported\n"
    assert "SettingsError" in done.stderr
    assert "environment, TRADER_TRAINING_WEEKS" in done.stderr


@pytest.mark.parametrize("module", ["trader_pipelines.cli", "trader_pipelines.platform"])
def test_command_line_starts_without_dagster_or_polars_heavyweights(
    tmp_path: Path, module: str
) -> None:
    code = f"import sys, {module}; print([m for m in ('dagster', 'psycopg') if m in sys.modules])"
    done = python(code, tmp_path)
    assert done.stdout == "[]\n", done.stderr
