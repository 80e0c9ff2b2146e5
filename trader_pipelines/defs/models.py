"""Models: a week's training set, the candidate trained on it, and the champion that speaks next."""

import hashlib
from dataclasses import asdict
from datetime import date, timedelta

import dagster as dg
import polars as pl
import psycopg

from trader_pipelines.core.certificates import worst
from trader_pipelines.core.errors import MissingDataError
from trader_pipelines.core.features import FEATURES, feature_version
from trader_pipelines.core.features.compute import feature_schema
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.labels import LABELS
from trader_pipelines.core.learning.dataset import snapshot_hash, training_set
from trader_pipelines.core.learning.gate import decide
from trader_pipelines.core.learning.model import Model, Params, unseen_forecasts
from trader_pipelines.core.learning.scores import brier, reliability, score_by_symbol
from trader_pipelines.core.learning.training import train_candidate
from trader_pipelines.core.weeks import training_days
from trader_pipelines.defs import partitions
from trader_pipelines.defs.features import (
    FEATURE_COLUMNS,
    FEATURES_SET,
    LABEL_COLUMNS,
    LABELS_SET,
)
from trader_pipelines.defs.pictures import calibration, table
from trader_pipelines.defs.work import (
    RESEARCH,
    Symbols,
    common,
    days,
    readable_failures,
    schema,
    tell,
)
from trader_pipelines.platform import Platform
from trader_pipelines.stores import datasets, manifest, model_files, models_table
from trader_pipelines.stores.datasets import POOL, Key, Lineage
from trader_pipelines.stores.manifest import DatasetEntry
from trader_pipelines.stores.models_table import Champion, ModelRow

GROUP = "models"
TRAINING, FORECASTS = "training_set", "oos_forecasts"
TRAINING_VERSION, CANDIDATE_VERSION, CHAMPION_VERSION = "1", "1", "1"
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)

TRAINED_ON = {
    "ts": pl.Datetime("ns", "UTC"),
    "symbol": pl.String(),
    **{name: dtype for name, dtype in feature_schema().items() if name != "ts"},
    "up": pl.Int8(),
    "exit_return": LABELS["exit_return"],
    "ts_exit": LABELS["ts_exit"],
}
FORECAST = {
    "ts": pl.Datetime("ns", "UTC"),
    "symbol": pl.String(),
    "up": pl.Int8(),
    "p": pl.Float64(),
    "base": pl.Float64(),
    "fold": pl.Int32(),
}
CROWNED = {"venue": "text", "week": "date", "version": "text", "reason": "text", "decision": "json"}
COLUMNS = {
    **LABEL_COLUMNS,
    **FEATURE_COLUMNS,
    "symbol": "the symbol",
    "up": "1 up, 0 down; rows that went nowhere are left out",
    "p": "forecast probability of up, by a model that knew earlier days only",
    "base": "forecast of the base rate: the share of ups among the rows that model knew",
    "fold": "number of the walk-forward block",
    "venue": "the venue",
    "week": "the Monday of the week that was learned from",
    "version": "the model that speaks from the next week on, none when none deserves it",
    "reason": "why, for a person",
    "decision": "the figures that it was decided on, and their limits",
}


