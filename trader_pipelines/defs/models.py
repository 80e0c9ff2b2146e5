"""Models: a week's training set, the candidate trained on it, and the champion that speaks next."""

import dagster as dg
import polars as pl

from trader_pipelines.core.features.compute import feature_schema
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.labels import LABELS
from trader_pipelines.core.learning.scores import reliability, score_by_symbol
from trader_pipelines.defs import partitions
from trader_pipelines.defs.features import FEATURE_COLUMNS, LABEL_COLUMNS
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
from trader_pipelines.steps.features import FEATURES_SET, LABELS_SET
from trader_pipelines.steps.models import (
    CANDIDATE_VERSION,
    CHAMPION_VERSION,
    TRAINING,
    TRAINING_VERSION,
    collect,
    crown,
    train,
)

GROUP = "models"

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
                by_symbol = score_by_symbol(forecasts, calendar=venue.calendar).select(
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
