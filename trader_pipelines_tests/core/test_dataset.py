"""The training set joins what was known with what followed, and its hash names the content."""

import numpy as np
import polars as pl
import pytest

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.learning.dataset import snapshot_hash, training_set
from trader_pipelines_tests.core.made_rows import MINUTE, made_rows, names, utc

START = np.datetime64("2024-01-01T10:00", "ns")


def features(minutes: list[int], first: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts": utc(START + np.array(minutes) * MINUTE),
            "f0": [first + minute for minute in minutes],
            "f1": [-1.0] * len(minutes),
        }
    )


def labels(minutes: list[int], label: list[int]) -> pl.DataFrame:
    ts = START + np.array(minutes) * MINUTE
    return pl.DataFrame(
        {
            "ts": utc(ts),
            "label": pl.Series(label, dtype=pl.Int8),
            "touched": ["upper"] * len(label),
            "exit_return": [0.01 * one for one in label],
            "ts_exit": utc(ts + 5 * MINUTE),
        }
    )


def test_training_set_two_symbols_joins_and_sorts_by_time_and_symbol():
    made = training_set(
        {"B": features([0, 1, 2]), "A": features([1, 2, 3], first=100.0)},
        {"B": labels([0, 1, 9], [1, -1, 1]), "A": labels([1, 2, 3], [-1, 1, 1])},
    )
    assert made.columns == ["ts", "symbol", "f0", "f1", "up", "exit_return", "ts_exit"]
    minutes = ((made["ts"].to_numpy() - START) // MINUTE).astype(int).tolist()
    assert list(zip(minutes, made["symbol"], made["f0"], made["up"], strict=True)) == [
        (0, "B", 0.0, 1),
        (1, "A", 101.0, 0),
        (1, "B", 1.0, 0),
        (2, "A", 102.0, 1),
        (3, "A", 103.0, 1),
    ]
    assert made.schema["up"] == pl.Int8
    assert made.schema["ts_exit"] == pl.Datetime("ns", "UTC")
    assert ((made["ts_exit"] - made["ts"]).dt.total_minutes() == 5).all()


def test_training_set_flat_labels_are_left_out():
    made = training_set({"A": features([0, 1, 2])}, {"A": labels([0, 1, 2], [0, -1, 0])})
    assert made["f0"].to_list() == [1.0]
    assert made["up"].to_list() == [0]


def test_training_set_symbol_without_labels_is_named():
    with pytest.raises(MissingDataError, match="same symbols: ETH"):
        training_set(
            {"BTC": features([0]), "ETH": features([0])},
            {"BTC": labels([0], [1])},
        )


def test_training_set_no_symbols_is_refused():
    with pytest.raises(MissingDataError, match="no symbol"):
        training_set({}, {})


def test_training_set_doubled_moment_is_refused():
    with pytest.raises(pl.exceptions.ComputeError):
        training_set({"A": features([0, 0])}, {"A": labels([0], [1])})


def test_snapshot_hash_equal_content_in_other_layout_is_equal():
    frame = made_rows(1, 0.0, days=2, rows=50)
    rebuilt = pl.concat([frame[:30], frame[30:]]).select(reversed(frame.columns))
    widened = rebuilt.with_columns(pl.col("up").cast(pl.Int64), unrelated=pl.lit(1))
    assert snapshot_hash(widened, names(frame)) == snapshot_hash(frame, names(frame))


@pytest.mark.parametrize("column", ["ts", "symbol", "f0", "f5", "up", "ts_exit"])
def test_snapshot_hash_one_changed_value_changes_it(column: str):
    frame = made_rows(1, 0.0, days=2, rows=50)
    changes = {
        "ts": pl.col("ts").dt.offset_by("1ns"),
        "ts_exit": pl.col("ts_exit").dt.offset_by("1ns"),
        "symbol": pl.lit("S9"),
        "up": 1 - pl.col("up"),
    }
    change = changes.get(column, pl.col(column) + 1e-12)
    row = pl.int_range(pl.len()) == 17
    changed = frame.with_columns(pl.when(row).then(change).otherwise(column).alias(column))
    assert changed[column].to_physical()[17] != frame[column].to_physical()[17]
    assert snapshot_hash(changed, names(frame)) != snapshot_hash(frame, names(frame))


def test_snapshot_hash_order_of_features_and_of_rows_counts():
    frame = made_rows(1, 0.0, days=2, rows=50)
    taken = snapshot_hash(frame, ["f0", "f1"])
    assert snapshot_hash(frame, ["f1", "f0"]) != taken
    assert snapshot_hash(frame[:-1], ["f0", "f1"]) != taken
    assert snapshot_hash(frame.reverse(), ["f0", "f1"]) != taken


def test_snapshot_hash_null_and_nan_are_the_same_to_a_model():
    frame = made_rows(1, 0.0, days=2, rows=50)
    row = pl.int_range(pl.len()) == 3
    nan = frame.with_columns(f0=pl.when(row).then(float("nan")).otherwise("f0"))
    null = frame.with_columns(f0=pl.when(row).then(None).otherwise("f0"))
    assert snapshot_hash(nan, ["f0"]) == snapshot_hash(null, ["f0"])
