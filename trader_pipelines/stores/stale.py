"""What does not rest on what is there now: told from the hashes that every row says it was made of.

Not by clocks: a change that was committed late is seen like any other, and what was built again on
the same content is not stale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import psycopg

from trader_pipelines.stores.datasets import POOL

#: The stages of a day, in their order, and what each one's staleness makes stale with it.
FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "cold_ticks": ("cold_ticks", "bars", "features", "labels", "signals"),
    "bars": ("bars", "features", "labels", "signals"),
    "features": ("features", "signals"),
    "labels": ("labels",),
    "signals": ("signals",),
}

_RANK = "array_position(array['complete', 'healed', 'incomplete'], {})"


@dataclass(frozen=True, slots=True)
class Calendar:
    """What a day rests on besides itself; lists of one length, ascending by `days`.

    Parameters
    ----------
    days : sequence of date
        Trading days.
    before : sequence of date
        The trading day before each.
    weeks : sequence of date
        The week whose champion speaks on each.
    """

    days: Sequence[date]
    before: Sequence[date]
    weeks: Sequence[date]


@dataclass(frozen=True, slots=True)
class StaleDay:
    """Stages of one symbol's day that are to be built again.

    Parameters
    ----------
    day, symbol
        Which.
    stages : tuple of str
        In their order.
    state : str
        Hash of all that they are to rest on: revisions of the certificates, and the champion. A day
        that is corrected and corrected back is in another state each time.
    """

    day: date
    symbol: str
    stages: tuple[str, ...]
    state: str


def days(
    connection: psycopg.Connection, venue: str, symbols: Sequence[str], calendar: Calendar
) -> list[StaleDay]:
    """Certified symbol-days of which a stage is missing, or made of what is not there any more.

    Also compared is how whole the trades were that a stage rests on. Signals are missing where a
    champion speaks; a day before the first one has none.

    Parameters
    ----------
    symbols : sequence of str
        Of the universe; what is certified of others is let be.

    Returns
    -------
    list of StaleDay
        By day and symbol.
    """
    rows = connection.execute(
        _DAYS.encode(),
        {
            "venue": venue,
            "symbols": list(symbols),
            "days": list(calendar.days),
            "before": list(calendar.before),
            "weeks": list(calendar.weeks),
        },
    ).fetchall()
    found = []
    for day, symbol, state, *flags in rows:
        stale = {
            following
            for stage, flag in zip(FOLLOWING, flags, strict=True)
            if flag
            for following in FOLLOWING[stage]
        }
        found.append(StaleDay(day, symbol, tuple(s for s in FOLLOWING if s in stale), state))
    return found


def certified_days(connection: psycopg.Connection, venue: str) -> list[date]:
    """Days of a venue that have a certificate, ascending."""
    query = "select distinct day from certificates where venue = %s order by day"
    return [day for (day,) in connection.execute(query, (venue,))]


def touched(connection: psycopg.Connection, venue: str, revision: int) -> tuple[list[date], int]:
    """Days and weeks of which a row was committed since `revision`, and the newest one now.

    Revisions are seen in their order (see `stores.manifest`), so that nothing is missed.
    """
    rows = connection.execute(
        """
        select day, max(revision) from (
            select day, revision from certificates where venue = %(venue)s and revision > %(since)s
            union all
            select day, revision from datasets where venue = %(venue)s and revision > %(since)s
        ) changed group by day order by day
        """,
        {"venue": venue, "since": revision},
    ).fetchall()
    return [day for day, _ in rows], max((newest for _, newest in rows), default=revision)


def speakers(connection: psycopg.Connection, venue: str) -> str:
    """Hash of which model speaks after each week, and how whole what it learned from was."""
    row = connection.execute(
        "select md5(string_agg(concat_ws(' ', c.week, c.version, m.status), ',' order by c.week)) "
        "from champions c left join models m using (version) where c.venue = %s",
        (venue,),
    ).fetchone()
    return str(row[0]) if row else ""


def weeks(
    connection: psycopg.Connection, venue: str, windows: Mapping[date, tuple[date, date]]
) -> list[tuple[date, str]]:
    """Weeks that were learned from, and whose training set, candidate or champion is stale.

    A champion is stale only with its candidate, or when there is none: what it was crowned over is
    not recorded.

    Parameters
    ----------
    windows : mapping of week to (first day, last day)
        Days that each week is learned from.

    Returns
    -------
    list of (date, str)
        Ascending, with a hash of the features and labels that are there now.
    """
    rows = connection.execute(
        _WEEKS.encode(),
        {
            "venue": venue,
            "pool": POOL,
            "weeks": list(windows),
            "first": [first for first, _ in windows.values()],
            "last": [last for _, last in windows.values()],
        },
    ).fetchall()
    return [(week, state) for week, state in rows]


def learned_weeks(connection: psycopg.Connection, venue: str) -> list[date]:
    """Weeks that have a training set, ascending."""
    query = (
        "select day from datasets where venue = %s and dataset = 'training_set' and symbol = %s "
        "order by day"
    )
    return [day for (day,) in connection.execute(query, (venue, POOL))]


_DAYS = f"""
with calendar as (
    select * from unnest(%(days)s::date[], %(before)s::date[], %(weeks)s::date[])
        as c (day, before, week)
),
mine as materialized (
    select dataset, symbol, day, sha256, content_hash, status, inputs, {_RANK.format("status")} rank
    from datasets
    where venue = %(venue)s and symbol = any(%(symbols)s)
        and dataset in ('cold_ticks', 'minute_bars', 'features', 'labels', 'signals')
        and day = any(%(days)s::date[] || %(before)s::date[])
),
judged as (
    select c.day, c.symbol,
        md5(concat_ws(' ', c.revision, earlier.revision, crowned.week, crowned.version)) state,
        (cold.inputs ->> 'hot_ticks', cold.status)
            is distinct from (c.content_hash, c.status) stale_cold,
        (bars.inputs ->> 'cold_ticks', bars.status)
            is distinct from (cold.content_hash, cold.status) stale_bars,
        (features.inputs ->> ('minute_bars ' || c.day), features.inputs
            ->> ('minute_bars ' || calendar.before), features.rank)
            is distinct from
            (bars.sha256, warm.sha256, greatest(bars.rank, warm.rank)) stale_features,
        (labels.inputs ->> 'minute_bars', labels.status)
            is distinct from (bars.sha256, bars.status) stale_labels,
        (signals.dataset is not null or crowned.version is not null)
            and (signals.inputs ->> 'features', signals.inputs ->> 'model', signals.rank)
            is distinct from
            (features.sha256, coalesce(crowned.version, 'none'),
                greatest(features.rank, crowned.rank)) stale_signals
    from certificates c
    join calendar on calendar.day = c.day
    left join mine cold
        on (cold.dataset, cold.symbol, cold.day) = ('cold_ticks', c.symbol, c.day)
    left join mine bars
        on (bars.dataset, bars.symbol, bars.day) = ('minute_bars', c.symbol, c.day)
    left join mine warm
        on (warm.dataset, warm.symbol, warm.day) = ('minute_bars', c.symbol, calendar.before)
    left join mine features
        on (features.dataset, features.symbol, features.day) = ('features', c.symbol, c.day)
    left join mine labels
        on (labels.dataset, labels.symbol, labels.day) = ('labels', c.symbol, c.day)
    left join mine signals
        on (signals.dataset, signals.symbol, signals.day) = ('signals', c.symbol, c.day)
    left join certificates earlier
        on (earlier.venue, earlier.symbol, earlier.day) = (c.venue, c.symbol, calendar.before)
    left join lateral (
        select m.version, latest.week, {_RANK.format("m.status")} rank
        from (select version, week from champions where venue = %(venue)s and week <= calendar.week
              order by week desc limit 1) latest
        join models m on m.version = latest.version
    ) crowned on true
    where c.venue = %(venue)s and c.symbol = any(%(symbols)s)
)
select day, symbol, state, stale_cold, stale_bars, stale_features, stale_labels, stale_signals
from judged
where stale_cold or stale_bars or stale_features or stale_labels or stale_signals
order by day, symbol
"""  # noqa: S608

#: The digest is that of `trader_pipelines.steps.models.digest`; a test holds them together.
_WEEKS = f"""
select w.week, md5(concat_ws(' ', f.digest, l.digest, f.rank, l.rank))
from unnest(%(weeks)s::date[], %(first)s::date[], %(last)s::date[]) as w (week, first, last)
join datasets t on (t.venue, t.dataset, t.symbol, t.day)
    = (%(venue)s, 'training_set', %(pool)s, w.week)
cross join lateral (
    select encode(sha256(convert_to(string_agg(day || ' ' || symbol || ' ' || sha256, E'\\n'
            order by day, symbol), 'UTF8')), 'hex') digest,
        max({_RANK.format("status")}) rank
    from datasets
    where venue = %(venue)s and dataset = 'features' and day between w.first and w.last
) f
cross join lateral (
    select encode(sha256(convert_to(string_agg(day || ' ' || symbol || ' ' || sha256, E'\\n'
            order by day, symbol), 'UTF8')), 'hex') digest,
        max({_RANK.format("status")}) rank
    from datasets
    where venue = %(venue)s and dataset = 'labels' and day between w.first and w.last
) l
left join datasets o on (o.venue, o.dataset, o.symbol, o.day)
    = (%(venue)s, 'oos_forecasts', %(pool)s, w.week)
left join champions c on (c.venue, c.week) = (%(venue)s, w.week)
where (t.inputs ->> 'features', t.inputs ->> 'labels') is distinct from (f.digest, l.digest)
    or {_RANK.format("t.status")} is distinct from greatest(f.rank, l.rank)
    or (o.inputs ->> 'training_set', o.status) is distinct from (t.content_hash, t.status)
    or c.week is null
order by w.week
"""  # noqa: S608
