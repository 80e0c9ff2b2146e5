"""Storage: what the tiers take, what hot may let go of, older cold files rewritten."""

from datetime import UTC, datetime

import dagster as dg
import polars as pl

from trader_pipelines.core.retention import Verdict
from trader_pipelines.defs.pictures import table
from trader_pipelines.defs.work import MARKET_DATA, readable_failures, schema
from trader_pipelines.platform import Platform
from trader_pipelines.steps import migrate_cold as migration
from trader_pipelines.steps.retain import Report, retain
from trader_pipelines.stores.cold.usage import USAGE

GROUP = "storage"
STORAGE_VERSION = "1"

#: Rows of a table that metadata carry; the whole is in the log or in `trader storage --json`.
_MOST_ROWS = 200

USAGE_COLUMNS = {
    "tier": "hot (Postgres) or cold (Parquet)",
    "venue": "whose trades",
    "symbol": "of which instrument",
    "month": "its first day",
    "trades": "kept in that tier",
    "bytes": "that they take there; of hot with its index",
    "bytes_a_trade": "bytes over trades",
    "monthly_cost": "bytes at the tier's price of a GB and month",
}
RETENTION = pl.Schema(
    {
        "venue": pl.String(),
        "symbol": pl.String(),
        "day": pl.Date(),
        "verdict": pl.String(),
        "why": pl.String(),
        "trades": pl.Int64(),
        "bytes": pl.Int64(),
    }
)
RETENTION_COLUMNS = {
    "venue": "whose trades",
    "symbol": "of which instrument",
    "day": "the partition",
    "verdict": "kept, goes, or refused: past the limits and not proven in cold",
    "why": "for a person",
    "trades": "in hot",
    "bytes": "that they take in hot, with the index",
}
MIGRATED = pl.Schema(
    {
        "dataset": pl.String(),
        "venue": pl.String(),
        "schema_version": pl.Int64(),
        "files": pl.Int64(),
        "bytes": pl.Int64(),
    }
)
MIGRATED_COLUMNS = {
    "dataset": "of which dataset",
    "venue": "of which venue",
    "schema_version": "the layout that the files had",
    "files": "rewritten",
    "bytes": "that they took",
}


class Limits(dg.Config):
    """How retention runs: with `dry_run` it proves and reports, and lets go of nothing."""

    dry_run: bool = False


def storage() -> dg.Definitions:
    """Assets that look after both tiers of all venues, and retention's schedule."""

    @dg.asset(
        key=[GROUP, "usage"],
        group_name=GROUP,
        owners=[MARKET_DATA],
        kinds={"postgres", "parquet"},
        code_version=STORAGE_VERSION,
        metadata={"dagster/column_schema": schema(USAGE, USAGE_COLUMNS)},
        description="Bytes by tier, venue, symbol and month, bytes a trade, and what they cost a "
        "month at TRADER_HOT_PRICE and TRADER_COLD_PRICE.",
    )
    def usage(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
        from trader_pipelines.steps.storage import tiers, used

        with readable_failures(), platform.connect() as connection:
            found = used(connection, platform)
        context.add_output_metadata(
            {
                "dagster/row_count": found.height,
                "by tier": table(tiers(found).to_dicts()),
                "by symbol and month": table(found.head(_MOST_ROWS).to_dicts()),
                "bytes": int(found["bytes"].sum()),
                "monthly cost": float(found["monthly_cost"].sum()),
            }
        )

    @dg.asset(
        key=[GROUP, "retention"],
        group_name=GROUP,
        owners=[MARKET_DATA],
        kinds={"postgres", "parquet"},
        code_version=STORAGE_VERSION,
        metadata={"dagster/column_schema": schema(RETENTION, RETENTION_COLUMNS)},
        description="Lets hot go of days that are beyond TRADER_HOT_DAYS or TRADER_HOT_BYTES, once "
        "their cold file was read back just now and matched with the certificate. Refuses what is "
        "not proven, and says why. Removes cold files superseded for TRADER_COLD_HISTORY_DAYS.",
    )
    def retention(
        context: dg.AssetExecutionContext, config: Limits, platform: dg.ResourceParam[Platform]
    ) -> None:
        with readable_failures(), platform.connect() as connection:
            report = retain(
                connection,
                platform,
                now=datetime.now(UTC),
                dry_run=config.dry_run,
                told=lambda one: context.log.info(
                    f"{one.verdict}: {one.holding.symbol} on {one.holding.day}, {one.why}"
                ),
            )
        context.add_output_metadata(outcome(report, dry_run=config.dry_run))

    @dg.asset(
        key=[GROUP, "migration"],
        group_name=GROUP,
        owners=[MARKET_DATA],
        kinds={"parquet"},
        code_version=STORAGE_VERSION,
        metadata={"dagster/column_schema": schema(MIGRATED, MIGRATED_COLUMNS)},
        description="Rewrites cold files of older layouts, each read back before it counts; run "
        "again it goes on where it stopped. Readers are not disturbed.",
    )
    def migrated(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
        with readable_failures(), platform.connect() as connection:
            before = migration.waiting(connection)
            total = sum(one.files for one in before)
            done = 0

            def told(key: object) -> None:
                nonlocal done
                done += 1
                platform.progress("migration", f"{done} of {total}")
                context.log.info(f"{done} of {total}: {key}")

            count, swept = migration.migrate_cold(connection, platform, told=told)
        rows = [{name: getattr(one, name) for name in MIGRATED} for one in before]
        context.add_output_metadata(
            {
                "rewritten": count,
                "of older layouts": table(rows),
                "swept": table([{"file": path} for path in swept[:_MOST_ROWS]]),
            }
        )

    daily = dg.ScheduleDefinition(
        name="storage_retention_daily",
        job=dg.define_asset_job(
            "storage_retention",
            selection=dg.AssetSelection.assets(retention, usage),
            description="Hot lets go of what is proven in cold and beyond the limits.",
        ),
        cron_schedule="30 10 * * *",
        execution_timezone="UTC",
        description="Applies the limits of TRADER_HOT_DAYS and TRADER_HOT_BYTES once a day.",
    )
    return dg.Definitions(assets=[usage, retention, migrated], schedules=[daily])


def outcome(report: Report, *, dry_run: bool) -> dict[str, dg.MetadataValue | int | str | bool]:
    """Metadata of a retention run: what went or would go, and what was refused and why."""

    def rows(verdict: Verdict) -> dg.MetadataValue:
        return table(
            [
                {
                    "venue": one.holding.venue,
                    "symbol": one.holding.symbol,
                    "day": one.holding.day.isoformat(),
                    "trades": one.holding.trades,
                    "bytes": one.holding.bytes,
                    "why": one.why,
                }
                for one in report.of(verdict)[:_MOST_ROWS]
            ]
        )

    going = report.of(Verdict.GOES)
    return {
        "dry run": dry_run,
        "would go" if dry_run else "went": rows(Verdict.GOES),
        "refused": rows(Verdict.REFUSED),
        "kept": len(report.of(Verdict.KEPT)),
        "bytes let go": sum(one.holding.bytes for one in going),
        "days emptied": ", ".join(map(str, report.partitions)) or "-",
        "superseded files removed": table([{"file": p} for p in report.forgotten[:_MOST_ROWS]]),
        "orphans removed": table([{"file": path} for path in report.swept[:_MOST_ROWS]]),
    }
