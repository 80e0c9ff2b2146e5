"""`verify` names every damaged, missing and extra file, and nothing else."""

import shutil
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.stores.cold.verify import Fault, verify
from trader_pipelines_tests.stores.cold.made import BTC, DAYS, freeze, trades


@pytest.fixture
def paths(auto: psycopg.Connection, tmp_path: Path) -> list[Path]:
    return [tmp_path / freeze(auto, tmp_path, BTC, day, trades(day)).path for day in DAYS]


def found(auto: psycopg.Connection, root: Path) -> list[tuple[str, Fault]]:
    return [(finding.path, finding.fault) for finding in verify(auto, root)]


def test_verify_of_sound_files_finds_nothing(
    auto: psycopg.Connection, tmp_path: Path, paths: list[Path]
):
    assert verify(auto, tmp_path) == []


def test_verify_names_each_file_with_its_fault(
    auto: psycopg.Connection, tmp_path: Path, paths: list[Path]
):
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[:-10])
    paths[1].unlink()
    extra = paths[2].with_name("left.parquet")
    extra.write_bytes(b"")
    name = [path.relative_to(tmp_path).as_posix() for path in (*paths[:2], extra)]
    assert found(auto, tmp_path) == sorted(
        zip(name, (Fault.CHANGED, Fault.MISSING, Fault.EXTRA), strict=True)
    )


@pytest.mark.parametrize("at", [0, 4, 200, -20, -1])
def test_verify_finds_one_flipped_bit(
    auto: psycopg.Connection, tmp_path: Path, paths: list[Path], at: int
):
    content = bytearray(paths[0].read_bytes())
    content[at] ^= 1
    paths[0].write_bytes(content)
    assert found(auto, tmp_path) == [(paths[0].relative_to(tmp_path).as_posix(), Fault.CHANGED)]


@pytest.mark.parametrize("foreign", ["text", "bars"])
def test_verify_finds_a_file_that_was_never_trades(
    auto: psycopg.Connection, tmp_path: Path, paths: list[Path], foreign: str
):
    import hashlib

    from trader_pipelines.stores.cold import encoding

    bars = trades(DAYS[0]).rename({"price": "close"})
    content = b"no parquet" if foreign == "text" else encoding.encode(bars, {})
    paths[0].write_bytes(content)
    path = paths[0].relative_to(tmp_path).as_posix()
    digest = hashlib.sha256(content).hexdigest()
    auto.execute("update datasets set sha256 = %s where path = %s", (digest, path))
    assert found(auto, tmp_path) == [(path, Fault.DAMAGED)]


def test_verify_without_the_store_says_so(
    auto: psycopg.Connection, tmp_path: Path, paths: list[Path]
):
    shutil.rmtree(tmp_path / "cold_ticks")
    assert {fault for _, fault in found(auto, tmp_path)} == {Fault.MISSING}
    with pytest.raises(MissingDataError, match="names 3 files"):
        verify(auto, tmp_path / "elsewhere")
