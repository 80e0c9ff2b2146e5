"""The embedded server's life: made, killed, found again; real servers throughout."""

import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from trader_pipelines.core.errors import DatabaseError
from trader_pipelines.stores import embedded, placement, postmaster
from trader_pipelines.stores.embedded import Server

PROJECT = Path(__file__).resolve().parents[2]

START = (
    "import sys; from pathlib import Path; from trader_pipelines.stores import embedded; "
    "print(embedded.start(*map(Path, sys.argv[1:])).port)"
)


def new_home() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="trader-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty data folder that any user can enter; its server is removed afterwards."""
    folder = new_home()
    yield folder
    embedded.remove(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    """A data folder whose server was made before, to be killed by one test after another."""
    folder = new_home()
    server = embedded.start(folder)
    with psycopg.connect(server.url) as connection:
        connection.execute("create table kept (n int8)")
    yield folder
    embedded.remove(folder)
    shutil.rmtree(folder)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A live process of the user who runs the server, which must never be touched."""
    who = placement.identity(placement.account())
    process = subprocess.Popen(["sleep", "600"], cwd="/", **who)
    yield process
    process.kill()
    process.wait()


def serving(server: Server) -> int:
    pid = postmaster.find(server.data)
    assert pid is not None
    return pid


def kill_postmaster(server: Server) -> None:
    pid = serving(server)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not postmaster.serves(pid, server.data))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def ask(server: Server, query: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def process(*paths: Path, code: str = START) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, paths)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_status_of_nothing_is_none_and_makes_nothing(tmp_path: Path):
    assert embedded.status(tmp_path) is None
    assert embedded.stop(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_start_of_an_empty_folder_makes_a_closed_and_durable_server(home: Path):
    server = embedded.start(home)
    assert server.running
    assert server.data == home / "postgres" / "data"
    assert server.url.endswith(f"@127.0.0.1:{server.port}/trader")
    assert ask(server, "select current_database()") == "trader"
    assert ask(server, "show fsync") == "on"
    assert ask(server, "show full_page_writes") == "on"
    assert ask(server, "show data_checksums") == "on"
    assert ask(server, "show server_encoding") == "UTF8"
    assert ask(server, "show timezone") == "UTC"
    assert ask(server, "show listen_addresses") == "127.0.0.1"
    assert ask(server, "show unix_socket_directories") == ""
    methods = "select string_agg(distinct auth_method, ' ') from pg_hba_file_rules"
    assert ask(server, methods) == "scram-sha-256"
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    secrets = [server.data.parent / "password", server.data.parent / "server.log"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in secrets] == [0o600, 0o600]
    password = secrets[0].read_text()
    assert len(password) >= 43
    assert password in server.url
    assert password not in repr(server)
    assert list(server.data.parent.glob("new-*")) == []


def test_start_of_a_running_server_gives_the_same_one(used_home: Path):
    first = embedded.start(used_home)
    pid = serving(first)
    assert embedded.start(used_home) == first
    assert embedded.status(used_home) == first
    assert serving(first) == pid


def test_stop_then_start_keeps_port_password_and_rows(used_home: Path):
    server = embedded.start(used_home)
    with psycopg.connect(server.url) as connection:
        connection.execute("insert into kept values (1)")
    assert embedded.stop(used_home) is True
    assert embedded.stop(used_home) is False
    stopped = embedded.status(used_home)
    assert stopped == Server(server.url, server.data, server.port, running=False)
    assert embedded.start(used_home) == server
    assert ask(server, "select count(*) from kept where n = 1") == 1


def test_stop_ends_open_sessions(used_home: Path):
    server = embedded.start(used_home)
    with psycopg.connect(server.url) as connection:
        connection.execute("select 1")
        assert embedded.stop(used_home) is True
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        connection.close()


def test_server_outlives_the_process_that_started_it_and_its_group(used_home: Path):
    embedded.stop(used_home)
    code = START + "; import time; sys.stdout.flush(); time.sleep(600)"
    with process(used_home, code=code) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        server = embedded.status(used_home)
        assert server is not None
        pid = serving(server)
        session = os.getsid(pid)
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.killpg(starter.pid, signal.SIGKILL)
        starter.wait()
    assert server.running
    assert server.port == port
    assert session not in (starter.pid, os.getsid(0))
    assert parent not in (starter.pid, os.getpid())
    assert embedded.status(used_home) == server
    assert serving(server) == pid


@pytest.mark.parametrize("made", [False, True], ids=["cold", "warm"])
def test_six_processes_at_once_start_one_server(home: Path, used_home: Path, made: bool):
    folder = used_home if made else home
    embedded.stop(folder)
    starters = [process(folder) for _ in range(6)]
    told = [starter.communicate(timeout=120) for starter in starters]
    server = embedded.status(folder)
    assert server is not None
    assert server.running
    assert [(out.strip(), err) for out, err in told] == [(str(server.port), "")] * 6
    log = (server.data.parent / "server.log").read_text()
    assert log.count("starting PostgreSQL") == 1
    assert "postmaster.pid" not in log


def test_start_after_kill_of_the_postmaster_keeps_every_committed_row(used_home: Path):
    server = embedded.start(used_home)
    with psycopg.connect(server.url) as connection:
        connection.execute("truncate kept")
        connection.execute("insert into kept select generate_series(1, 10000)")
        connection.commit()
        connection.execute("insert into kept values (-1)")
        kill_postmaster(server)
        # Its session still lives here and there; a second kill follows at once.
        assert embedded.start(used_home).running
        kill_postmaster(server)
        assert embedded.start(used_home).running
        connection.close()
    assert ask(server, "select array_agg(n order by n) from kept") == list(range(1, 10001))


def test_start_while_a_backend_of_the_killed_postmaster_works_on_waits_for_it(used_home: Path):
    server = embedded.start(used_home)
    with psycopg.connect(server.url) as connection:
        cursor = connection.cursor()
        # Busy in one call of the executor: it notices its postmaster's death only afterwards.
        cursor.connection.pgconn.send_query(
            b"select count(*) from generate_series(1, 6000000) a where a % 7 = 3"
        )
        time.sleep(0.3)
        kill_postmaster(server)
        restarted = embedded.start(used_home)
        connection.close()
    assert restarted.running
    assert ask(restarted, "select 1") == 1


def test_stale_pid_file_with_a_live_foreign_process_is_seen_through(
    used_home: Path, bystander: subprocess.Popen[bytes]
):
    server = embedded.start(used_home)
    kill_postmaster(server)
    name_in_pid_file(server, bystander.pid)
    assert embedded.status(used_home) == Server(server.url, server.data, server.port, running=False)
    assert embedded.stop(used_home) is False
    assert bystander.poll() is None
    assert embedded.start(used_home).running
    assert serving(server) != bystander.pid
    assert embedded.stop(used_home) is True
    assert bystander.poll() is None


def test_stale_pid_file_with_a_zombie_is_seen_through(used_home: Path):
    server = embedded.start(used_home)
    kill_postmaster(server)
    who = placement.identity(placement.account())
    zombie = subprocess.Popen(["true"], cwd="/", **who)
    state = Path(f"/proc/{zombie.pid}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z")
    name_in_pid_file(server, zombie.pid)
    assert embedded.start(used_home).running
    assert zombie.wait() == 0


def test_stale_pid_file_with_the_postmaster_of_another_folder_leaves_that_alone(
    used_home: Path, postgres: Server
):
    server = embedded.start(used_home)
    kill_postmaster(server)
    other = serving(postgres)
    name_in_pid_file(server, other)
    assert embedded.stop(used_home) is False
    assert embedded.start(used_home).running
    assert serving(postgres) == other
    assert ask(postgres, "select 1") == 1


@pytest.mark.parametrize("content", ["", "no number\n", "999999999\n", "0\n", "-1\n"])
def test_damaged_pid_file_is_replaced(used_home: Path, content: str):
    server = embedded.start(used_home)
    kill_postmaster(server)
    (server.data / "postmaster.pid").write_text(content)
    assert embedded.start(used_home).running


def name_in_pid_file(server: Server, pid: int) -> None:
    path = server.data / "postmaster.pid"
    _, _, rest = path.read_text().partition("\n")
    path.write_text(f"{pid}\n{rest}")


def test_process_hidden_or_without_a_folder_counts_as_a_postmaster(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
):
    data = embedded.start(used_home).data
    for command in (None, ["postgres"], ["/bin/postgres", "-D", "/no/such/folder", ""]):
        monkeypatch.setattr(postmaster, "_command", lambda _, told=command: told)
        assert postmaster.serves(os.getpid(), data)
    for command in (
        [],
        [""],
        ["postgres: checkpointer "],
        ["sleep", "600"],
        ["postgres", "-D", "/"],
    ):
        monkeypatch.setattr(postmaster, "_command", lambda _, told=command: told)
        assert not postmaster.serves(os.getpid(), data)


@pytest.mark.parametrize("whole_group", [True, False], ids=["with-initdb", "without-initdb"])
def test_start_after_a_killed_initdb_begins_anew(home: Path, whole_group: bool):
    base = home / "postgres"
    with process(home) as starter:
        until(lambda: bool(list(base.glob("new-*/data/PG_VERSION"))))
        (os.killpg if whole_group else os.kill)(starter.pid, signal.SIGKILL)
        starter.wait()
    assert not (base / "data").exists()
    assert len(list(base.glob("new-*"))) == 1
    server = embedded.start(home)
    assert ask(server, "select current_database()") == "trader"
    assert list(base.glob("new-*")) == []


def test_lock_is_held_while_initdb_works_on_without_its_starter(
    home: Path, fake_postgres: Path, monkeypatch: pytest.MonkeyPatch
):
    (fake_postgres / "initdb").write_text("#!/bin/sh\nexec sleep 600\n")
    (fake_postgres / "initdb").chmod(0o755)
    base = home / "postgres"
    with process(home, fake_postgres) as starter:
        until(lambda: bool(list(base.glob("new-*"))))
        until(lambda: bool(initdbs(starter.pid)))
        starter.kill()
        starter.wait()
    monkeypatch.setattr(placement, "LOCK_PATIENCE", 0.2)
    with pytest.raises(DatabaseError, match="another process"):
        embedded.start(home)
    os.killpg(starter.pid, signal.SIGKILL)
    monkeypatch.undo()
    assert embedded.start(home).running


def initdbs(group: int) -> list[str]:
    """Sleeping stand-ins for initdb in a process group."""
    told = subprocess.run(["ps", "-eo", "pgid=,args="], check=True, capture_output=True, text=True)
    lines = [line.split(None, 1) for line in told.stdout.splitlines()]
    return [args for told_group, args in lines if told_group == str(group) and "sleep" in args]


@pytest.fixture
def fake_postgres() -> Iterator[Path]:
    """A folder of binaries in which only ``postgres --version`` works."""
    folder = new_home()
    (folder / "postgres").write_text("#!/bin/sh\nexit 0\n")
    (folder / "postgres").chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_start_with_its_port_taken_chooses_another(used_home: Path):
    server = embedded.start(used_home)
    embedded.stop(used_home)
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taken = taker.getsockname()[1]
        (server.data.parent / "port").write_text(str(taken))
        moved = embedded.start(used_home)
        assert moved.running
        assert moved.port != taken
        assert embedded.status(used_home) == moved


def test_start_with_another_server_on_its_port_leaves_that_alone(used_home: Path, postgres: Server):
    server = embedded.start(used_home)
    embedded.stop(used_home)
    (server.data.parent / "port").write_text(str(postgres.port))
    found = embedded.status(used_home)
    assert found is not None
    assert not found.running
    assert embedded.start(used_home).port != postgres.port
    assert ask(postgres, "select 1") == 1


def test_server_on_its_port_that_asks_for_the_plain_password_gets_none(used_home: Path):
    server = embedded.start(used_home)
    embedded.stop(used_home)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def ask_for_password() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"R" + struct.pack(">ii", 8, 3))  # AuthenticationCleartextPassword
                heard.append(client.recv(4096))

        thief = threading.Thread(target=ask_for_password)
        thief.start()
        (server.data.parent / "port").write_text(str(listener.getsockname()[1]))
        found = embedded.status(used_home)
        thief.join()
    assert heard == [b""]
    assert found is not None
    assert not found.running


def test_status_with_a_damaged_port_file_is_typed(used_home: Path):
    path = embedded.start(used_home).data.parent / "port"
    before = path.read_text()
    path.write_text("5433x")
    try:
        with pytest.raises(DatabaseError, match="5433x"):
            embedded.status(used_home)
    finally:
        path.write_text(before)


def test_copied_folder_gets_a_server_of_its_own(used_home: Path, home: Path):
    original = embedded.start(used_home)
    embedded.stop(used_home)
    subprocess.run(["cp", "-a", used_home / "postgres", home], check=True)
    assert embedded.start(used_home) == original
    shutil.copy2(original.data / "postmaster.pid", home / "postgres" / "data")
    copy = embedded.start(home)
    assert copy.port != original.port
    assert ask(copy, "show data_directory") == str(home / "postgres" / "data")
    assert embedded.stop(home) is True
    assert embedded.status(used_home) == original


def test_moved_folder_keeps_its_running_server(home: Path):
    server = embedded.start(home)
    pid = serving(server)
    moved = home.with_name(f"{home.name}-moved")
    home.rename(moved)
    try:
        found = embedded.start(moved)
        assert (found.port, serving(found)) == (server.port, pid)
        assert embedded.stop(moved) is True
    finally:
        moved.rename(home)


def test_start_ignores_the_postgres_variables_of_the_environment(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
):
    server = embedded.start(used_home)
    embedded.stop(used_home)
    for name, value in {
        "PGDATA": "/no/such/folder", "PGPORT": "1", "PGHOST": "no.such.host", "PGSSLMODE": "require",
        "PGOPTIONS": "-c no_such_setting=1", "PGDATABASE": "none", "PGUSER": "none",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert embedded.start(used_home) == server


def test_start_of_damaged_data_tells_the_last_log_lines_and_no_password(home: Path):
    server = embedded.start(home)
    embedded.stop(home)
    (server.data / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseError, match="could not find the database system") as caught:
        embedded.start(home)
    assert "server.log" in caught.value.where
    assert (server.data.parent / "password").read_text() not in str(caught.value)


def test_start_with_a_system_postgres_serves_from_it(home: Path):
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no system Postgres under /usr/lib/postgresql")
    server = embedded.start(home, bin_dir=found[-1].parent)
    version = str(ask(server, "show server_version_num"))
    assert version.startswith(found[-1].parts[-3])


def test_start_with_a_folder_without_postgres_is_typed(home: Path, tmp_path: Path):
    with pytest.raises(DatabaseError, match="no Postgres server") as caught:
        embedded.start(home, bin_dir=tmp_path)
    assert caught.value.where == str(tmp_path)


def test_start_with_an_initdb_that_fails_tells_what_it_said(home: Path, fake_postgres: Path):
    (fake_postgres / "initdb").write_text("#!/bin/sh\necho the stars are wrong\nexit 1\n")
    (fake_postgres / "initdb").chmod(0o755)
    with pytest.raises(DatabaseError, match="the stars are wrong"):
        embedded.start(home, bin_dir=fake_postgres)
    assert embedded.status(home) is None
    assert list((home / "postgres").glob("new-*")) == []


def test_start_where_a_lock_is_held_for_too_long_is_typed(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(placement, "LOCK_PATIENCE", 0.2)
    (home / "postgres").mkdir(mode=0o700)
    with (
        placement.locked(home / "postgres" / "lock"),
        pytest.raises(DatabaseError, match="another process") as caught,
    ):
        embedded.start(home)
    assert caught.value.retry


def test_remove_leaves_nothing(home: Path):
    server = embedded.start(home)
    pid = serving(server)
    embedded.remove(home)
    assert list(home.iterdir()) == []
    assert not postmaster.alive(pid)
