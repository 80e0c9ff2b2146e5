"""Models: a week's rows gathered, a candidate trained and kept, a champion crowned."""

import hashlib
from dataclasses import asdict
from datetime import date, timedelta

import polars as pl
import psycopg

from trader_pipelines.core.certificates import worst
from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.features import FEATURES, feature_version
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.learning.dataset import snapshot_hash, training_set
from trader_pipelines.core.learning.gate import decide
from trader_pipelines.core.learning.model import Model, Params, unseen_forecasts
from trader_pipelines.core.learning.scores import brier
from trader_pipelines.core.learning.training import train_candidate
from trader_pipelines.core.weeks import training_days
from trader_pipelines.platform import Platform
from trader_pipelines.steps.features import FEATURES_SET, LABELS_SET
from trader_pipelines.stores import datasets, manifest, model_files, models_table
from trader_pipelines.stores.datasets import POOL, Key, Lineage
from trader_pipelines.stores.manifest import DatasetEntry
from trader_pipelines.stores.models_table import Champion, ModelRow

TRAINING, FORECASTS = "training_set", "oos_forecasts"
TRAINING_VERSION, CANDIDATE_VERSION, CHAMPION_VERSION = "1", "1", "1"
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)


def collect(
    connection: psycopg.Connection,
    platform: Platform,
    venue: VenueSpec,
    week: date,
    symbols: tuple[str, ...],
) -> tuple[pl.DataFrame, DatasetEntry, list[date]]:
    """Gather and commit a week's training set; the frame, its entry, and the days it is made of."""
    root = platform.cold
    window = training_days(week, platform.settings.training_weeks, venue.calendar)
    frames: dict[str, dict[str, list[pl.DataFrame]]] = {}
    entries = {
        dataset: manifest.get_datasets(
            connection,
            dataset,
            venue.name,
            symbols=symbols or None,
            first=window[0],
            last=window[-1],
        )
        for dataset in (FEATURES_SET, LABELS_SET)
    }
    if not entries[FEATURES_SET] or not entries[LABELS_SET]:
        raise MissingDataError(
            f"there are no features and labels between {window[0]} and {window[-1]}",
            where=f"{venue.name}/{TRAINING} of the week of {week}",
            remedy=f"materialize {venue.name}/features and {venue.name}/labels of these days first",
        )
    for dataset, found in entries.items():
        for entry in found:
            if dataset == FEATURES_SET and entry.code_version != feature_version():
                raise MissingDataError(
                    f"features of {entry.symbol} on {entry.day} are of version "
                    f"{entry.code_version}; this code computes {feature_version()}",
                    where=f"{venue.name}/{TRAINING} of the week of {week}",
                    remedy=f"materialize {venue.name}/features of {window[0]}..{window[-1]} again",
                )
            key = Key(dataset, venue.name, entry.symbol, entry.day)
            by_symbol = frames.setdefault(dataset, {})
            by_symbol.setdefault(entry.symbol, []).append(datasets.get(connection, root, key)[0])
    joined = {
        dataset: {symbol: pl.concat(parts) for symbol, parts in by_symbol.items()}
        for dataset, by_symbol in frames.items()
    }
    frame = training_set(joined[FEATURES_SET], joined[LABELS_SET])
    every = [entry for found in entries.values() for entry in found]
    entry = datasets.put(
        connection,
        root,
        Key(TRAINING, venue.name, POOL, week),
        frame,
        Lineage(
            TRAINING_VERSION,
            worst(entry.status for entry in every),
            any(entry.synthetic for entry in every),
            {dataset: digest(found) for dataset, found in entries.items()},
        ),
        content_hash=snapshot_hash(frame, FEATURE_NAMES),
        metadata={"horizon_minutes": platform.settings.label_horizon},
    )
    return frame, entry, sorted({entry.day for entry in entries[FEATURES_SET]})


