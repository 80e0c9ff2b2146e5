"""Settings and universe: a wrong value is one error that names the place, the value, the remedy."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.errors import SettingsError, UnknownSymbolError
from trader_pipelines.core.instruments import Universe
from trader_pipelines.settings import Settings, load_settings, load_universe

GOOD = {
    "venues": {
        "binance": {
            "source": "binance_archive",
            "symbols": {
                "BTCUSDT": {"since": "2017-08-17", "tick_size": "0.01", "lot_size": "0.000001"}
            },
        }
    }
}


def write(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "universe.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def changed(path: tuple[str, ...], value: object) -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load(yaml.safe_dump(GOOD))
    place: Any = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return document


def test_settings_without_environment_are_the_embedded_default() -> None:
    assert load_settings() == Settings()
    assert load_settings().cold_root == Path(".trader/cold")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRADER_SYNTHETIC_EFFECT", "strong"),
        ("TRADER_SYNTHETIC_EFFECT", "1.5"),
        ("TRADER_SYNTHETIC_TRADES", "1"),
        ("TRADER_LABEL_HORIZON", "0"),
        ("TRADER_TRAINING_WEEKS", "-1"),
        ("TRADER_COLD_URL", "s3://bucket/prefix"),
    ],
)
def test_setting_wrong_value_names_variable_value_and_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as told:
        load_settings()
    assert told.value.where == f"environment, {name}"
    assert repr(value) in told.value.what
    assert told.value.remedy.startswith("set it to a valid value or unset it")


def test_setting_misspelt_names_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADER_COLDURL", "/data")
    with pytest.raises(SettingsError) as told:
        load_settings()
    assert told.value.where == "environment, TRADER_COLDURL"
    assert "did you mean TRADER_COLD_URL?" in told.value.remedy


def test_settings_printed_do_not_show_the_database_password() -> None:
    settings = load_settings(database_url="postgresql://me:hunter2@db/trader")
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_universe_packaged_is_valid_and_synthetic_is_marked() -> None:
    universe = load_universe()
    assert {name: spec.synthetic for name, spec in universe.venues.items()} == {
        "synthetic": True,
        "binance": False,
        "alpaca": False,
        "kraken": False,
    }
    assert {name: spec.calendar for name, spec in universe.venues.items()} == {
        "synthetic": "UTC",
        "binance": "UTC",
        "alpaca": "XNYS",
        "kraken": "UTC",
    }
    bitcoin = universe.venue("binance").instrument("BTCUSDT")
    assert (bitcoin.tick_size, bitcoin.price_scale, bitcoin.size_scale) == (Decimal("0.01"), 2, 6)
    assert bitcoin.id == "BTCUSDT.BINANCE"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("venues",), []),
        (("venues",), None),
        (("venue",), {}),
        (("venues", "Binance"), {}),
        (("venues", "binance", "source"), "bloomberg"),
        (("venues", "binance", "symbols"), {}),
        (("venues", "binance", "extra"), 1),
        (("venues", "binance", "symbols", "btc-usdt"), {}),
        (("venues", "binance", "symbols", "BTCUSDT"), "0.01"),
        (("venues", "binance", "symbols", "BTCUSDT", "since"), "2017-13-01"),
        (("venues", "binance", "symbols", "BTCUSDT", "until"), "2016-01-01"),
        (("venues", "binance", "symbols", "BTCUSDT", "tick_size"), "a cent"),
        (("venues", "binance", "symbols", "BTCUSDT", "tick_size"), -0.01),
        (("venues", "binance", "symbols", "BTCUSDT", "lot_size"), "NaN"),
        (("venues", "binance", "symbols", "BTCUSDT", "lot_size"), None),
        (("venues", "binance", "symbols", "BTCUSDT", "dollar_bar"), 0),
        (("venues", "binance", "symbols", "BTCUSDT", "tick"), "0.01"),
    ],
)
def test_universe_wrong_value_names_file_key_value_and_remedy(
    tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    file = write(tmp_path, changed(path, value))
    with pytest.raises(SettingsError) as told:
        load_universe(file)
    assert str(file) in told.value.where
    assert told.value.remedy
    if path[-1] not in {"Binance", "btc-usdt", "venue"}:
        assert told.value.where.endswith(".".join(path))
        assert repr(value) in told.value.what


def test_universe_missing_file_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file") as told:
        load_universe(tmp_path / "nowhere.yaml")
    assert told.value.where == str(tmp_path / "nowhere.yaml")


def test_universe_not_yaml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "universe.yaml"
    file.write_text("venues:\n  binance: [\n", encoding="utf-8")
    with pytest.raises(SettingsError) as told:
        load_universe(file)
    assert told.value.where == f"{file}, line 3"


def test_universe_of_a_day_holds_what_is_listed_then(tmp_path: Path) -> None:
    document = changed(
        ("venues", "binance", "symbols", "OLDUSDT"),
        {"since": "2018-01-01", "until": "2019-12-31", "tick_size": 1, "lot_size": "1e-3"},
    )
    venue = load_universe(write(tmp_path, document)).venue("binance")
    listed = {
        day: [instrument.symbol for instrument in venue.on(date.fromisoformat(day))]
        for day in ("2017-08-16", "2017-08-17", "2018-01-01", "2019-12-31", "2020-01-01")
    }
    assert listed == {
        "2017-08-16": [],
        "2017-08-17": ["BTCUSDT"],
        "2018-01-01": ["BTCUSDT", "OLDUSDT"],
        "2019-12-31": ["BTCUSDT", "OLDUSDT"],
        "2020-01-01": ["BTCUSDT"],
    }
    assert (venue.instrument("OLDUSDT").price_scale, venue.instrument("OLDUSDT").size_scale) == (
        0,
        3,
    )


def test_universe_unknown_names_tell_what_there_is() -> None:
    universe = load_universe()
    with pytest.raises(UnknownSymbolError, match="alpaca, binance, kraken, synthetic"):
        universe.venue("nyse")
    with pytest.raises(UnknownSymbolError, match="BTCUSDT, DOGEUSDT, ETHBTC"):
        universe.venue("binance").instrument("NOPE")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
KEYS = st.sampled_from(
    ["venues", "binance", "source", "symbols", "BTCUSDT", "since", "tick_size", "lot_size"]
) | st.text(max_size=4)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(
    path=st.sampled_from(
        [
            ("venues",),
            ("venues", "binance"),
            ("venues", "binance", "symbols"),
            ("venues", "binance", "symbols", "BTCUSDT"),
            ("venues", "binance", "symbols", "BTCUSDT", "since"),
            ("venues", "binance", "symbols", "BTCUSDT", "tick_size"),
        ]
    ),
    value=DOCUMENTS,
)
def test_universe_of_anything_is_a_universe_or_one_typed_error(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], value: object
) -> None:
    file = write(tmp_path_factory.mktemp("any"), changed(path, value))
    try:
        universe = load_universe(file)
    except SettingsError as error:
        told = error.where
    else:
        assert isinstance(universe, Universe)
        told = str(file)
    assert str(file) in told
