"""What the tiers take: bytes by tier, venue, symbol and month, bytes a trade, monthly cost."""

from decimal import Decimal

import polars as pl
import psycopg

GB = 10**9

#: One row a tier, venue, symbol and month (its first day). A tier of its own, `superseded`, are the
#: cold files that are kept for the past.
USAGE = pl.Schema(
    {
        "tier": pl.String(),
        "venue": pl.String(),
        "symbol": pl.String(),
        "month": pl.Date(),
        "trades": pl.Int64(),
        "bytes": pl.Int64(),
        "bytes_a_trade": pl.Float64(),
        "monthly_cost": pl.Float64(),
    }
)

# A partition's size is shared out by its rows; planner statistics would lag behind.
_HOT = """
    with symbol_days as (
        select h.tableoid, i.venue, i.symbol, h.day, count(*) as trades
        from hot_ticks h join instruments i using (instrument_id) group by 1, 2, 3, 4
    )
    select 'hot', venue, symbol, date_trunc('month', day)::date, sum(trades)::int8,
        sum(round(pg_total_relation_size(tableoid) * trades / whole))::int8
    from (select *, sum(trades) over (partition by tableoid) as whole from symbol_days) s
    group by 2, 3, 4
"""
_COLD = """
    select 'cold', venue, symbol, date_trunc('month', day)::date, sum(rows)::int8,
        sum(bytes)::int8
    from datasets where dataset = 'cold_ticks' group by 2, 3, 4
    union all
    select 'superseded', venue, symbol, date_trunc('month', day)::date, sum(rows)::int8,
        sum(bytes)::int8
    from dataset_history where dataset = 'cold_ticks' group by 2, 3, 4
"""


def usage(
    connection: psycopg.Connection, *, hot_price: Decimal, cold_price: Decimal
) -> pl.DataFrame:
    """Bytes and cost of the ticks in both tiers.

    Parameters
    ----------
    hot_price, cold_price : Decimal
        Of 10**9 bytes for a month, in any currency.

    Returns
    -------
    DataFrame
        Of schema `USAGE`, by tier, venue, symbol and month. Cold and superseded bytes are those
        that the manifest names; hot ones include the index and are shared out by rows within a
        partition.
    """
    rows = [*connection.execute(_COLD).fetchall(), *connection.execute(_HOT).fetchall()]
    names = ["tier", "venue", "symbol", "month", "trades", "bytes"]
    frame = pl.DataFrame(rows, {name: USAGE[name] for name in names}, orient="row")
    price = pl.when(pl.col("tier") == "hot").then(float(hot_price)).otherwise(float(cold_price))
    return frame.with_columns(
        bytes_a_trade=pl.when(pl.col("trades") > 0).then(pl.col("bytes") / pl.col("trades")),
        monthly_cost=pl.col("bytes") / GB * price,
    ).sort("tier", "venue", "symbol", "month")
