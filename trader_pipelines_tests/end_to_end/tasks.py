"""What runs in forked children: the chain whole or killed, and runs under the system's limits."""

import functools
import resource
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from trader_pipelines import demo
from trader_pipelines.core.learning.gate import Decision, GateParams, decide
from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.steps import models
from trader_pipelines.steps.heal import heal
from trader_pipelines_tests.end_to_end import killing, worlds

#: Lets every candidate through, so that a small world has a champion and signals.
OPEN_GATE = GateParams(sigmas=-30.0, min_skill=-9.0, max_ece=1.0, min_days=1)


def open_gate() -> Callable[..., Decision]:
    """A gate that everybody passes."""
    return functools.partial(decide, params=OPEN_GATE)


def warm_up() -> None:
    """Resolve a job: Dagster compiles a good deal when it first does so. Nothing runs."""
    definitions(Platform()).resolve_job_def("synthetic_day")


def chain(
    home: str,
    url: str,
    last: str,
    fatal: int | None = None,
    count: bool = False,
    persistent: bool = False,
) -> list[str]:
    """Run everything from trades to signals up to a day, as the demo does; the points passed."""
    models.decide = open_gate()  # type: ignore[attr-defined]
    if not persistent:
        demo.open_instance = lambda platform: dg.DagsterInstance.ephemeral()
    parts = worlds.platform(Path(home), url)
    counter = killing.Counter(fatal, Path(home, "last_words"))
    if count or fatal is not None:
        killing.install(counter)
    what = demo.plan(parts, "synthetic", (), worlds.MONDAY, date.fromisoformat(last))
    demo.run(parts, what)
    return counter.passed


def with_largest_file(
    home: str, url: str, largest: int, day: str, venue: str, universe: str, archive_url: str
) -> dict[str, Any]:
    """Run a day up to its bars where no file may grow beyond `largest` bytes."""
    parts = worlds.platform(Path(home), url, universe, archive_url=archive_url)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, most))
    ran = worlds.run(
        parts, ("hot_ticks", "cold_ticks", "bars"), date.fromisoformat(day), venue=venue
    )
    return {
        "success": ran.success,
        "failures": {step: told.description for step, told in ran.failures.items()},
    }


def tiers(home: str, url: str, fatal: int | None = None, count: bool = False) -> list[str]:
    """The life of both tiers, whole or killed; the points passed."""
    from trader_pipelines_tests.end_to_end import tiers as lives

    return lives.live(home, url, fatal, count)


def mend(
    home: str,
    url: str,
    universe: str,
    days: list[str],
    sources: dict[str, str],
    fatal: int | None = None,
    count: bool = False,
) -> list[str]:
    """Heal these days of the venue `binance`, one after the other; the points passed."""
    parts = worlds.platform(
        Path(home),
        url,
        universe,
        archive_url=sources["archive_url"],
        binance_url=sources["binance_url"],
    )
    spec = parts.universe.venue("binance")
    counter = killing.Counter(fatal, Path(home, "last_words"))
    if count or fatal is not None:
        killing.install(counter)
    with parts.connect() as connection:
        for day in days:
            for instrument in spec.instruments.values():
                report = heal(connection, parts, spec, instrument, date.fromisoformat(day))
                assert not report.errors
    return counter.passed
