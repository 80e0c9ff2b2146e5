"""Where the embedded server lies and who runs it: root, ordinary users, closed folders."""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.core.errors import DatabaseError, DiskFullError
from trader_pipelines.stores import embedded, placement, postmaster

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands work to another user")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only its owner can enter, with nothing else about it."""
    folder = Path(tempfile.mkdtemp(prefix="trader-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In place of the folder under /var/lib, so that nothing stays behind."""
    folder = Path(tempfile.mkdtemp(prefix="trader-shared-"))
    monkeypatch.setattr(placement, "SHARED", folder / "trader_pipelines")
    folder.chmod(0o755)
    yield folder / "trader_pipelines"
    shutil.rmtree(folder)


@as_root
def test_start_as_root_below_a_closed_parent_keeps_the_data_outside(closed: Path, shared: Path):
    home = closed / "project" / ".trader"
    home.parent.mkdir()
    before = [folder_state(folder) for folder in (closed, home.parent)]
    server = embedded.start(home)
    try:
        place = server.data.parent
        assert place.parent == shared
        assert (home / "postgres" / "place").read_text().strip() == str(place)
        who = placement.account()
        assert who is not None
        assert folder_state(place) == (0o750, 0, who.gid)
        assert folder_state(server.data) == (0o700, who.uid, who.gid)
        assert embedded.stop(home)
        again = embedded.start(home)
        assert again == server
        assert [folder_state(folder) for folder in (closed, home.parent)] == before
        owner = Path(f"/proc/{postmaster.find(server.data)}").stat().st_uid
        assert owner == who.uid
    finally:
        embedded.remove(home)
    assert list(shared.iterdir()) == []
    assert not (home / "postgres").exists()


@as_root
def test_start_as_root_after_the_home_was_deleted_begins_anew_and_ends_the_old_server(
    closed: Path, shared: Path
):
    old = embedded.start(closed)
    pid = postmaster.find(old.data)
    assert pid is not None
    shutil.rmtree(closed / "postgres")
    new = embedded.start(closed)
    try:
        assert new.data != old.data
        assert old.data.is_dir()
        end = time.monotonic() + 60
        while postmaster.serves(pid, old.data):
            assert time.monotonic() < end
    finally:
        embedded.remove(closed)


@as_root
def test_start_as_root_where_the_first_choice_is_not_safe_takes_the_temp_folder(
    closed: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(shared.parent))
    server = embedded.start(closed)
    try:
        assert server.data.parent.parent == shared.parent / "trader_pipelines-root"
        assert list(shared.iterdir()) == []
    finally:
        embedded.remove(closed)


@as_root
def test_start_as_root_where_no_folder_is_safe_is_typed(
    closed: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    shared.parent.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(shared.parent))
    with pytest.raises(DatabaseError, match="can reach no folder that is safe"):
        embedded.start(closed)


@as_root
def test_start_as_root_with_binaries_out_of_reach_copies_them_once(
    closed: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel = placement._wheel()
    package = wheel.parents[1]
    for part in ("bin", "lib", "share"):
        shutil.copytree(
            wheel.parent / part, closed / package.name / wheel.parent.name / part, symlinks=True
        )
    shutil.copytree(package.parent / f"{package.name}.libs", closed / f"{package.name}.libs")
    hidden = closed / package.name / wheel.parent.name / "bin"
    monkeypatch.setattr(placement, "_wheel", lambda: hidden)
    who = placement.account()
    first = placement.binaries(None, who)
    assert first.is_relative_to(shared)
    assert placement.binaries(None, who) == first
    assert len(list(shared.iterdir())) == 1
    home = closed / "home"
    server = embedded.start(home)
    try:
        with psycopg.connect(server.url) as connection:
            connection.execute("create extension vector")
    finally:
        embedded.remove(home)
    with pytest.raises(DatabaseError, match="cannot run Postgres"):
        placement.binaries(hidden, who)


@as_root
def test_account_without_a_user_postgres_is_nobody(monkeypatch: pytest.MonkeyPatch):
    known = {"nobody": pwd.getpwnam("nobody")}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known[name])
    who = placement.account()
    assert who is not None
    assert who.name == "nobody"
    home = Path(tempfile.mkdtemp(prefix="trader-"))
    home.chmod(0o755)
    try:
        server = embedded.start(home)
        assert server.data.stat().st_uid == who.uid
        embedded.remove(home)
    finally:
        shutil.rmtree(home)
    known.clear()
    with pytest.raises(DatabaseError, match="refuses to run as root"):
        placement.account()


def test_find_with_a_pointer_elsewhere_is_refused(closed: Path):
    (closed / "postgres").mkdir()
    (closed / "postgres" / "place").write_text("/etc\n")
    for act in (embedded.status, embedded.start, embedded.stop):
        with pytest.raises(DatabaseError, match="damaged"):
            act(closed)


def test_find_of_a_link_is_refused(closed: Path):
    (closed / "real").mkdir()
    (closed / "postgres").symlink_to("real")
    with pytest.raises(DatabaseError, match="not a folder of user"):
        embedded.start(closed)


@as_root
def test_find_of_another_users_folder_is_refused(closed: Path):
    (closed / "postgres").mkdir()
    os.chown(closed / "postgres", 65534, 65534)
    with pytest.raises(DatabaseError, match="not a folder of user 0"):
        embedded.start(closed)
    assert list((closed / "postgres").iterdir()) == []


@as_root
def test_start_as_an_ordinary_user_works_and_refuses_closed_folders(postgres: embedded.Server):
    # The interpreter may lie where that user cannot reach it: fork with everything imported (the
    # session's server has seen to that) and become that user.
    home = Path(tempfile.mkdtemp(prefix="trader-"))
    user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    closed = Path(tempfile.mkdtemp(prefix="trader-"))
    try:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
                os.chdir("/")
                live_as_ordinary_user(home, closed)
                status = 0
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert list(home.iterdir()) == []
    finally:
        shutil.rmtree(home)
        shutil.rmtree(closed)


def live_as_ordinary_user(home: Path, closed: Path) -> None:
    assert placement.account() is None
    server = embedded.start(home)
    assert server.running
    assert server.data.stat().st_uid == os.geteuid()
    assert folder_state(server.data.parent) == (0o700, os.geteuid(), os.getegid())
    pid = postmaster.find(server.data)
    assert pid is not None
    os.kill(pid, 9)
    while postmaster.serves(pid, server.data):
        pass
    assert embedded.start(home) == server
    assert embedded.stop(home)
    try:
        embedded.start(closed)
    except DatabaseError as error:
        assert "Permission denied" in error.what  # noqa: PT017
    else:
        raise AssertionError("a closed folder was entered")
    embedded.remove(home)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 64 MB of its own."""
    folder = Path(tempfile.mkdtemp(prefix="trader-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        folder.rmdir()
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    embedded.remove(folder)
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def fill(disk: Path, leave: int) -> Path:
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    return filler


def test_first_start_on_a_full_disk_is_typed_and_leaves_nothing(small_disk: Path):
    fill(small_disk, leave=8 << 20)
    with pytest.raises(DiskFullError, match="initdb failed"):
        embedded.start(small_disk)
    assert embedded.status(small_disk) is None
    assert list((small_disk / "postgres").glob("new-*")) == []


def test_start_on_a_disk_that_became_full_is_typed_and_recovers_with_room(small_disk: Path):
    server = embedded.start(small_disk)
    embedded.stop(small_disk)
    filler = fill(small_disk, leave=0)
    with pytest.raises(DiskFullError):
        embedded.start(small_disk)
    filler.unlink()
    assert embedded.start(small_disk).running
    assert embedded.status(small_disk) == server


def folder_state(folder: Path) -> tuple[int, int, int]:
    found = folder.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
