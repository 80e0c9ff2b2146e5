"""A fetch that may pass by itself is tried again in the same run; a mistake is not."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from trader_pipelines.core.errors import KeyRefusedError, TraderError, VenueUnreachableError
from trader_pipelines.platform import Platform
from trader_pipelines.venues.synthetic import Synthetic
from trader_pipelines_tests.end_to_end import worlds

DAY = date(2024, 1, 2)


def failing(
    monkeypatch: pytest.MonkeyPatch, kind: type[TraderError], *, retry: bool, times: int
) -> Iterator[int]:
    """Let the venue fail so often before it answers; counts how often a fetch was tried."""
    left = [times]
    tried = iter(range(1, 1_000))
    fetch = Synthetic.fetch_day
    asked = [0]

    def fetch_day(self: Synthetic, *place: Any) -> Any:
        asked[0] = next(tried)
        if left[0]:
            left[0] -= 1
            raise kind("no", where="venue", remedy="wait", retry=retry)
        return fetch(self, *place)

    monkeypatch.setattr(Synthetic, "fetch_day", fetch_day)
    while True:
        yield asked[0]


def parts(home: Path, url: str) -> Platform:
    return worlds.platform(home, url, retries=2, retry_seconds=0.01)


def test_venue_down_for_a_moment_run_waits_and_succeeds(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = failing(monkeypatch, VenueUnreachableError, retry=True, times=1)
    next(asked)
    assert worlds.run(parts(tmp_path, database_url), ["hot_ticks"], DAY).success
    # Both symbols twice: the one that was there already is not written again.
    assert next(asked) == 4


def test_venue_down_for_long_run_fails_after_its_retries(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = failing(monkeypatch, VenueUnreachableError, retry=True, times=1_000)
    next(asked)
    ran = worlds.run(parts(tmp_path, database_url), ["hot_ticks"], DAY)
    assert not ran.success
    assert next(asked) == 3 * 2


def test_key_refused_is_asked_with_once(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = failing(monkeypatch, KeyRefusedError, retry=False, times=1)
    next(asked)
    ran = worlds.run(parts(tmp_path, database_url), ["hot_ticks"], DAY)
    assert not ran.success
    assert next(asked) == 2
