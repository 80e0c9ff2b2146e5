"""Storage: what both tiers take, at the prices of the settings."""

import polars as pl
import psycopg

from trader_pipelines.platform import Platform
from trader_pipelines.stores.cold.usage import usage


def used(connection: psycopg.Connection, platform: Platform) -> pl.DataFrame:
    """Bytes and monthly cost by tier, venue, symbol and month, of schema `USAGE`."""
    settings = platform.settings
    return usage(connection, hot_price=settings.hot_price, cold_price=settings.cold_price)


def tiers(found: pl.DataFrame) -> pl.DataFrame:
    """Sums of `used` by tier."""
    return (
        found.group_by("tier")
        .agg(pl.col("trades", "bytes", "monthly_cost").sum())
        .with_columns(
            bytes_a_trade=pl.when(pl.col("trades") > 0).then(pl.col("bytes") / pl.col("trades"))
        )
        .sort("tier")
    )
