"""Ticks: hot in Postgres under a certificate, cold in Parquet once the copy is proven."""

from datetime import date

import dagster as dg

from trader_pipelines.core.certificates import Certificate, Status
from trader_pipelines.core.errors import TraderError
from trader_pipelines.core.instruments import VenueSpec
from trader_pipelines.core.trades import TRADES
from trader_pipelines.defs import partitions
from trader_pipelines.defs.healing import Ticks, bring
from trader_pipelines.defs.pictures import table
from trader_pipelines.defs.work import (
    MARKET_DATA,
    Symbols,
    checked,
    common,
    days,
    failure,
    has_partitions,
    listed,
    readable_failures,
    schema,
    tell,
)
from trader_pipelines.platform import Platform
from trader_pipelines.steps.compact import COLD_VERSION, compare, freeze
from trader_pipelines.steps.ticks import COLD, HOT_VERSION
from trader_pipelines.stores import manifest

GROUP = "ticks"

COLUMNS = {
    "id": "the venue's identity of the print; unique in a symbol",
    "ts_event": "the venue's clock, UTC",
    "price": "price times 10 to the power of the symbol's price scale, exact",
    "size": "base quantity times 10 to the power of the symbol's size scale, exact",
    "side": "the aggressor: 1 buyer, -1 seller, 0 not told",
    "fills": "single trades that the print stands for",
}


