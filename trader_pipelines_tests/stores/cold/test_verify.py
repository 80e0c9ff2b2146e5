"""`verify` names every damaged, missing and extra file, and nothing else."""

import shutil
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.core.errors import MissingDataError, SettingsError, TraderError
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.backend import Backend, Disk
from trader_pipelines.stores.cold.verify import Fault, verify
from trader_pipelines_tests.stores.cold.azurite import Faults, azure, faulty
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, freeze, recommit, trades


@pytest.fixture
def paths(auto: psycopg.Connection, store: Backend) -> list[str]:
    return [freeze(auto, store, BTC, day, trades(day)).path for day in DAYS]


def found(auto: psycopg.Connection, store: Backend) -> list[tuple[str, Fault]]:
    return [(finding.path, finding.fault) for finding in verify(auto, store)]


def test_verify_of_sound_files_finds_nothing(
    auto: psycopg.Connection, store: Backend, paths: list[str]
):
    told: list[tuple[int, int]] = []
    assert verify(auto, store, told=lambda *done: told.append(done)) == []
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert store.names() == paths


def test_verify_names_each_file_with_its_fault(
    auto: psycopg.Connection, store: Backend, paths: list[str]
):
    store.replace(paths[0], store.get(paths[0])[:-10])
    store.remove(paths[1])
    extra = str(Path(paths[2]).with_name("left.parquet"))
    store.create(extra, b"")
    expected = [(paths[0], Fault.CHANGED), (paths[1], Fault.MISSING), (extra, Fault.EXTRA)]
    assert found(auto, store) == sorted(expected)


def test_verify_examines_what_is_kept_for_the_past(
    auto: psycopg.Connection, store: Backend, paths: list[str]
):
    freeze(auto, store, BTC, DAYS[0], trades(DAYS[0], 7))
    assert len(store.names()) == 4
    assert verify(auto, store) == []
    store.replace(paths[0], b"")
    assert found(auto, store) == [(paths[0], Fault.CHANGED)]
    store.remove(paths[0])
    assert found(auto, store) == [(paths[0], Fault.MISSING)]


@pytest.mark.parametrize("at", [0, 4, 200, -20, -1])
def test_verify_finds_one_flipped_bit(auto: psycopg.Connection, tmp_path: Path, at: int):
    path = freeze(auto, tmp_path, BTC, DAYS[0], trades(DAYS[0])).path
    content = bytearray((tmp_path / path).read_bytes())
    content[at] ^= 1
    (tmp_path / path).write_bytes(content)
    assert found(auto, Disk(tmp_path)) == [(path, Fault.CHANGED)]


@pytest.mark.parametrize("foreign", ["text", "bars", "fewer", "others"])
def test_verify_finds_a_file_that_never_was_these_trades(
    auto: psycopg.Connection, tmp_path: Path, foreign: str
):
    entry = freeze(auto, tmp_path, BTC, DAYS[0], trades(DAYS[0]))
    content = {
        "text": b"no parquet",
        "bars": encoding.encode(trades(DAYS[0]).rename({"price": "close"}), {}),
        "fewer": encoding.encode(trades(DAYS[0])[1:], {}),
        "others": encoding.encode(trades(DAYS[0], price=7), {}),
    }[foreign]
    entry = recommit(auto, Disk(tmp_path), entry, content)
    assert found(auto, Disk(tmp_path)) == [(entry.path, Fault.DAMAGED)]


def test_verify_without_the_store_says_so(auto: psycopg.Connection, tmp_path: Path):
    for day in DAYS:
        freeze(auto, tmp_path, BTC, day, trades(day))
    shutil.rmtree(tmp_path / "cold_ticks")
    assert {fault for _, fault in found(auto, Disk(tmp_path))} == {Fault.MISSING}
    with pytest.raises(MissingDataError, match="names 3 files"):
        verify(auto, tmp_path / "elsewhere")


def test_verify_of_an_azure_that_is_unwell_finds_nothing_wrong_with_files(
    auto: psycopg.Connection, azurite: int
):
    """What cannot be asked is no finding: neither a container that is gone, nor a server."""
    store = azure(azurite, "unwell")
    freeze(auto, store, BTC, DAYS[0], trades(DAYS[0]))
    with pytest.raises(SettingsError, match="no container"):
        verify(auto, azure(azurite, "unwell", container="nowhere"))
    # The list and the file's first request pass; then the server stays away.
    with faulty(azurite, Faults([0, *[503] * 9])) as port, pytest.raises(TraderError) as caught:
        verify(auto, azure(port, "unwell", retries=2))
    assert caught.value.retry
    assert verify(auto, store) == []
