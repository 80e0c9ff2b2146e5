"""A real Postgres of our own: started for the user from a wheel's binaries, outliving the process.

The server listens on 127.0.0.1 only, asks for a password of 256 random bits, and keeps fsync on.
It is healthy when it lets us log in with that password; a process id alone is never believed.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe

import psycopg

from trader_pipelines.core.errors import DatabaseError, DiskFullError
from trader_pipelines.stores import placement, postmaster
from trader_pipelines.stores.placement import Account, locked, run, write

ROLE = DATABASE = "trader"

START_PATIENCE = 120.0  # seconds; recovery after a crash replays what was not yet written
STOP_PATIENCE = 30.0  # seconds, of each of the two ways to ask
_NEARLY_FULL = 32 << 20  # bytes; Postgres needs a 16 MB log segment more than once

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PORT_TAKEN = ("could not bind", "could not create any TCP/IP sockets")
# Backends of a killed postmaster hold its shared memory until they notice: a moment.
_STILL_HELD = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


@dataclass(frozen=True, slots=True)
class Server:
    """One embedded server.

    Parameters
    ----------
    url : str
        ``postgresql://`` with the password in it: a secret, left out of the printed form.
    data : Path
        Its data folder.
    port : int
        On 127.0.0.1.
    running : bool
        Whether it let us log in just now.
    """

    url: str = field(repr=False)
    data: Path
    port: int
    running: bool


def start(home: Path, bin_dir: Path | None = None) -> Server:
    """Start the server of `home`, made on the first call; returns at once if it is healthy.

    May be called by several processes at once; the server lives on when they end.

    Parameters
    ----------
    home : Path
        The user's data folder; ours is ``postgres`` in it.
    bin_dir : Path or None
        Folder of another Postgres' `initdb` and `postgres`; None takes the wheel's.

    Raises
    ------
    DatabaseError
        When it cannot be set up or started, with the last lines it said.
    DiskFullError
        When the disk is full.
    """
    with _typed(home):
        if (server := status(home)) is not None and server.running:
            return server
        who = placement.account()
        base = placement.settle(home, who)
        folder = placement.binaries(bin_dir, who)
        with locked(base / "lock") as lock:
            if not (base / "data").is_dir():
                _initialise(base, folder, who, lock)
            return _launch(base, folder, who)


def stop(home: Path) -> bool:
    """Stop the server of `home`, ending its sessions; False when none was running.

    Raises
    ------
    DatabaseError
        When it does not end within a minute.
    """
    with _typed(home):
        base = placement.find(home)
        if not (base / "data").is_dir():
            return False
        with locked(base / "lock"):
            pid = postmaster.find(base / "data")
            if pid is None:
                return False
            for how in (signal.SIGINT, signal.SIGQUIT):  # orderly; then at once, and recover later
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
                end = time.monotonic() + STOP_PATIENCE
                while time.monotonic() < end:
                    if not postmaster.serves(pid, base / "data"):
                        return True
                    time.sleep(0.02)
            raise _failure(base, f"process {pid} did not end", _log_tail(base))


def status(home: Path) -> Server | None:
    """What is there, without changing it; None when no server was ever made for `home`."""
    with _typed(home):
        base = placement.find(home)
        if not (base / "data").is_dir():
            return None
        server = _server(base, running=False)
        return _server(base, running=True) if _answers(server) else server


def remove(home: Path) -> None:
    """Stop the server of `home` and delete it with all its data."""
    stop(home)
    with _typed(home):
        base = placement.find(home)
        for folder in {base, home.resolve() / "postgres"}:
            if folder.exists():
                shutil.rmtree(folder)


def _server(base: Path, running: bool) -> Server:
    told = (base / "port").read_text().strip()
    if not told.isdecimal():
        raise DatabaseError(
            f"the remembered port is no number: {told!r}",
            where=str(base / "port"),
            remedy="write a free port there, 5433 for one",
        )
    port = int(told)
    password = (base / "password").read_text().strip()
    url = f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"
    return Server(url, base / "data", port, running)


def _answers(server: Server) -> bool:
    """Log in; only our server knows the password, which is never sent in the clear."""
    try:
        with psycopg.connect(
            server.url, connect_timeout=3, require_auth="scram-sha-256", options="",
            sslmode="disable", gssencmode="disable",
        ) as connection:  # fmt: skip
            row = connection.execute("show data_directory").fetchone()
    except psycopg.OperationalError as error:
        crowded = "too many clients" in str(error) or "connection slots" in str(error)
        return crowded and postmaster.find(server.data) is not None
    assert row is not None
    # A copy of the folder remembers the port of its original, which is another server.
    return postmaster.same_folder(Path(row[0]), server.data)


def _initialise(base: Path, folder: Path, who: Account | None, lock: int) -> None:
    """Make the data folder aside and rename it when whole: there is no half-made one."""
    for left in base.glob("new-*"):
        shutil.rmtree(left, ignore_errors=True)
    password = token_urlsafe(32)
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=base))
    try:
        write(fresh / "password", password)
        if who is not None:
            os.chown(fresh / "password", who.uid, who.gid)
            os.chown(fresh, who.uid, who.gid)
        data = str(fresh / "data")
        made = run(
            [
                str(folder / "initdb"), "-D", data, "-U", ROLE, "--auth=scram-sha-256",
                f"--pwfile={fresh / 'password'}", "--encoding=UTF8", "--locale=C",
                "--data-checksums",
            ],
            who, base, stdin=subprocess.DEVNULL, pass_fds=(lock,),
        )  # fmt: skip
        if made.returncode != 0:
            raise _failure(base, "initdb failed", made.stdout)
        single = [str(folder / "postgres"), "--single", "-D", data, "postgres"]
        made = run(single, who, base, input=f"create database {DATABASE};\n", pass_fds=(lock,))
        if made.returncode != 0 or "ERROR:" in made.stdout:
            raise _failure(base, f"database {DATABASE!r} could not be created", made.stdout)
        write(base / "password", password)
        write(base / "port", str(_free_port()))
        Path(data).rename(base / "data")
        handle = os.open(base, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _launch(base: Path, folder: Path, who: Account | None) -> Server:
    """Start the postmaster until it answers; the caller holds the lock."""
    data = base / "data"
    end = time.monotonic() + START_PATIENCE
    log = ""
    while time.monotonic() < end:
        if _answers(server := _server(base, running=True)):
            return server
        if postmaster.find(data) is not None:  # it is still starting, or still ending
            time.sleep(0.02)
            continue
        (data / "postmaster.pid").unlink(missing_ok=True)  # its process is certainly not ours
        pid = _spawn(base, folder, who, server.port)
        while postmaster.alive(pid) and time.monotonic() < end:
            if _answers(server):
                return server
            time.sleep(0.02)
        log = _log_tail(base)
        if any(words in log for words in _PORT_TAKEN):
            write(base / "port", str(_free_port()))
        elif any(words in log for words in _STILL_HELD):
            time.sleep(0.1)
        elif not postmaster.alive(pid):
            raise _failure(base, "the server ended while it started", log)
    raise _failure(base, f"the server did not answer for {START_PATIENCE:.0f} s", log)


def _spawn(base: Path, folder: Path, who: Account | None, port: int) -> int:
    """Run the postmaster in a session of its own, no child of ours; its process id."""
    with suppress(FileNotFoundError):
        (base / "server.log").replace(base / "server.log.1")
    command = [
        str(folder / "postgres"), "-D", str(base / "data"), "-p", str(port),
        "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
        "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "logging_collector=off",
    ]  # fmt: skip
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    log = os.open(base / "server.log", flags, 0o600)
    try:
        # The shell starts it and ends, so that it is the system's child and never our zombie.
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
            check=True, cwd=base, env=placement.ENVIRONMENT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            **placement.identity(who),
        )  # fmt: skip
    finally:
        os.close(log)
    return int(shell.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log_tail(base: Path) -> str:
    try:
        return (base / "server.log").read_text(errors="replace")[-4000:]
    except FileNotFoundError:
        return ""


def _failure(base: Path, what: str, said: str) -> DatabaseError | DiskFullError:
    lines = [line for line in said.splitlines() if line.strip()][-8:]
    told = what + "".join(f"\n    {line}" for line in lines)
    if "No space left" in said or shutil.disk_usage(base).free < _NEARLY_FULL:
        return _disk_full(base, told)
    return DatabaseError(
        f"the embedded database: {told}",
        where=f"{base}, server.log",
        remedy="remove the cause and start again, or set TRADER_DATABASE_URL to another Postgres",
    )


def _disk_full(where: Path, told: str) -> DiskFullError:
    return DiskFullError(
        f"no room for the embedded database: {told}",
        where=str(where),
        remedy="free some space there (100 MB at least), then start again",
    )


@contextmanager
def _typed(home: Path) -> Iterator[None]:
    """Turn what the system refuses into errors that name the place and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(home, str(error)) from error
        raise DatabaseError(
            f"the embedded database: {error}",
            where=str(error.filename or home),
            remedy="make it accessible to the user who runs this, or set TRADER_DATABASE_URL",
        ) from error
