"""The ledger of minutes: identities, ids, doubts, revisions, what is forgotten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.collector.windows.hours import Hours
from trader_pipelines.collector.windows.minutes import MINUTE, NOTHING, Ledger, Minute
from trader_pipelines.collector.windows.stretches import stretches
from trader_pipelines.core.instruments import UTC_DAYS
from trader_pipelines.venues.alpaca_bars import Bar
from trader_pipelines.venues.alpaca_rows import Row, number
from trader_pipelines.venues.stream_alpaca import Revision
from trader_pipelines_tests.collector.windows_process import stocks

(STOCK,) = stocks(["SYAA"])
T = 1_720_533_600_000_000_000


def row(ts: int, trade: int = 1, place: str = "V", price: int = 100, size: int = 10) -> Row:
    return Row(T + ts, place, trade, "", price, size, 0)


def ids(ledger: Ledger, *rows: Row) -> list[int]:
    return [at - T for at, _ in ledger.accept(rows)]


def bar(fills: int, size: int, vwap: str = "1") -> Bar:
    return Bar(fills, size, vwap)


def test_accept_gives_stamps_and_the_next_free_ids_to_ties() -> None:
    ledger = Ledger()
    assert ids(ledger, row(5), row(5, 2), row(5, 3), row(9)) == [5, 6, 7, 9]
    assert not ledger.open


def test_accept_identity_told_twice_is_stored_once() -> None:
    ledger = Ledger()
    assert ids(ledger, row(5), row(5), row(5, 1, "Q")) == [5, 6]
    assert ledger.repeated == 1
    assert ledger.minutes[T].fills == 2


def test_accept_late_trade_whose_ids_are_taken_is_doubted() -> None:
    ledger = Ledger()
    assert ids(ledger, row(5), row(6)) == [5, 6]
    assert ids(ledger, row(5, 2)) == [7]  # behind a trade that is younger
    assert ledger.open.keys() == {T}


@given(st.lists(st.integers(0, 6), max_size=12))
def test_accept_stamps_in_order_numbers_as_rest_does(steps: list[int]) -> None:
    rows = [row(int(ts), at) for at, ts in enumerate(np.cumsum(steps))]
    assert [at for at, _ in Ledger().accept(rows)] == number(rows)


def test_check_minutes_are_proven_or_open() -> None:
    ledger = Ledger()
    ledger.accept([row(5), row(6, 2), row(MINUTE + 1), row(2 * MINUTE + 1), row(3 * MINUTE)])
    bars = {
        T: bar(2, 20),
        T + MINUTE: bar(2, 20),
        T + 2 * MINUTE: bar(1, 10, "1.01"),
        T + 4 * MINUTE: bar(1, 10),
    }
    ledger.check(range(T, T + 6 * MINUTE, MINUTE), bars, STOCK)
    assert {(start - T) // MINUTE: each.why for start, each in ledger.open.items()} == {
        1: "1 trades are stored, the bar counts 2",
        2: "the bar has another average price",
        3: "1 trades are stored, the bar counts 0",
        4: "0 trades are stored, the bar counts 1",
    }
    assert ledger.minutes[T].proven == bars[T]
    assert ledger.minutes[T + 5 * MINUTE].proven == NOTHING


def test_accept_late_trade_opens_a_proven_minute() -> None:
    ledger = Ledger()
    ledger.accept([row(5)])
    ledger.check([T], {T: bar(1, 10)}, STOCK)
    ledger.accept([row(5)])
    assert not ledger.open  # told twice
    ledger.accept([row(7, 2)])
    assert ledger.open.keys() == {T}
    assert ledger.minutes[T].proven is None


def test_accept_trade_of_a_minute_stored_before_is_doubted() -> None:
    ledger = Ledger(minutes={T: Minute(3, 30, 3000, rows=None)})
    assert ids(ledger, row(5)) == [5]
    assert ledger.open.keys() == {T}


def test_audit_changed_bar_opens_its_minute_only() -> None:
    ledger = Ledger()
    ledger.accept([row(5), row(MINUTE), row(2 * MINUTE)])
    bars = {T + at * MINUTE: bar(1, 10) for at in range(3)}
    ledger.check(bars, bars, STOCK)
    ledger.audit({**bars, T: bar(1, 10, "1.5"), T + MINUTE: NOTHING}, T, T + 2 * MINUTE)
    assert ledger.open.keys() == {T, T + MINUTE}


@pytest.mark.parametrize("stamp", [5, 3 * MINUTE], ids=["of the trade", "of the message"])
def test_minute_of_revision_is_that_of_its_trade(stamp: int) -> None:
    ledger = Ledger()
    ledger.accept([row(5, 7), row(3 * MINUTE, 8)])
    assert ledger.minute_of(Revision(T + stamp, "V", 7)) == T
    assert ledger.minute_of(Revision(T + stamp, "Q", 7)) is None


def test_revise_opens_the_minute() -> None:
    ledger = Ledger()
    ledger.accept([row(5, 7)])
    ledger.revise(T, Revision(T + 5, "V", 7))
    assert ledger.open[T].revisions == [Revision(T + 5, "V", 7)]
    assert ledger.minutes[T].arrivals == 2


def stretched(ledger: Ledger, over: int = 10**6, now: float = 0.0) -> list[tuple[int, int]]:
    """Stretches in minutes after `T`."""
    found = stretches(ledger, Hours("XNYS"), T + over * MINUTE, now)
    return [((first - T) // MINUTE, (end - T) // MINUTE) for first, end in found]


def ledger_of(fills: dict[int, int], *opened: int) -> Ledger:
    ledger = Ledger({T + at * MINUTE: Minute(count) for at, count in fills.items()})
    for at in opened:
        ledger.doubt(T + at * MINUTE, "")
    return ledger


def test_stretches_neighbours_and_minutes_with_little_between_are_one() -> None:
    assert stretched(ledger_of({}, 0, 1, 2, 50, 200)) == [(0, 201)]
    assert stretched(ledger_of({3: 900}, 0, 5)) == [(0, 6)]


def test_stretches_much_between_is_not_asked_again() -> None:
    assert stretched(ledger_of({3: 600, 4: 600}, 0, 5)) == [(0, 1), (5, 6)]


def test_stretches_are_cut_at_many_trades() -> None:
    ledger = ledger_of(dict.fromkeys(range(4), 20_000), 0, 1, 2, 3)
    assert stretched(ledger) == [(0, 2), (2, 4)]
    ledger = ledger_of({}, 0, 1)
    for each in ledger.open.values():
        each.expected = 30_000
    assert stretched(ledger) == [(0, 1), (1, 2)]


def test_stretches_are_cut_at_the_end_of_a_session() -> None:
    night = 10 * 60  # until 00:00 UTC; the next begins at 08:00
    assert stretched(ledger_of({}, night - 1, night, night + 8 * 60)) == [
        (night - 1, night),
        (night + 480, night + 481),
    ]


def test_stretches_only_what_is_over_and_due() -> None:
    ledger = ledger_of({}, 0, 1, 2, 3)
    ledger.open[T + MINUTE].due = 5.0
    assert stretched(ledger, over=3) == [(0, 1), (2, 3)]
    assert stretched(ledger, over=3, now=5.0) == [(0, 3)]


def test_replaced_minute_knows_its_trades_and_frees_old_ids() -> None:
    ledger = Ledger()
    ledger.accept([row(5), row(5, 2)])
    void = row(9, 3)._replace(update="canceled")
    ledger.replaced(T, [(T + 8, row(8, 4))], [void])
    assert (ledger.minutes[T].fills, ledger.minutes[T].size) == (1, 10)
    assert ids(ledger, row(8, 4), row(9, 3)) == []  # both are known
    assert ids(ledger, row(5, 5)) == [5]


def test_forget_lets_go_of_trades_and_keeps_sums() -> None:
    ledger = Ledger()
    ledger.accept([row(5), row(10 * MINUTE)])
    ledger.check([T], {T: bar(1, 10)}, STOCK)
    ledger.checked_to = T + 11 * MINUTE
    ledger.forget()
    assert ledger.minutes[T].rows is None
    assert ledger.minutes[T].fills == 1
    assert list(ledger.ids) == [T + 10 * MINUTE]  # told lately


@pytest.mark.parametrize(("tries", "kept"), [(0, False), (1, True)])
def test_forget_keeps_what_rest_has_answered_without(tries: int, kept: bool) -> None:
    ledger = Ledger()
    ledger.accept([row(5)])
    ledger.doubt(T, "").tries = tries
    ledger.checked_to = T + 59 * MINUTE
    ledger.forget()
    assert ledger.minutes[T].rows is not None
    ledger.checked_to = T + 61 * MINUTE
    ledger.forget()
    assert (ledger.minutes[T].rows is not None) == kept


def test_forget_lets_go_of_minutes_of_days_ago_unless_they_are_open() -> None:
    ledger = Ledger()
    ledger.accept([row(5), row(MINUTE)])
    ledger.check([T], {T: bar(1, 10)}, STOCK)
    ledger.doubt(T + MINUTE, "")
    ledger.checked_to = T + 2 * 24 * 60 * MINUTE
    ledger.forget()
    assert ledger.minutes.keys() == {T + MINUTE}
    assert not ledger.ids


def test_hours_winter_session_ends_on_the_next_day_of_utc() -> None:
    hours = Hours("XNYS")
    end = 1_704_416_400_000_000_000  # 2024-01-05 01:00 UTC: 20:00 of the 4th in New York
    assert hours.inside(end - 1)
    assert not hours.inside(end)
    assert hours.day(end - 1).isoformat() == "2024-01-04"
    assert list(hours.minutes(end - 2 * MINUTE, end + 5 * MINUTE)) == [
        end - 2 * MINUTE,
        end - MINUTE,
    ]


def test_hours_weekends_and_nights_have_no_minutes() -> None:
    friday = 1_720_814_340_000_000_000  # 2024-07-12 19:59 UTC
    found = list(Hours("XNYS").minutes(friday, friday + 3 * 24 * 60 * MINUTE))
    friday_left, monday = 4 * 60 + 1, 11 * 60 + 59
    assert len(found) == friday_left + monday
    assert len(list(Hours(UTC_DAYS).minutes(friday, friday + 100 * MINUTE))) == 100
