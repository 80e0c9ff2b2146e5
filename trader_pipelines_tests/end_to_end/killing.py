"""Counts every place at which the chain touches disk or database, and dies at one of them.

A seam is a function of the operating system, the driver or a store through which the chain does
its I/O. Each call of one is two points: just before it does its work and just after; a write of
bytes has a third, when half of them are on their way.
"""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Counter:
    """Numbers the points as they are passed, from 1.

    Parameters
    ----------
    fatal : int or None
        The point at which the process kills itself.
    last_words : Path or None
        Where it writes down first which point that is.
    """

    fatal: int | None = None
    last_words: Path | None = None
    stage: str = "start"
    passed: list[str] = field(default_factory=list)
    watching: bool = True

    def point(self, name: str) -> None:
        """Pass a point, or die at it."""
        if not self.watching:
            return
        self.passed.append(f"{self.stage} {name}")
        if len(self.passed) == self.fatal:
            self.watching = False
            if self.last_words is not None:
                self.last_words.write_text(self.passed[-1])
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Make a seam of a function or method."""
        inner = getattr(owner, attribute)

        @functools.wraps(inner)
        def seam(*args: Any, **kwargs: Any) -> Any:
            self.point(f"{name} before")
            result = inner(*args, **kwargs)
            self.point(f"{name} after")
            return result

        setattr(owner, attribute, seam)


def install(counter: Counter) -> None:
    """Turn all seams of this process into points of `counter`."""
    import dagster as dg
    import psycopg

    from trader_pipelines.stores import hot, manifest, model_files, models_table, parquet

    for name in ("replace", "fsync", "unlink", "mkdir"):
        counter.wrap(os, name, f"os.{name}")
    counter.wrap(psycopg.Connection, "execute", "execute")
    counter.wrap(psycopg.Transaction, "__enter__", "begin")
    counter.wrap(psycopg.Transaction, "__exit__", "commit")
    _torn_copy(counter)
    _torn_files(counter)
    for module, function in (
        (hot, "write_day"),
        (manifest, "put_certificate"),
        (manifest, "put_dataset"),
        (model_files, "save"),
        (models_table, "put_model"),
        (models_table, "put_champion"),
        (parquet, "write"),
        (parquet, "sweep"),
    ):
        counter.wrap(module, function, f"{module.__name__.rpartition('.')[2]}.{function}")
    _follow_stages(counter, dg)


def _torn_copy(counter: Counter) -> None:
    import psycopg

    inner: Callable[..., None] = psycopg.Copy.write

    def write(self: Any, content: Any) -> None:
        counter.point("copy before")
        half = len(content) // 2
        inner(self, content[:half])
        counter.point("copy halfway")
        inner(self, content[half:])
        counter.point("copy after")

    psycopg.Copy.write = write  # type: ignore[method-assign, assignment]


def _torn_files(counter: Counter) -> None:
    inner = Path.open

    def open_(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "w" not in mode:
            return inner(self, mode, *args, **kwargs)
        counter.point("open before")
        file = inner(self, mode, *args, **kwargs)
        counter.point("open after")
        return _TornFile(file, counter) if "b" in mode else file

    Path.open = open_  # type: ignore[method-assign]


class _TornFile:
    """A file whose writes are on disk by half before they go on."""

    def __init__(self, file: Any, counter: Counter) -> None:
        self._file = file
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_TornFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> int:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._counter.point("write halfway")
        self._file.write(content[half:])
        return len(content)


def _follow_stages(counter: Counter, dg: Any) -> None:
    inner = dg.DagsterInstance.handle_new_event

    def handle(self: Any, record: Any, *args: Any, **kwargs: Any) -> Any:
        event = record.dagster_event
        if event is not None and event.is_step_start:
            counter.stage = event.step_key.split("__")[-1]
        counter.point("event before")
        result = inner(self, record, *args, **kwargs)
        counter.point("event after")
        return result

    dg.DagsterInstance.handle_new_event = handle
