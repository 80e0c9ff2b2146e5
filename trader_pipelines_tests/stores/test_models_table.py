"""Models and champions: what goes in comes out, and the latest decision speaks."""

from dataclasses import replace
from datetime import date

import psycopg
import pytest

from trader_pipelines.stores import models_table
from trader_pipelines.stores.models_table import Champion, ModelRow

WEEKS = [date(2024, 1, 1), date(2024, 1, 8), date(2024, 1, 15)]


def model(version: str = "binance-2024-01-01-ab12", week: date = WEEKS[0]) -> ModelRow:
    return ModelRow(
        version=version,
        venue="binance",
        week=week,
        snapshot_hash="ab" * 32,
        feature_version="features-1",
        params={"max_iter": 200, "learning_rate": 0.05},
        scores={"brier": 0.2481, "brier_base": 0.25, "folds": [0.24, 0.26]},
        path=f"models/{version}.skops",
        file_sha256="cd" * 32,
        status="candidate",
        synthetic=True,
    )


def test_model_put_comes_back_equal(conn: psycopg.Connection):
    assert models_table.put_model(conn, model())
    found = models_table.get_model(conn, model().version)
    assert found == model()
    assert found.created_at is not None
    assert found.created_at.tzinfo is not None
    assert models_table.get_model(conn, "none") is None


def test_model_put_again_leaves_the_row_untouched(conn: psycopg.Connection):
    look = "select xmin, ctid, created_at from models"
    models_table.put_model(conn, model())
    conn.commit()
    before = conn.execute(look).fetchall()
    assert not models_table.put_model(conn, model())
    conn.commit()
    assert conn.execute(look).fetchall() == before


@pytest.mark.parametrize(
    "change",
    [
        {"venue": "alpaca"}, {"week": WEEKS[1]}, {"snapshot_hash": "x"}, {"feature_version": "x"},
        {"params": {}}, {"scores": {"brier": 0.1}}, {"path": "x"}, {"file_sha256": "x"},
        {"status": "champion"}, {"synthetic": False},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_model_put_with_any_changed_field_keeps_it_and_its_creation(
    conn: psycopg.Connection, change: dict[str, object]
):
    models_table.put_model(conn, model())
    first = models_table.get_model(conn, model().version)
    conn.commit()
    changed = replace(model(), **change)  # type: ignore[arg-type]
    assert models_table.put_model(conn, changed)
    found = models_table.get_model(conn, model().version)
    assert found == changed
    assert first is not None
    assert found.created_at == first.created_at


def test_models_are_got_by_venue_and_weeks(conn: psycopg.Connection):
    everything = [model(f"v{number}", week) for number, week in enumerate(WEEKS)]
    for one in reversed(everything):
        models_table.put_model(conn, one)
    assert models_table.get_models(conn, "binance") == everything
    assert models_table.get_models(conn, "binance", first=WEEKS[1], last=WEEKS[1]) == [
        everything[1]
    ]
    assert models_table.get_models(conn, "alpaca") == []


def test_champion_is_the_latest_decision_at_or_before_the_week(conn: psycopg.Connection):
    models_table.put_model(conn, model())
    first = Champion("binance", WEEKS[0], model().version, "beats the base rate", {"gain": 0.01})
    third = Champion("binance", WEEKS[2], None, "no better than the base rate")
    assert models_table.put_champion(conn, third)
    assert models_table.put_champion(conn, first)
    assert models_table.get_champion(conn, "binance", date(2023, 12, 25)) is None
    assert models_table.get_champion(conn, "binance", WEEKS[0]) == first
    assert models_table.get_champion(conn, "binance", WEEKS[1]) == first
    assert models_table.get_champion(conn, "binance", WEEKS[2]) == third
    assert models_table.get_champion(conn, "alpaca", WEEKS[2]) is None


def test_champion_put_again_leaves_the_row_untouched_and_a_change_does_not(
    conn: psycopg.Connection,
):
    look = "select xmin, ctid, decided_at from champions"
    decision = Champion("binance", WEEKS[0], None, "first week")
    models_table.put_champion(conn, decision)
    conn.commit()
    before = conn.execute(look).fetchall()
    assert not models_table.put_champion(conn, decision)
    conn.commit()
    assert conn.execute(look).fetchall() == before
    changed = replace(decision, decision={"gain": -0.5})
    assert models_table.put_champion(conn, changed)
    assert models_table.get_champion(conn, "binance", WEEKS[0]) == changed


def test_champion_of_a_model_that_is_not_there_is_refused(conn: psycopg.Connection):
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        models_table.put_champion(conn, Champion("binance", WEEKS[0], "none", "by mistake"))