def train(
    connection: psycopg.Connection, platform: Platform, venue: VenueSpec, week: date
) -> tuple[ModelRow, pl.DataFrame]:
    """Train and keep a week's candidate; its row and its out-of-sample forecasts."""
    settings = platform.settings
    key = Key(TRAINING, venue.name, POOL, week)
    frame, snapshot = datasets.get(connection, platform.cold, key)
    candidate = train_candidate(
        frame,
        FEATURE_NAMES,
        Params(seed=settings.model_seed),
        feature_version=feature_version(),
        synthetic=snapshot.synthetic,
        calendar=venue.calendar,
    )
    sha256 = keep(connection, platform, candidate.model)
    row = ModelRow(
        version=candidate.model.version,
        venue=venue.name,
        week=week,
        snapshot_hash=candidate.model.snapshot,
        feature_version=candidate.model.feature_version,
        params={**asdict(candidate.model.params), **snapshot.metadata},
        scores=asdict(candidate.scores),
        path=model_files.path(settings.models_root, sha256).name,
        file_sha256=sha256,
        status=snapshot.status,
        synthetic=candidate.model.synthetic,
    )
    models_table.put_model(connection, row)
    datasets.put(
        connection,
        platform.cold,
        Key(FORECASTS, venue.name, POOL, week),
        candidate.oos,
        Lineage(
            CANDIDATE_VERSION, snapshot.status, snapshot.synthetic, {TRAINING: row.snapshot_hash}
        ),
        metadata={"model_version": row.version},
    )
    return row, candidate.oos


def keep(connection: psycopg.Connection, platform: Platform, model: Model) -> str:
    """Write a model's file and sweep away what a killed run left of it; its SHA-256."""
    root = platform.settings.models_root
    with connection.transaction():
        # Two trainers of one model go one after the other: a torn file is never a living one's.
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"model {model.version}",)
        )
        sha256 = model_files.save(model, root)
        for torn in root.glob(f".{model_files.path(root, sha256).name}.*.partial"):
            torn.unlink(missing_ok=True)
    return sha256


def crown(
    connection: psycopg.Connection, platform: Platform, venue: VenueSpec, week: date
) -> Champion:
    """Decide and keep which model speaks after `week`."""
    root = platform.cold
    forecasts, entry = datasets.get(connection, root, Key(FORECASTS, venue.name, POOL, week))
    candidate = str(entry.metadata["model_version"])
    reigning = models_table.get_champion(connection, venue.name, week - timedelta(weeks=1))
    theirs = None
    if reigning is not None and reigning.version not in (None, candidate):
        model = load(connection, platform, str(reigning.version))
        if model.feature_version == feature_version():
            key = Key(TRAINING, venue.name, POOL, week)
            theirs = unseen_forecasts(model, datasets.get(connection, root, key)[0])
    decision = decide(forecasts, theirs, calendar=venue.calendar)
    version, reason = None, decision.reason
    if decision.promote:
        version = candidate
    elif theirs is not None and reigning is not None and still_good(theirs, forecasts):
        version = reigning.version
        reason = f"{reason}; the champion of the week of {reigning.week} stays"
    champion = Champion(
        venue=venue.name,
        week=week,
        version=version,
        reason=reason,
        decision={
            name: value for name, value in decision.checks.items() if abs(value) < float("inf")
        },
    )
    models_table.put_champion(connection, champion)
    return champion


def still_good(theirs: pl.DataFrame, forecasts: pl.DataFrame) -> bool:
    """Whether a champion still beats the base rate on the rows that it had not seen."""
    both = forecasts.select("ts", "symbol", "up", "base").join(theirs, on=["ts", "symbol"])
    p, up, base = (both[name].cast(pl.Float64).to_numpy() for name in ("p", "up", "base"))
    return bool(both.height) and brier(p, up) < brier(base, up)


def load(connection: psycopg.Connection, platform: Platform, version: str) -> Model:
    """A model by its version.

    Raises
    ------
    MissingDataError, ModelFileError
    """
    row = models_table.get_model(connection, version)
    if row is None:
        raise MissingDataError(
            f"there is no model {version}",
            where="table models",
            remedy="materialize candidate_model and champion_model of its week again",
        )
    return model_files.load(platform.settings.models_root, row.file_sha256)


def digest(entries: list[DatasetEntry]) -> str:
    """One hash over many files, by day and symbol."""
    lines = [f"{entry.day} {entry.symbol} {entry.sha256}" for entry in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
