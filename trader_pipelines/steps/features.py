"""Features: the bars that they rest on, and what can be wrong with a stored day of them."""

import polars as pl
import psycopg

from trader_pipelines.core.features import audit, compute_features, feature_version
from trader_pipelines.core.sessions import previous_day
from trader_pipelines.platform import Platform
from trader_pipelines.steps.bars import MINUTE
from trader_pipelines.stores import datasets
from trader_pipelines.stores.datasets import Key
from trader_pipelines.stores.manifest import DatasetEntry

FEATURES_SET, LABELS_SET = "features", "labels"
LABELS_VERSION = "1"


def bars_of(
    connection: psycopg.Connection, platform: Platform, key: Key
) -> tuple[pl.DataFrame, pl.DataFrame | None, list[DatasetEntry]]:
    """Minute bars of a symbol's day, of the trading day before it, and their entries.

    Where there is no day before, there is no warm-up.
    """
    root = platform.cold
    calendar = platform.universe.venue(key.venue).calendar
    today = Key(MINUTE, key.venue, key.symbol, key.day)
    before = Key(MINUTE, key.venue, key.symbol, previous_day(calendar, key.day))
    bars, entry = datasets.get(connection, root, today)
    if datasets.find(connection, before) is None:
        return bars, None, [entry]
    warm_up, earlier = datasets.get(connection, root, before)
    return bars, warm_up, [earlier, entry]


def faults(connection: psycopg.Connection, platform: Platform, key: Key) -> list[str]:
    """What is wrong with a stored day of features; nothing when all is well."""
    frame, entry = datasets.get(connection, platform.cold, key)
    bars, warm_up, _ = bars_of(connection, platform, key)
    calendar = platform.universe.venue(key.venue).calendar
    found = [
        f"{name} holds {bad} values that are not finite"
        for name in frame.columns[1:]
        if (bad := int((~frame[name].is_finite()).sum()) + frame[name].null_count())
    ]
    if entry.code_version != feature_version():
        return [*found, f"built by features {entry.code_version}, this is {feature_version()}"]
    if not compute_features(bars, warm_up, calendar=calendar).equals(frame):
        found.append("the bars have changed since these features were built")
    return found + [str(leak) for leak in audit(bars, warm_up, calendar=calendar)]
