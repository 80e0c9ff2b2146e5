"""A real TimescaleDB for tests: a Debian that packages it, in a folder, on a free port."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from trader_pipelines_tests.browser import free_port

_SUITE = "trixie"
_PACKAGES = "postgresql-17,postgresql-17-timescaledb,postgresql-17-pgvector"
_BIN = "/usr/lib/postgresql/17/bin"


def unavailable() -> str | None:
    """Why it cannot run here; None where it can."""
    if os.geteuid() != 0:
        return "a root file system can only be made and entered by root"
    if not shutil.which("apt-get") or _mirror() is None:
        return "no Debian package source on this machine"
    return None


@contextlib.contextmanager
def timescale(root: Path) -> Iterator[str]:
    """A server with TimescaleDB in a root file system below `root`; its URL."""
    if not shutil.which("debootstrap"):
        _run("apt-get", "-qq", "update")
        _run("apt-get", "-qq", "install", "-y", "debootstrap")
    mirror = _mirror()
    assert mirror is not None
    _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root), mirror)
    port = free_port()
    data = root / "var/lib/postgresql/test"
    _run(
        "chroot", str(root), "su", "postgres", "-c", f"{_BIN}/initdb -A trust -D /{_in(data, root)}"
    )
    with (data / "postgresql.conf").open("a") as file:
        file.write(
            f"port={port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n"
            "shared_preload_libraries='timescaledb'\ntimescaledb.telemetry_level=off\n"
        )
    _control(root, data, "start -l /tmp/log")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        _control(root, data, "stop -m immediate")


def _control(root: Path, data: Path, verb: str) -> None:
    command = f"{_BIN}/pg_ctl -w -D /{_in(data, root)} {verb}"
    _run("chroot", str(root), "su", "postgres", "-c", command)


def _in(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.decode()[-2000:]}")


def _mirror() -> str | None:
    """Where this machine's own packages come from."""
    apt = Path("/etc/apt")
    for source in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if source.is_file():
            text = source.read_text(encoding="utf-8", errors="replace")
            if found := re.search(
                r"^(?:deb|URIs:?)\s+(?:\[.*?\]\s+)?(\w+://\S+)", text, re.MULTILINE
            ):
                return found[1]
    return None
