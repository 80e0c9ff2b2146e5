"""The one entry point of Dagster: `defs`."""

import warnings

import dagster as dg

from trader_pipelines.defs.chain import chain
from trader_pipelines.defs.storage import storage
from trader_pipelines.platform import Platform


def definitions(platform: Platform) -> dg.Definitions:
    """Everything the code location holds: one chain for each venue of the universe."""
    settings = platform.settings
    # Of a venue only: what may pass by itself says so, and a wrong key is not asked with twice.
    retry = dg.RetryPolicy(
        max_retries=settings.retries,
        delay=settings.retry_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
    # Backfill policies and early partitions are marked beta; tests hold what we rely on.
    warnings.simplefilter("ignore", dg.BetaWarning)
    return dg.Definitions.merge(
        *(
            chain(venue, settings.training_weeks, retry if settings.retries else None)
            for venue in platform.universe.venues.values()
        ),
        storage(),
        # One process a run: a step costs 0.1 s instead of 2 s, and what a day needs fits in memory.
        dg.Definitions(resources={"platform": platform}, executor=dg.in_process_executor),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location, from the settings and the universe as they are when Dagster loads it."""
    return definitions(Platform())
