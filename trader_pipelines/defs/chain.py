"""A venue's chain, from its trades to its signals: every venue has one of its own."""

import dagster as dg

from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.defs import narrowing
from trader_pipelines.defs.automation import automation, jobs
from trader_pipelines.defs.bars import bars
from trader_pipelines.defs.features import features
from trader_pipelines.defs.healing import days_join, healing, rechecking
from trader_pipelines.defs.models import models
from trader_pipelines.defs.rebuilding import rebuilding
from trader_pipelines.defs.signals import signals
from trader_pipelines.defs.ticks import ticks


def chain(venue: VenueSpec, training_weeks: int, retry: dg.RetryPolicy | None) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of one venue."""
    made = [
        *ticks(venue, retry),
        days_join(venue),
        *bars(venue),
        *features(venue),
        *models(venue, training_weeks),
        *signals(venue),
    ]
    own = jobs(venue)
    narrowable = narrowing.steps(made)
    return dg.Definitions(
        assets=[one for one in made if not isinstance(one, dg.AssetChecksDefinition)],
        asset_checks=[one for one in made if isinstance(one, dg.AssetChecksDefinition)],
        jobs=list(own.values()),
        schedules=[*automation(venue, own), rechecking(venue, own, narrowable)],
        sensors=[*rebuilding(venue, own, narrowable), healing(venue, own, narrowable)],
    )
