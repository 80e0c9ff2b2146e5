"""Signals: which model speaks on a day, and what it says."""

from datetime import date

import polars as pl
import psycopg

from trader_pipelines.core.bars import NS_PER_MINUTE
from trader_pipelines.core.certificates import Status, worst
from trader_pipelines.core.instruments import UTC_DAYS, VenueSpec
from trader_pipelines.core.learning.model import Model, predict
from trader_pipelines.core.sessions import day_bounds
from trader_pipelines.core.signals import SIGNALS, Provenance, make_signals
from trader_pipelines.core.weeks import champion_week
from trader_pipelines.platform import Platform
from trader_pipelines.steps.features import FEATURES_SET
from trader_pipelines.steps.models import load
from trader_pipelines.stores import datasets, manifest, models_table
from trader_pipelines.stores.datasets import Key, Lineage
from trader_pipelines.stores.models_table import ModelRow

SIGNALS_SET = "signals"
SIGNALS_VERSION = "1"


def champion(
    connection: psycopg.Connection,
    platform: Platform,
    venue: VenueSpec,
    day: date,
    loaded: dict[str, tuple[ModelRow, Model]],
) -> tuple[ModelRow, Model] | None:
    """The model that speaks on a day, from `loaded` if it is there; None without a champion."""
    crowned = models_table.get_champion(connection, venue.name, champion_week(day))
    if crowned is None or crowned.version is None:
        return None
    if crowned.version not in loaded:
        row = models_table.get_model(connection, crowned.version)
        assert row is not None, "a foreign key keeps a champion's model"
        loaded[crowned.version] = row, load(connection, platform, crowned.version)
    return loaded[crowned.version]


def speak(
    connection: psycopg.Connection,
    platform: Platform,
    key: Key,
    speaker: tuple[ModelRow, Model] | None,
) -> pl.DataFrame:
    """Make and keep the signals of one symbol and day."""
    root = platform.cold
    features, entry = datasets.get(
        connection, root, Key(FEATURES_SET, key.venue, key.symbol, key.day)
    )
    certificate = manifest.get_certificate(connection, key.venue, key.symbol, key.day)
    frame, status, synthetic, version = SIGNALS.to_frame(), entry.status, entry.synthetic, "none"
    if speaker is not None:
        row, model = speaker
        version = row.version
        horizon = int(row.params["horizon_minutes"])
        features = _decidable(features, platform.universe.venue(key.venue).calendar, key, horizon)
        status = worst((Status(entry.status), Status(row.status)))
        synthetic = entry.synthetic or row.synthetic
        frame = make_signals(
            predict(model, features),
            features["ts"],
            symbol=key.symbol,
            horizon_minutes=horizon,
            model_version=version,
            model_synthetic=row.synthetic,
            provenance=Provenance(
                certificate.source if certificate else "unknown",
                entry.synthetic,
                Status(status),
                entry.code_version,
            ),
        )
    lineage = Lineage(
        SIGNALS_VERSION, status, synthetic, {FEATURES_SET: entry.sha256, "model": version}
    )
    datasets.put(connection, root, key, frame, lineage)
    return frame


def _decidable(features: pl.DataFrame, calendar: str, key: Key, horizon: int) -> pl.DataFrame:
    """The moments from which a whole horizon fits into the session; all where markets never close.

    No label looks past a session's end, so no model can speak of what comes after it.
    """
    if calendar == UTC_DAYS:
        return features
    _, end = day_bounds(calendar, key.day)
    return features.filter(pl.col("ts").dt.epoch("ns") <= end - horizon * NS_PER_MINUTE)
