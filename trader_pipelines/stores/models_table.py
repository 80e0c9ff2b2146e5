"""Models and champions: what was trained, how it scored, and which one speaks for a venue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from trader_pipelines.stores.manifest import as_json


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One trained model.

    Parameters
    ----------
    version : str
        Its name for ever; signals carry it.
    venue, week
        What it was trained for; `week` is the week's first day.
    snapshot_hash : str
        Of the training set.
    feature_version : str
        Of the code that computed the features.
    params, scores : mapping
        How it was trained, and how it did out of sample; finite numbers only.
    path, file_sha256 : str
        Its file, below the cold store's root.
    status : str
        What became of it, for a person.
    synthetic : bool
        True when it learned from trades that no venue printed.
    created_at : datetime or None
        UTC, set by the database.
    """

    version: str
    venue: str
    week: date
    snapshot_hash: str
    feature_version: str
    params: Mapping[str, Any]
    scores: Mapping[str, Any]
    path: str
    file_sha256: str
    status: str
    synthetic: bool
    created_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Champion:
    """Which model speaks for a venue from a week on.

    Parameters
    ----------
    venue, week
        The week of the decision, by its first day.
    version : str or None
        The model; None when none deserved it.
    reason : str
        Why, for a person.
    decision : mapping
        The numbers it was decided on.
    decided_at : datetime or None
        UTC, set by the database.
    """

    venue: str
    week: date
    version: str | None
    reason: str
    decision: Mapping[str, Any] = field(default_factory=dict)
    decided_at: datetime | None = field(default=None, compare=False)


def put_model(connection: psycopg.Connection, model: ModelRow) -> bool:
    """Keep a model within the caller's transaction; False when it was there already."""
    return (
        connection.execute(
            """
            insert into models as t (version, venue, week, snapshot_hash, feature_version, params,
                                     scores, path, file_sha256, status, synthetic)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (version) do update set
                venue = excluded.venue, week = excluded.week,
                snapshot_hash = excluded.snapshot_hash,
                feature_version = excluded.feature_version, params = excluded.params,
                scores = excluded.scores, path = excluded.path,
                file_sha256 = excluded.file_sha256, status = excluded.status,
                synthetic = excluded.synthetic
            where (t.venue, t.week, t.snapshot_hash, t.feature_version, t.params, t.scores,
                   t.path, t.file_sha256, t.status, t.synthetic)
                is distinct from
                  (excluded.venue, excluded.week, excluded.snapshot_hash,
                   excluded.feature_version, excluded.params, excluded.scores, excluded.path,
                   excluded.file_sha256, excluded.status, excluded.synthetic)
            """,
            (
                model.version,
                model.venue,
                model.week,
                model.snapshot_hash,
                model.feature_version,
                as_json(dict(model.params)),
                as_json(dict(model.scores)),
                model.path,
                model.file_sha256,
                model.status,
                model.synthetic,
            ),
        ).rowcount
        == 1
    )


def get_model(connection: psycopg.Connection, version: str) -> ModelRow | None:
    """One model, None when there is no such version."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select * from models where version = %s", (version,)).fetchone()
    return None if row is None else ModelRow(**row)


def get_models(
    connection: psycopg.Connection, venue: str, first: date = date.min, last: date = date.max
) -> list[ModelRow]:
    """A venue's models of the weeks from `first` to `last`, both included, by week and version."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "select * from models where venue = %s and week between %s and %s "
            "order by week, version",
            (venue, first, last),
        ).fetchall()
    return [ModelRow(**row) for row in rows]


def put_champion(connection: psycopg.Connection, champion: Champion) -> bool:
    """Keep a week's decision within the caller's transaction; False when it was there already."""
    return (
        connection.execute(
            """
            insert into champions as t (venue, week, version, reason, decision)
            values (%s, %s, %s, %s, %s)
            on conflict (venue, week) do update set
                version = excluded.version, reason = excluded.reason,
                decision = excluded.decision, decided_at = now()
            where (t.version, t.reason, t.decision)
                is distinct from (excluded.version, excluded.reason, excluded.decision)
            """,
            (
                champion.venue,
                champion.week,
                champion.version,
                champion.reason,
                as_json(dict(champion.decision)),
            ),
        ).rowcount
        == 1
    )


def get_champion(connection: psycopg.Connection, venue: str, week: date) -> Champion | None:
    """The latest decision of the week or before it; None when there was none yet."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select * from champions where venue = %s and week <= %s order by week desc limit 1",
            (venue, week),
        ).fetchone()
    return None if row is None else Champion(**row)
