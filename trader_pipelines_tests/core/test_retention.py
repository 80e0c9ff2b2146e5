"""What hot may let go of: by age, by size, and nothing unproven whatever the clock says."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.retention import CLOSED_AFTER, Holding, Verdict, decide

TODAY = date(2024, 3, 1)


def holding(age: int, symbol: str = "AAA", **odd: Any) -> Holding:
    whole = {
        "trades": 10, "bytes": 1_000, "certified": "c", "count": 10, "copied": "c",
        "reopened": None,
    }  # fmt: skip
    return Holding("venue", symbol, TODAY - timedelta(days=age), **{**whole, **odd})


def verdicts(*held: Holding, **limits: Any) -> list[tuple[int, Verdict]]:
    return [((TODAY - one.holding.day).days, one.verdict) for one in decide(held, TODAY, **limits)]


def test_decide_without_limits_keeps_everything() -> None:
    assert verdicts(holding(4_000), holding(3)) == [(4_000, Verdict.KEPT), (3, Verdict.KEPT)]


def test_decide_by_age_lets_go_of_what_is_older_than_the_limit_oldest_first() -> None:
    assert verdicts(holding(5), holding(7), holding(6), days=5) == [
        (7, Verdict.GOES),
        (6, Verdict.GOES),
        (5, Verdict.KEPT),
    ]


def test_decide_by_size_lets_go_of_the_oldest_until_the_limit_is_met() -> None:
    held = [holding(age) for age in (9, 8, 7, 6)]
    assert verdicts(*held, size=2_000) == [
        (9, Verdict.GOES),
        (8, Verdict.GOES),
        (7, Verdict.KEPT),
        (6, Verdict.KEPT),
    ]
    assert verdicts(*held, size=1_999)[2] == (7, Verdict.GOES)
    assert {verdict for _, verdict in verdicts(*held, size=4_000)} == {Verdict.KEPT}


def test_decide_by_both_counts_what_went_by_age_towards_the_size() -> None:
    held = [holding(age) for age in (9, 8, 7)]
    assert verdicts(*held, days=8, size=2_000) == [
        (9, Verdict.GOES),
        (8, Verdict.KEPT),
        (7, Verdict.KEPT),
    ]


def test_decide_by_size_passes_over_what_is_refused_and_takes_the_next() -> None:
    held = [holding(9, copied=None), holding(8), holding(7)]
    assert verdicts(*held, size=2_000) == [
        (9, Verdict.REFUSED),
        (8, Verdict.GOES),
        (7, Verdict.KEPT),
    ]


@pytest.mark.parametrize("age", range(-2, CLOSED_AFTER))
def test_decide_never_lets_go_of_a_day_that_is_not_closed(age: int) -> None:
    (decision,) = decide([holding(age)], TODAY, days=1, size=0)
    assert (decision.verdict, decision.why) == (Verdict.KEPT, "its day is not closed yet")


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"certified": None, "count": None}, "it has no certificate"),
        ({"reopened": "late trades"}, "it is open again: late trades"),
        ({"copied": None}, "it has no committed cold copy"),
        ({"copied": "x"}, "its cold copy is of other trades than its certificate"),
        ({"trades": 11}, "hot holds 11 trades, the certificate says 10"),
    ],
)
def test_decide_refuses_what_is_not_proven_and_says_why(odd: dict[str, Any], why: str) -> None:
    (decision,) = decide([holding(90, **odd)], TODAY, days=30)
    assert (decision.verdict, decision.why) == (Verdict.REFUSED, why)


def test_decide_by_size_takes_the_next_when_the_proof_fails_only_as_it_is_asked_for() -> None:
    asked = []

    def unproven(one: Holding) -> str | None:
        asked.append((TODAY - one.day).days)
        return "its file is damaged" if len(asked) == 1 else None

    held = [holding(age) for age in (9, 8, 7)]
    assert verdicts(*held, size=2_000, unproven=unproven) == [
        (9, Verdict.REFUSED),
        (8, Verdict.GOES),
        (7, Verdict.KEPT),
    ]
    assert asked == [9, 8]


HELD = st.lists(
    st.builds(
        holding,
        st.integers(-3, 60),
        st.sampled_from(["AAA", "BBB"]),
        bytes=st.integers(0, 5_000),
        trades=st.sampled_from([10, 10, 10, 9]),
        copied=st.sampled_from(["c", "c", "c", "x", None]),
        reopened=st.sampled_from([None, None, "late"]),
    ),
    max_size=30,
)
DAYS, SIZE = st.none() | st.integers(1, 60), st.none() | st.integers(0, 50_000)


@given(HELD, DAYS, SIZE, st.integers(1, 400))
def test_decide_with_a_clock_set_back_lets_go_of_nothing_more(
    held: list[Holding], days: int | None, size: int | None, back: int
) -> None:
    def gone(today: date) -> list[Holding]:
        found = decide(held, today, days=days, size=size)
        return [one.holding for one in found if one.verdict is Verdict.GOES]

    now, before = gone(TODAY), gone(TODAY - timedelta(days=back))
    assert all(one in now for one in before)


@given(HELD, DAYS, SIZE)
def test_decide_answers_for_each_holding_and_keeps_no_more_than_it_must(
    held: list[Holding], days: int | None, size: int | None
) -> None:
    found = list(decide(held, TODAY, days=days, size=size))
    assert len(found) == len(held)
    left = sum(one.holding.bytes for one in found if one.verdict is not Verdict.GOES)
    for one in found:
        age, whole = (TODAY - one.holding.day).days, one.holding.copied == one.holding.certified
        if one.verdict is Verdict.GOES:
            assert whole
            assert one.holding.reopened is None
            assert one.holding.trades == one.holding.count
            assert age >= CLOSED_AFTER
        elif one.verdict is Verdict.KEPT and age >= CLOSED_AFTER:
            assert days is None or age <= days
            assert size is None or left <= size