def models(venue: VenueSpec, training_weeks: int) -> list[dg.AssetsDefinition]:
    """The models of a venue, one of each a week."""
    shared = common(venue, GROUP, RESEARCH, partitions.weekly(venue))
    weeks_back = partitions.weeks_back(training_weeks)

    @dg.asset(
        name=TRAINING,
        kinds={"parquet", "polars"},
        code_version=TRAINING_VERSION,
        deps=[
            dg.AssetDep([venue.name, FEATURES_SET], partition_mapping=weeks_back),
            dg.AssetDep([venue.name, LABELS_SET], partition_mapping=weeks_back),
        ],
        description=f"Features beside what happened next, all symbols, of {training_weeks} weeks "
        "up to the end of this one; named by the hash of its content.",
        metadata={"dagster/column_schema": schema(TRAINED_ON, COLUMNS)},
        **shared,
    )
    def build_training_set(
        context: dg.AssetExecutionContext, config: Symbols, platform: dg.ResourceParam[Platform]
    ) -> None:
        with readable_failures(), platform.connect() as connection:
            for week in days(context):
                frame, entry, used = collect(
                    connection, platform, venue, week, tuple(config.symbols)
                )
                rows = [
                    {"symbol": name, "rows": part.height, "share up": part["up"].mean()}
                    for (name,), part in sorted(frame.group_by("symbol"), key=lambda kv: str(kv[0]))
                ]
                tell(
                    context,
                    platform,
                    week,
                    rows,
                    count=frame.height,
                    days=len(used),
                    first_day=str(used[0]),
                    last_day=str(used[-1]),
                    snapshot=str(entry.content_hash),
                    built_on=str(entry.status),
                )

    @dg.asset(
        name="candidate_model",
        kinds={"scikitlearn"},
        code_version=CANDIDATE_VERSION,
        deps=[build_training_set],
        description="Boosted trees on the training set, calibrated and judged by walk-forward "
        "forecasts of days that they had not seen. Its rows are these forecasts.",
        metadata={"dagster/column_schema": schema(FORECAST, COLUMNS)},
        **shared,
    )
    def candidate_model(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> None:
        with readable_failures(), platform.connect() as connection:
            for week in days(context):
                row, forecasts = train(connection, platform, venue, week)
                p, up = (forecasts[name].cast(pl.Float64).to_numpy() for name in ("p", "up"))
                bins = reliability(p, up).select("p_mean", "up_rate", "n").rows()
                by_symbol = score_by_symbol(forecasts).select(
                    "symbol", "n", "brier", "brier_base", "skill", "auc", "ece", "hit_rate"
                )
                tell(
                    context,
                    platform,
                    week,
                    by_symbol.to_dicts(),
                    count=forecasts.height,
                    model_version=row.version,
                    scores=table([dict(row.scores)]),
                    calibration=calibration(
                        bins, float(up.mean()), f"{venue.name} {row.version}, out of sample"
                    ),
                    synthetic=row.synthetic,
                )

    @dg.asset(
        name="champion_model",
        kinds={"postgres"},
        code_version=CHAMPION_VERSION,
        deps=[candidate_model],
        description="The model whose probabilities become signals from the next week on: the "
        "candidate if it beats the base-rate forecast, and the champion before it, out of sample.",
        metadata={"dagster/column_schema": schema(CROWNED, COLUMNS)},
        **shared,
    )
    def champion_model(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> None:
        with readable_failures(), platform.connect() as connection:
            for week in days(context):
                champion = crown(connection, platform, venue, week)
                figures = [{"check": k, "value": v} for k, v in champion.decision.items()]
                tell(
                    context,
                    platform,
                    week,
                    figures,
                    count=int(champion.version is not None),
                    champion=champion.version or "none",
                    reason=champion.reason,
                    synthetic=venue.synthetic,
                )

    return [build_training_set, candidate_model, champion_model]


def collect(
    connection: psycopg.Connection,
    platform: Platform,
    venue: VenueSpec,
    week: date,
    symbols: tuple[str, ...],
) -> tuple[pl.DataFrame, DatasetEntry, list[date]]:
    """Gather and commit a week's training set; the frame, its entry, and the days it is made of."""
    root = platform.settings.cold_root
    window = training_days(week, platform.settings.training_weeks)
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
    frame, snapshot = datasets.get(connection, settings.cold_root, key)
    candidate = train_candidate(
        frame,
        FEATURE_NAMES,
        Params(seed=settings.model_seed),
        feature_version=feature_version(),
        synthetic=snapshot.synthetic,
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
        settings.cold_root,
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
    root = platform.settings.cold_root
    forecasts, entry = datasets.get(connection, root, Key(FORECASTS, venue.name, POOL, week))
    candidate = str(entry.metadata["model_version"])
    reigning = models_table.get_champion(connection, venue.name, week - timedelta(weeks=1))
    theirs = None
    if reigning is not None and reigning.version not in (None, candidate):
        model = load(connection, platform, str(reigning.version))
        if model.feature_version == feature_version():
            key = Key(TRAINING, venue.name, POOL, week)
            theirs = unseen_forecasts(model, datasets.get(connection, root, key)[0])
    decision = decide(forecasts, theirs)
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
