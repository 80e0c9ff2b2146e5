"""Disk and Azure keep files alike; what cannot be a store is refused."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trader_pipelines.core.errors import (
    ChecksumError,
    DiskFullError,
    MissingDataError,
    SettingsError,
    TraderError,
)
from trader_pipelines.stores.cold.azure import Azure
from trader_pipelines.stores.cold.backend import Backend, Disk, at
from trader_pipelines.stores.cold.opening import open_backend


def test_store_keeps_files_and_never_overwrites(store: Backend):
    assert store.names() == []
    store.create("a/b/one.parquet", b"1" * 100_000)
    store.create("a/two.parquet", b"")
    store.create("a/b/one.parquet", b"1" * 100_000)
    with pytest.raises(ChecksumError, match=r"a/b/one\.parquet"):
        store.create("a/b/one.parquet", b"2")
    assert store.get("a/b/one.parquet") == b"1" * 100_000
    assert store.get("a/two.parquet") == b""
    assert store.names() == ["a/b/one.parquet", "a/two.parquet"]
    assert store.names("a/b") == ["a/b/one.parquet"]
    assert store.names("a/tw") == []
    for _ in range(2):
        store.remove("a/two.parquet")
    assert store.names("a") == ["a/b/one.parquet"]
    with pytest.raises(MissingDataError) as caught:
        store.get("a/two.parquet")
    assert caught.value.where == store.where("a/two.parquet")
    assert store.present()


def test_store_gives_parts_of_a_file_and_no_more_than_there_is(store: Backend):
    store.create("digits", b"0123456789")
    assert store.get_spans("digits", [(0, 3), (7, 9), (2, 3)]) == [b"012", b"78", b"2"]
    assert store.get_spans("digits", [(8, 20)]) == [b"89"]
    assert store.get_spans("digits", [(0, 2), (30, 40)]) == [b"01", b""]
    with pytest.raises(MissingDataError, match="nothing"):
        store.get_spans("nothing", [(0, 1)])


def test_store_replaces_a_file_in_one_step(store: Backend):
    store.create("day.parquet", b"damaged")
    store.replace("day.parquet", b"sound")
    assert store.get("day.parquet") == b"sound"
    assert store.names() == ["day.parquet"]


def test_store_takes_a_large_file_in_one_piece(store: Backend):
    content = os.urandom(1 << 20) * 12
    store.create("large", content)
    store.create("large", content)
    assert store.get("large") == content
    assert store.get_spans("large", [(1 << 23, (1 << 23) + 5)]) == [content[1 << 23 :][:5]]


@pytest.mark.parametrize("url", ["s3://bucket", "az://", "az:///", "file://host/x"])
def test_address_of_no_store_is_refused(url: str):
    with pytest.raises(SettingsError, match="TRADER_COLD_URL"):
        open_backend(url)


def test_addresses_open_their_stores(tmp_path: Path):
    assert open_backend(str(tmp_path)) == Disk(tmp_path)
    assert open_backend(f"file://{tmp_path}") == Disk(tmp_path)
    assert open_backend("az://ticks/a/b") == Azure("ticks", "a/b")
    assert open_backend("az://ticks") == Azure("ticks", "")
    assert at(tmp_path) == Disk(tmp_path)
    assert at(Azure("ticks", "a")) == Azure("ticks", "a")
    assert Azure("ticks", "a").where("b/c") == "az://ticks/a/b/c"


def test_full_disk_leaves_nothing_and_keeps_what_was(tmp_path: Path):
    """The largest file a process may write stands for the room on its disk."""
    code = f"""
import resource, signal
from collections.abc import Iterator
from pathlib import Path
from trader_pipelines.core.errors import DiskFullError
from trader_pipelines.stores.cold.backend import Disk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
store = Disk(Path({str(tmp_path)!r}))
store.create("a/small", b"x" * 1_000)
for write in (store.create, store.replace):
    try:
        write("a/large", b"x" * 1_001)
    except DiskFullError as error:
        print(error.where, error.retry)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{tmp_path}/a/large True"] * 2
    assert Disk(tmp_path).names() == ["a/small"]
    Disk(tmp_path).create("a/large", b"x" * 1_001)
    assert Disk(tmp_path).names() == ["a/large", "a/small"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for a few kilobytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    place = tmp_path / "tiny"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=48k", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_full_file_system_leaves_nothing_and_takes_it_later(tiny_disk: Path):
    store = Disk(tiny_disk)
    store.create("first", b"x" * 20_000)
    with pytest.raises(DiskFullError, match=os.strerror(errno.ENOSPC)):
        store.create("second", b"y" * 40_000)
    assert store.names() == ["first"]
    store.remove("first")
    store.create("second", b"y" * 40_000)
    assert store.get("second") == b"y" * 40_000


def test_folder_that_may_not_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TraderError, match="file/day"):
        Disk(tmp_path / "file").create("day", b"x")
