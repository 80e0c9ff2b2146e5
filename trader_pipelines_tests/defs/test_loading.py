"""When the code location reads its settings: as Dagster loads it, and never while it is imported."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

#: Notes every read of the environment by our modules or by the library that reads our settings.
_WATCHED_ENVIRONMENT = """
import json, os, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a connection at import")

socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
read = []

def watched(name):
    inner = getattr(os._Environ, name)
    def look(self, *args):
        frame = sys._getframe(1)
        while frame.f_globals["__name__"] in ("os", "_collections_abc"):
            frame = frame.f_back
        by = frame.f_globals["__name__"]
        if by.startswith(("trader_pipelines", "pydantic_settings")):
            read.append(by)
        return inner(self, *args)
    setattr(os._Environ, name, look)

watched("__getitem__")
watched("__iter__")
"""

_EVERY_MODULE = """
import importlib, pkgutil, trader_pipelines
names = [
    module.name
    for module in pkgutil.walk_packages(trader_pipelines.__path__, "trader_pipelines.")
    if ".migrations." not in module.name
]
for name in names:
    importlib.import_module(name)
print(json.dumps({"names": names, "read": read}))
"""

_LOAD = """
from trader_pipelines.definitions import defs
before = list(read)
defs()
print(json.dumps({"before": before, "after": sorted(set(read))}))
"""

_CLIENTS = """
from trader_pipelines.definitions import defs
found = sorted({node.key.path[0] for node in defs().resolve_asset_graph().asset_nodes})
clients = [name for name in ("alpaca", "ccxt", "exchange_calendars", "sklearn") if name in sys.modules]
print(json.dumps({"venues": found, "clients": clients}))
"""

_REFUSED = """
from trader_pipelines.core.errors import SettingsError
from trader_pipelines.definitions import defs
try:
    defs()
except SettingsError as error:
    print(json.dumps({"said": [error.what, error.where]}))
"""


def told(program: str, **environment: str) -> dict[str, list[str]]:
    """What a fresh interpreter prints as JSON, with no environment but what is given."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED_ENVIRONMENT + program],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_import_of_every_module_reads_no_environment_and_opens_no_connection() -> None:
    found = told(_EVERY_MODULE)
    assert {"trader_pipelines.definitions", "trader_pipelines.settings"} <= set(found["names"])
    assert found["read"] == []


def test_settings_are_read_when_definitions_load() -> None:
    found = told(_LOAD)
    assert found["before"] == []
    assert "trader_pipelines.settings" in found["after"]


def test_definitions_load_without_keys_and_without_the_venues_clients() -> None:
    found = told(_CLIENTS)
    assert "alpaca" in found["venues"]
    assert found["clients"] == []


def test_definitions_with_a_wrong_setting_name_it_and_its_value() -> None:
    found = told(_REFUSED, TRADER_TRAINING_WEEKS="many")
    assert found["said"] == [
        "training_weeks = 'many': Input should be a valid integer, unable to parse string as an "
        "integer",
        "environment, TRADER_TRAINING_WEEKS",
    ]
