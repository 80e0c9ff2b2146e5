"""A model is named by what made it, forecasts what it was given, and knows when it stopped learning."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.learning.model import (
    DEFAULTS,
    Model,
    model_version,
    predict,
    unseen_forecasts,
)
from trader_pipelines_tests.core.made_rows import utc


class Doubling:
    """Stands where the trees stand: raw score = 2 * first column + second."""

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(2.0 * x[:, 0] + x[:, 1])


MODEL = Model(
    version="v",
    classifier=Doubling(),
    intercept=-1.0,
    slope=0.5,
    base=0.5,
    feature_names=("b", "a"),
    feature_version="3",
    snapshot="s",
    synthetic=True,
    trained_from=datetime(2024, 1, 1, tzinfo=UTC),
    trained_until=datetime(2024, 1, 2, tzinfo=UTC),
    rows=1,
    params=DEFAULTS,
)


def test_predict_columns_in_another_order_takes_them_by_name():
    frame = pl.DataFrame({"extra": ["x", "y"], "a": [4.0, 0.0], "b": [1.0, 1.0]})
    raw = np.array([2.0 + 4.0, 2.0])
    assert predict(MODEL, frame).tolist() == (1 / (1 + np.exp(1.0 - 0.5 * raw))).tolist()


def test_predict_no_rows_gives_none():
    assert predict(MODEL, pl.DataFrame({"a": [], "b": []})).shape == (0,)


def test_predict_missing_feature_names_it_and_the_version():
    with pytest.raises(MissingDataError, match="missing: b") as error:
        predict(MODEL, pl.DataFrame({"a": [1.0]}))
    assert error.value.where == "model v, trained on feature version 3"


def test_unseen_forecasts_rows_up_to_the_last_known_label_are_left_out():
    stamps = ["2024-01-01T23:59", "2024-01-02T00:00", "2024-01-02T00:00:00.000000001"]
    frame = pl.DataFrame(
        {
            "ts": utc(np.array(stamps, "datetime64[ns]")),
            "symbol": ["A", "A", "B"],
            "a": [0.0, 0.0, 2.0],
            "b": [0.0, 0.0, 0.0],
        }
    )
    unseen = unseen_forecasts(MODEL, frame)
    assert unseen.columns == ["ts", "symbol", "p"]
    assert unseen["symbol"].to_list() == ["B"]
    assert unseen["p"].to_list() == [0.5]


def test_model_version_equal_parts_give_equal_versions_and_any_other_part_another():
    version = model_version("snapshot", DEFAULTS, "1")
    assert version == model_version("snapshot", replace(DEFAULTS), "1")
    assert len(version) == 12
    others = [
        model_version("other", DEFAULTS, "1"),
        model_version("snapshot", replace(DEFAULTS, seed=8), "1"),
        model_version("snapshot", DEFAULTS, "2"),
    ]
    assert len({version, *others}) == 4


def test_model_version_other_code_gives_another(monkeypatch):
    version = model_version("snapshot", DEFAULTS, "1")
    monkeypatch.setattr("trader_pipelines.core.learning.model.CODE_VERSION", "next")
    assert model_version("snapshot", DEFAULTS, "1") != version
