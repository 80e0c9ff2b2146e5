"""A process that has imported everything and done nothing, and runs each task in a fork of itself.

Polars, OpenMP and database drivers do not survive a fork once they have worked; a test process has
worked. This one only imports, so that a forked child starts in milliseconds and may be killed.

``python -m trader_pipelines_tests.end_to_end.nursery`` reads tasks as lines of JSON,
``{"task": NAME, ...}``, and answers each with a line: how the child ended and what it returned.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HEAVY = (
    "alembic.command",
    "alembic.config",
    "matplotlib.backends.backend_agg",
    "matplotlib.dates",
    "matplotlib.figure",
    "PIL.Image",
    "psycopg",
    "pyarrow.parquet",
    "scipy.special",
    "sklearn.ensemble",
    "skops.io",
    "sqlalchemy",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "threadpoolctl",
    "trader_pipelines.definitions",
    "trader_pipelines.demo",
    "trader_pipelines.venues.archive",
    "trader_pipelines.venues.synthetic",
    "trader_pipelines_tests.end_to_end.killing",
)


class Nursery:
    """The other side of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).resolve().parents[2],
        )

    def run(self, task: str, **arguments: Any) -> tuple[int, Any]:
        """Run a task in a child: the signal that ended it (0 for none) and its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"task": task, **arguments}, default=str) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["trouble"]:
            raise AssertionError(answer["trouble"])
        return answer["signal"], answer["result"]

    def close(self) -> None:
        """End the process, which has no children left."""
        self._process.communicate()


@contextmanager
def nurseries(count: int) -> Iterator[list[Nursery]]:
    """Some of them, ended afterwards."""
    made = [Nursery() for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def serve() -> None:
    """Answer tasks until there are no more."""
    for name in _HEAVY:
        importlib.import_module(name)
    from trader_pipelines_tests.end_to_end import tasks

    tasks.warm_up()
    # What a child prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        arguments = json.loads(line)
        print(json.dumps(_in_child(arguments.pop("task"), arguments)), file=answers, flush=True)


def _in_child(task: str, arguments: dict[str, Any]) -> dict[str, Any]:
    back, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(back)
        told: dict[str, Any] = {"trouble": None, "result": None}
        try:
            tasks = importlib.import_module("trader_pipelines_tests.end_to_end.tasks")
            told["result"] = getattr(tasks, task)(**arguments)
        except BaseException:  # noqa: BLE001  # told to the parent, whatever it is
            told["trouble"] = traceback.format_exc()
        with os.fdopen(out, "w") as pipe:
            json.dump(told, pipe, default=str)
        # Nothing of the parent is to be ended here: no exit handlers, no buffers.
        os._exit(0)
    os.close(out)
    with os.fdopen(back) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    return {"trouble": None, "result": None, **(json.loads(said) if said else {})} | {
        "signal": max(0, -ended)
    }


if __name__ == "__main__":
    serve()
