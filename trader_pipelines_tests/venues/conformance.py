"""What every venue must keep; a venue's tests inherit these and say how it is built."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl
import pytest

from trader_pipelines.core.certificates import Status, certify
from trader_pipelines.core.errors import DayNotOverError, TraderError, UnknownSymbolError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES, content_hash, utc_day_bounds
from trader_pipelines.venues.base import Venue
from trader_pipelines.venues.days import Today


@dataclass(frozen=True)
class Case:
    """A venue under test.

    Parameters
    ----------
    build : callable
        Makes the venue anew, given what tells it the current UTC day.
    instrument : Instrument
        That it has, on all of `days`.
    days : tuple of date
        Consecutive, each with trades.
    synthetic : bool
        What the venue must say of itself.
    secrets : tuple of str
        That must appear nowhere.
    """

    build: Callable[[Today], Venue]
    instrument: Instrument
    days: tuple[date, ...]
    synthetic: bool
    secrets: tuple[str, ...] = ()

    def venue(self) -> Venue:
        """The venue, on a day long after all of `days`."""
        return self.build(lambda: date(2030, 1, 1))


class VenueConformance(ABC):
    """Inherit as ``TestX(VenueConformance)`` and give the fixture `case`."""

    @abstractmethod
    def case(self, *args: object) -> Case: ...

    def test_fetch_day_trades_have_the_one_schema(self, case: Case) -> None:
        for day in case.days:
            trades = case.venue().fetch_day(case.instrument, day).trades
            assert trades.schema == TRADES
            assert trades.height > 0
            assert sum(trades.null_count().row(0)) == 0

    def test_fetch_day_ids_ascend_strictly_through_all_days(self, case: Case) -> None:
        days = [case.venue().fetch_day(case.instrument, day).trades for day in case.days]
        assert (pl.concat(days)["id"].diff().drop_nulls() > 0).all()

    def test_fetch_day_stamps_lie_within_the_day(self, case: Case) -> None:
        for day in case.days:
            start, end = utc_day_bounds(day)
            stamps = case.venue().fetch_day(case.instrument, day).trades["ts_event"].to_physical()
            assert stamps.is_between(start, end, closed="left").all()

    def test_fetch_day_values_are_what_a_trade_can_have(self, case: Case) -> None:
        for day in case.days:
            trades = case.venue().fetch_day(case.instrument, day).trades
            assert (trades["price"] > 0).all()
            assert (trades["size"] > 0).all()
            assert (trades["fills"] >= 1).all()
            assert set(trades["side"]) <= {1, -1, 0}

    def test_fetch_day_twice_and_in_any_order_gives_equal_days(self, case: Case) -> None:
        first = [case.venue().fetch_day(case.instrument, day) for day in case.days]
        venue = case.venue()
        again = [venue.fetch_day(case.instrument, day) for day in reversed(case.days)][::-1]
        for a, b in zip(first, again, strict=True):
            assert content_hash(a.trades) == content_hash(b.trades)
            assert (a.source, dict(a.reconciled)) == (b.source, dict(b.reconciled))

    def test_fetch_day_certificate_is_complete(self, case: Case) -> None:
        venue, day = case.venue(), case.days[0]
        fetched = venue.fetch_day(case.instrument, day)
        certificate = certify(
            fetched.trades,
            venue=venue.name,
            symbol=case.instrument.symbol,
            day=day,
            source=fetched.source,
            synthetic=venue.synthetic,
            reconciled=fetched.reconciled,
            sequential=venue.sequential_ids,
        )
        assert certificate.status is Status.COMPLETE
        assert certificate.missing == ()
        assert certificate.count == fetched.trades.height

    def test_fetch_day_source_and_reconciled_can_be_stored_and_hold_no_secret(
        self, case: Case
    ) -> None:
        fetched = case.venue().fetch_day(case.instrument, case.days[0])
        assert fetched.source.strip()
        assert fetched.reconciled
        told = fetched.source + json.dumps(dict(fetched.reconciled)) + repr(case.venue())
        assert [secret for secret in case.secrets if secret in told] == []

    def test_venue_says_what_it_is(self, case: Case) -> None:
        venue = case.venue()
        assert venue.name == case.instrument.venue
        assert venue.synthetic is case.synthetic
        assert isinstance(venue.sequential_ids, bool)

    def test_fetch_day_another_venues_instrument_is_refused(self, case: Case) -> None:
        other = replace(case.instrument, venue="elsewhere")
        with pytest.raises(UnknownSymbolError, match=r"\.ELSEWHERE is not an instrument of venue"):
            case.venue().fetch_day(other, case.days[0])

    def test_fetch_day_before_and_after_listing_is_refused(self, case: Case) -> None:
        day = case.days[0]
        late = replace(case.instrument, since=day + timedelta(days=1))
        early = replace(case.instrument, until=day - timedelta(days=1))
        for unlisted in (late, early):
            with pytest.raises(UnknownSymbolError, match=f"is not in the universe on {day}"):
                case.venue().fetch_day(unlisted, day)

    def test_fetch_day_today_and_later_is_refused_as_not_over(self, case: Case) -> None:
        day = case.days[0]
        yesterday, long_ago = day - timedelta(days=1), day - timedelta(days=2)
        with pytest.raises(DayNotOverError, match=f"{day} is still going on") as caught:
            case.build(lambda: day).fetch_day(case.instrument, day)
        assert caught.value.retry is True
        assert f"up to {yesterday}" in caught.value.remedy
        with pytest.raises(DayNotOverError, match=f"{day} is in the future") as caught:
            case.build(lambda: yesterday).fetch_day(case.instrument, day)
        assert f"up to {long_ago}" in caught.value.remedy

    def test_fetch_day_yesterday_is_given(self, case: Case) -> None:
        day = case.days[-1]
        venue = case.build(lambda: day + timedelta(days=1))
        assert venue.fetch_day(case.instrument, day).trades.height > 0

    def test_errors_tell_what_where_and_remedy_without_secret(self, case: Case) -> None:
        unlisted = replace(case.instrument, since=case.days[0] + timedelta(days=1))
        with pytest.raises(TraderError) as caught:
            case.venue().fetch_day(unlisted, case.days[0])
        assert all((caught.value.what, caught.value.where, caught.value.remedy))
        assert [secret for secret in case.secrets if secret in str(caught.value)] == []
