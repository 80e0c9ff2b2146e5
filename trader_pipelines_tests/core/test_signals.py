"""Signals carry their side, horizon, model and provenance, and synthetic cannot be washed off."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from trader_pipelines.core.certificates import Status
from trader_pipelines.core.signals import SIGNALS, Provenance, make_signals
from trader_pipelines_tests.core.made_rows import utc

TS = utc(np.array(["2024-01-01T10:01", "2024-01-01T10:00", "2024-01-01T10:02"], "datetime64[ns]"))


def signals(
    p: Any = (0.25, 0.75, 0.5),
    ts: pl.Series = TS,
    *,
    synthetic: bool = False,
    model_synthetic: bool = False,
    horizon: int = 60,
) -> pl.DataFrame:
    return make_signals(
        np.array(p),
        ts,
        symbol="BTCUSDT",
        horizon_minutes=horizon,
        model_version="0123456789ab",
        model_synthetic=model_synthetic,
        provenance=Provenance("archive", synthetic, Status.HEALED, "7"),
    )


def test_make_signals_three_rows_gives_every_column_in_order_of_time():
    made = signals()
    assert made.schema == SIGNALS
    assert made["ts"].dt.minute().to_list() == [0, 1, 2]
    assert made["probability"].to_list() == [0.75, 0.25, 0.5]
    assert made["side"].to_list() == ["buy", "sell", "buy"]
    assert made["edge"].to_list() == [0.25, -0.25, 0.0]
    assert ((made["ts_expiry"] - made["ts"]).dt.total_minutes() == 60).all()
    assert made.select(pl.exclude("ts", "probability", "side", "edge", "ts_expiry")).unique().rows(
        named=True
    ) == [
        {
            "symbol": "BTCUSDT",
            "horizon_minutes": 60,
            "model_version": "0123456789ab",
            "source": "archive",
            "synthetic": False,
            "certificate_status": "healed",
            "feature_version": "7",
        }
    ]


@pytest.mark.parametrize(
    ("data", "model", "marked"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_make_signals_anything_synthetic_marks_every_row(data, model, marked):
    made = signals(synthetic=data, model_synthetic=model)
    assert made["synthetic"].to_list() == [marked] * 3


def test_make_signals_rows_in_any_order_give_the_same_frame():
    order = [2, 0, 1]
    again = signals(p=np.array([0.25, 0.75, 0.5])[order], ts=TS[order])
    assert again.equals(signals())


def test_make_signals_no_rows_gives_an_empty_frame_of_the_schema():
    made = signals(p=(), ts=TS[:0])
    assert made.schema == SIGNALS
    assert made.height == 0


@pytest.mark.parametrize("p", [-0.01, 1.01, float("nan"), float("inf")])
def test_make_signals_impossible_probability_names_value_and_row(p):
    with pytest.raises(ValueError, match=f"probability {p} of BTCUSDT in row 1"):
        signals(p=(0.5, p, 0.5))


def test_make_signals_other_length_is_refused():
    with pytest.raises(ValueError, match="for 3 moments"):
        signals(p=(0.5, 0.5))


def test_make_signals_horizon_of_nothing_is_refused():
    with pytest.raises(ValueError, match="horizon of 0"):
        signals(horizon=0)
