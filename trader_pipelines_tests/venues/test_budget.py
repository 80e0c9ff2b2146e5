"""The budget of a venue's limits, on a clock that only sleeping moves; exact decimals."""

import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.errors import VenueBannedError, VenueUnreachableError
from trader_pipelines.venues.budget import Budget, shared
from trader_pipelines.venues.decimals import NotANumberError, TooFineError, nanoseconds, scaled


@dataclass
class Clock:
    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def made(clock: Clock, limit: int = 10, **more: Any) -> Budget:
    return Budget("v", limit, clock=clock.read, sleep=clock.sleep, **more)


@given(st.lists(st.tuples(st.integers(1, 10), st.floats(0, 40)), max_size=60))
def test_spend_no_window_of_a_minute_ever_holds_more_than_the_limit(
    asked: list[tuple[int, float]],
) -> None:
    clock = Clock()
    budget = made(clock)
    sent: list[tuple[float, int]] = []
    for weight, pause in asked:
        clock.now += pause
        budget.spend(weight)
        sent.append((clock.now, weight))
        since = [w for at, w in sent if at > clock.now - 60.0]
        assert sum(since) <= 10


def test_spend_others_on_the_address_are_counted() -> None:
    clock = Clock()
    budget = made(clock)
    budget.spend(1)
    budget.told(9)
    budget.spend(1)
    assert clock.slept == []
    budget.spend(1)
    assert clock.slept == [61.0]


def test_spend_reserve_is_left_to_others() -> None:
    clock = Clock()
    budget = made(clock, reserve=3)
    budget.spend(7)
    assert clock.slept == []
    budget.spend(1)
    assert clock.slept == [61.0]


def test_ban_is_told_to_other_processes_and_ends_for_them_too(tmp_path: Path) -> None:
    one, other = (made(Clock(), bans=tmp_path / "bans" / "v") for _ in range(2))
    one.ban(0.3)
    with pytest.raises(VenueBannedError, match="until 20"):
        other.spend(1)
    assert [file.name for file in (tmp_path / "bans").iterdir()] == ["v"]
    later = made(Clock(), bans=tmp_path / "bans" / "v")
    time.sleep(0.31)
    later.spend(1)


def test_ban_file_that_is_no_number_bans_nobody(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("half a num")
    made(Clock(), bans=tmp_path / "v").spend(1)


def test_hold_as_long_as_told_or_as_usual() -> None:
    clock = Clock()
    budget = made(clock, usual_hold=5.0)
    budget.hold(30.0)
    budget.spend(1)
    budget.hold(None)
    budget.spend(1)
    assert clock.slept == [30.0, 5.0]


def test_hold_longer_than_anybody_waits_is_refused_at_once() -> None:
    clock = Clock()
    budget = made(clock, longest_wait=100.0)
    budget.hold(101.0)
    with pytest.raises(VenueUnreachableError, match="asks to wait 101 s") as caught:
        budget.spend(1)
    assert caught.value.retry
    assert clock.slept == []


def test_ban_nothing_is_sent_before_it_ends() -> None:
    clock = Clock()
    budget = made(clock)
    assert isinstance(budget.ban(120.0), VenueBannedError)
    for _ in range(2):
        with pytest.raises(VenueBannedError):
            budget.spend(1)
    clock.now += 120.0
    budget.spend(1)
    assert clock.slept == []


def test_shared_one_address_has_one_budget() -> None:
    assert shared("v", "a", 10) is shared("v", "a", 10)
    assert shared("v", "a", 10) is not shared("v", "b", 10)


@given(st.decimals(0, 10**9, places=8), st.integers(8, 9))
def test_scaled_is_exact(value: Decimal, scale: int) -> None:
    assert scaled(format(value, "f"), scale) == int(value.scaleb(scale))


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "NaN", "1.2.3", " 1", "\u0661", "9" * 18, "None"]
)
def test_scaled_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(NotANumberError):
        scaled(text, 8)


def test_scaled_never_rounds() -> None:
    assert scaled("1.2300", 2) == 123
    with pytest.raises(TooFineError):
        scaled("1.2301", 2)


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_nanoseconds_of_any_unit(factor: int) -> None:
    assert nanoseconds(1_700_000_000 * factor) == 1_700_000_000 * 10**9