def ticks(
    venue: VenueSpec, retry: dg.RetryPolicy | None = None
) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Assets and checks of a venue's ticks."""
    origin = "synthetic" if venue.synthetic else venue.source
    shared = common(venue, GROUP, MARKET_DATA, partitions.daily(venue))
    metadata = {"dagster/column_schema": schema(TRADES, COLUMNS)}

    @dg.asset(
        name="hot_ticks",
        description=f"Trades of {venue.name} ({origin}) in Postgres, one certificate a symbol and "
        "day: complete, healed, or incomplete with the missing ranges named.",
        kinds={"postgres", origin.split("_")[0]},
        code_version=HOT_VERSION,
        retry_policy=retry,
        metadata=metadata,
        **shared,
    )
    def hot_ticks(
        context: dg.AssetExecutionContext, config: Ticks, platform: dg.ResourceParam[Platform]
    ) -> None:
        errors: list[TraderError] = []
        with readable_failures(), platform.connect() as connection:
            source = platform.venue(venue)
            done: dict[date, list[Certificate]] = {day: [] for day in days(context)}
            for day, instrument in listed(venue, context, config):
                try:
                    work = (connection, platform, venue, source, instrument, day)
                    certificate, unanswered = bring(*work, config, context.log.info)
                    done[day] += [certificate] if certificate else []
                    errors += unanswered
                except TraderError as error:
                    # The other symbols' trades are worth having; the run fails at its end.
                    context.log.error(f"{instrument.id} on {day}: {error}")
                    errors.append(error)
                if done[day] and instrument == venue.on(day, tuple(config.symbols))[-1]:
                    tell(
                        context,
                        platform,
                        day,
                        [_row(certificate) for certificate in done[day]],
                        count=sum(certificate.count for certificate in done[day]),
                        synthetic=venue.synthetic,
                    )
        if errors:
            raise failure(errors)

    @dg.asset(
        name=COLD,
        deps=[hot_ticks],
        description="The same trades as Parquet: written, read back, and matched with the "
        "certificate by count and content hash before the manifest names the file.",
        kinds={"parquet"},
        code_version=COLD_VERSION,
        metadata=metadata,
        **shared,
    )
    def cold_ticks(
        context: dg.AssetExecutionContext, config: Symbols, platform: dg.ResourceParam[Platform]
    ) -> None:
        with readable_failures(), platform.connect() as connection:
            for day in days(context):
                rows, count = [], 0
                for certificate in manifest.get_certificates(
                    connection, venue.name, symbols=config.symbols or None, first=day, last=day
                ):
                    instrument = venue.instrument(certificate.symbol)
                    entry = freeze(connection, platform, instrument, certificate)
                    count += entry.rows
                    rows.append(
                        {
                            "symbol": entry.symbol,
                            "trades": entry.rows,
                            "bytes": entry.bytes,
                            "bytes a trade": entry.bytes / max(entry.rows, 1),
                            "certificate": entry.status,
                            "file": entry.path.rsplit("/", 1)[-1],
                        }
                    )
                tell(context, platform, day, rows, count=count)

    @dg.asset_check(
        asset=hot_ticks,
        name="certificates_are_complete",
        blocking=True,
        description="Every symbol of the day's universe has a certificate. A missing one stops "
        "what is built on it; an incomplete one warns and names the missing ids.",
    )
    def certificates_are_complete(
        context: dg.AssetCheckExecutionContext,
        config: Symbols,
        platform: dg.ResourceParam[Platform],
    ) -> dg.AssetCheckResult:
        with readable_failures(), platform.connect() as connection:
            if not has_partitions(context):
                found = manifest.get_certificates(connection, venue.name)
                return certificates_result(found, [])
            wanted = list(listed(venue, context, config))
            span = days(context)
            found = manifest.get_certificates(
                connection,
                venue.name,
                symbols=config.symbols or None,
                first=min(span),
                last=max(span),
            )
            there = {(certificate.day, certificate.symbol) for certificate in found}
            lacking = [f"{i.symbol} on {day}" for day, i in wanted if (day, i.symbol) not in there]
            return certificates_result(found, lacking)

    @dg.asset_check(
        asset=cold_ticks,
        name="cold_equals_hot",
        blocking=True,
        description="The cold file holds what the hot table holds, by count and content hash: "
        "both are read again. Of a day that hot has let go of, it holds what was certified.",
    )
    def cold_equals_hot(
        context: dg.AssetCheckExecutionContext,
        config: Symbols,
        platform: dg.ResourceParam[Platform],
    ) -> dg.AssetCheckResult:
        compared, dropped, differing = 0, 0, []
        with readable_failures(), platform.connect() as connection:
            for day, instrument in checked(connection, venue, COLD, context, config):
                found = compare(connection, platform, instrument, day)
                compared += 1
                dropped += found.dropped
                if not found.equal:
                    differing.append(
                        {
                            "symbol": instrument.symbol,
                            "day": day.isoformat(),
                            "hot trades": found.hot.count,
                            "cold trades": found.cold.count,
                        }
                    )
        return dg.AssetCheckResult(
            passed=not differing,
            description=f"{compared} symbol-days compared, {len(differing)} differ"
            + (f"; of {dropped} hot has let go, cold is what was certified" if dropped else ""),
            metadata={
                "compared": compared,
                **({"let go by hot": dropped} if dropped else {}),
                "differing": table(differing),
            },
        )

    return [hot_ticks, cold_ticks, certificates_are_complete, cold_equals_hot]


def certificates_result(found: list[Certificate], lacking: list[str]) -> dg.AssetCheckResult:
    """What the check says: complete, or which ids, or which whole days are missing."""
    holes = [c for c in found if c.status is Status.INCOMPLETE]
    if lacking:
        said = f"no certificate for {', '.join(lacking[:5])}" + (" …" if len(lacking) > 5 else "")
    elif holes:
        said = "; ".join(f"{c.symbol} on {c.day} lacks {c.describe_missing()}" for c in holes[:5])
    else:
        said = f"{len(found)} certificates, all complete"
    return dg.AssetCheckResult(
        passed=not lacking and not holes,
        # A named hole warns and travels with what is built on the day; an unproven day stops it.
        severity=dg.AssetCheckSeverity.ERROR if lacking else dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "certificates": len(found),
            "incomplete": table([_row(certificate) for certificate in holes]),
            "without certificate": table([{"which": name} for name in lacking]),
        },
    )


def _row(certificate: Certificate) -> dict[str, object]:
    return {
        "symbol": certificate.symbol,
        "day": certificate.day.isoformat(),
        "trades": certificate.count,
        "first id": str(certificate.first_id),
        "last id": str(certificate.last_id),
        "certificate": str(certificate.status),
        "missing": certificate.describe_missing() or None,
        "source": certificate.source,
    }
