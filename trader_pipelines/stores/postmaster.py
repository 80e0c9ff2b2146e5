"""Which process serves a data folder: what a pid file says, checked against what is running."""

import os
import subprocess
from pathlib import Path


def find(data: Path) -> int | None:
    """The process that the pid file names, if it really is a postmaster of `data`."""
    try:
        told = int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None
    pid = abs(told)  # negative where it works alone, without sessions
    return pid if pid and serves(pid, data) else None


def serves(pid: int, data: Path) -> bool:
    """Whether a process may be a postmaster of `data`: False only when it certainly is not."""
    command = _command(pid)
    if command is None:
        return alive(pid)
    # Backends call themselves "postgres: ..."; only the postmaster keeps its command line.
    if not command or Path(command[0]).name not in ("postgres", "postmaster"):
        return False
    if "-D" not in command[:-1]:
        return True
    return same_folder(Path(command[command.index("-D") + 1]), data)


def _command(pid: int) -> list[str] | None:
    """The command line of a process; empty for a zombie or none, None where it is not told."""
    if Path("/proc/self/cmdline").exists():
        try:
            return [os.fsdecode(a) for a in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        except ProcessLookupError:
            return []
        except OSError:  # hidden from us, or gone
            return None
    try:
        told = subprocess.run(
            ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    state, _, command = told.stdout.strip().partition(" ")
    return [] if state.startswith("Z") else command.split()


def alive(pid: int) -> bool:
    """Whether the process exists, is no zombie, and is one that we could signal."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, PermissionError):
        return False
    except OSError:  # no /proc here
        return True
    return state not in "ZX"


def same_folder(told: Path, data: Path) -> bool:
    """Whether a server that was started in `told` serves `data`; a moved folder is the same."""
    try:
        return told.samefile(data)
    except FileNotFoundError:
        return True
