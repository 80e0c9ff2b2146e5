"""The parts that this machine runs on, opened from the settings when they are first needed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import Instrument, Universe, VenueSpec
from trader_pipelines.settings import Settings, load_settings, load_universe, variable
from trader_pipelines.venues.base import Healer, Venue

if TYPE_CHECKING:
    import psycopg

    from trader_pipelines.collector.source import Source
    from trader_pipelines.stores.cold.backend import Backend
    from trader_pipelines.venues.alpaca import Alpaca
    from trader_pipelines.venues.binance import Binance
    from trader_pipelines.venues.stream_alpaca import AlpacaFeed


def _no_progress(stage: str, done: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Platform:
    """Settings and what they open; nothing is read, started or connected before it is asked for.

    Parameters
    ----------
    overrides : mapping
        Settings that win over the environment.
    progress : callable
        Told of every finished partition: the stage's name and the partition.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    progress: Callable[[str, str], None] = _no_progress

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once."""
        return load_settings(**self.overrides)

    @cached_property
    def universe(self) -> Universe:
        """Venues and symbols, read once."""
        return load_universe(self.settings.universe)

    @contextmanager
    def connect(self) -> "Iterator[psycopg.Connection]":
        """A connection to the database, which is started and given its tables when need be.

        Statements commit by themselves; what belongs together goes into ``transaction()``.
        """
        from trader_pipelines.stores import database

        url = self.database_url()
        if url not in _PREPARED:
            database.prepare(url)
            _PREPARED.add(url)
        with database.connect(url) as connection, database.typed_errors(url):
            connection.autocommit = True
            yield connection

    def database_url(self) -> str:
        """Address of the database, a secret; starts the embedded one when none is set."""
        if self.settings.database_url is not None:
            return self.settings.database_url.get_secret_value()
        from trader_pipelines.stores import embedded

        return embedded.start(self.settings.home, self.settings.postgres_bin).url

    def venue(self, spec: VenueSpec) -> Venue:
        """The source of a venue's trades."""
        if spec.source == "synthetic":
            from trader_pipelines.venues.synthetic import Synthetic

            return Synthetic(
                seed=self.settings.synthetic_seed,
                effect=self.settings.synthetic_effect,
                trades_per_day=self.settings.synthetic_trades,
                name=spec.name,
            )
        if spec.source == "binance_archive":
            from trader_pipelines.venues.archive import BinanceArchive

            return BinanceArchive(self.settings.archive_url, name=spec.name)
        if spec.source == "binance_rest":
            return self.binance(spec)
        if spec.source == "ccxt":
            from trader_pipelines.venues.ccxt_capabilities import capabilities
            from trader_pipelines.venues.ccxt_venue import CcxtVenue

            exchange = str(spec.options["exchange"])
            can = capabilities(exchange, spec.options.get("capabilities", {}))
            url = str(spec.options.get("url", ""))
            return CcxtVenue(can, spec.name, url=url, spool=self.settings.home / "spool")
        from trader_pipelines.venues.alpaca import Alpaca

        key, secret = self.alpaca_keys(needed=spec.source == "alpaca")
        return Alpaca(
            spec.name,
            key,
            secret,
            self.settings.alpaca_base_url,
            crypto=spec.source == "alpaca_crypto",
            feed=self.settings.alpaca_feed,
            paper=self.settings.alpaca_paper,
            spool=self.settings.home / "spool",
            limit=self.settings.alpaca_requests,
        )

    def live(self, spec: VenueSpec) -> "Source":
        """What the live collector has of a venue that counts its trades: stream and REST.

        Raises
        ------
        SettingsError
            When the venue's source has no such stream.
        """
        if spec.source not in ("binance_archive", "binance_rest"):
            raise SettingsError(
                f"venue {spec.name!r} has no live stream: its source is {spec.source!r}",
                where=f"universe, venues.{spec.name}.source",
                remedy="collect a venue whose source is one of Binance's or Alpaca's",
            )
        import polars as pl

        from trader_pipelines.collector.source import Source
        from trader_pipelines.core.trades import TRADES
        from trader_pipelines.venues.days import utc_today
        from trader_pipelines.venues.patience import Patience
        from trader_pipelines.venues.stream_binance import BinanceFeed

        # The collector asks again by itself, and other symbols meanwhile.
        brief = Patience(attempts=2, longest_wait=1.0, timeout=10.0)
        rest = self.binance(spec, patience=brief)

        def refill(instrument: Instrument, first: int, last: int) -> pl.DataFrame:
            return pl.concat([TRADES.to_frame(), *rest.fetch_ids(instrument, first, last)])

        def begin(instrument: Instrument) -> int:
            rest.check_clock()
            return rest.first_id(instrument, utc_today())

        return Source(BinanceFeed(self.settings.binance_stream_url, spec.name), refill, begin)

    def live_windows(
        self, spec: VenueSpec, *, silence: float = 30.0
    ) -> "tuple[AlpacaFeed, Alpaca]":
        """What the live collector has of a venue that does not count its trades: stream and REST.

        Parameters
        ----------
        silence : float
            Seconds without any answer after which the stream is opened again.

        Raises
        ------
        SettingsError
            When a key is needed and not set.
        """
        from trader_pipelines.venues.alpaca import Alpaca
        from trader_pipelines.venues.patience import Patience
        from trader_pipelines.venues.stream_alpaca import ALPACA_STREAM, AlpacaFeed

        settings, crypto = self.settings, spec.source == "alpaca_crypto"
        key, secret = self.alpaca_keys(needed=True)
        url = settings.alpaca_stream_url or ALPACA_STREAM
        rest = Alpaca(
            spec.name,
            key,
            secret,
            settings.alpaca_base_url,
            crypto=crypto,
            feed=settings.alpaca_feed,
            paper=settings.alpaca_paper,
            limit=settings.alpaca_requests,
            # The collector asks again by itself, and other symbols meanwhile.
            patience=Patience(attempts=2, longest_wait=1.0, timeout=10.0),
        )
        feed = AlpacaFeed(
            spec.name, key, secret, url.rstrip("/"), crypto, settings.alpaca_feed, silence
        )
        return feed, rest

    def binance(self, spec: VenueSpec, **more: Any) -> "Binance":
        """Binance's REST API under the name of a venue that has it."""
        from trader_pipelines.venues.binance import Binance

        home = self.settings.home
        more = {"spool": home / "spool", "bans": home / "bans", **more}
        return Binance(spec.name, self.settings.binance_url, **more)

    def healers(self, spec: VenueSpec) -> dict[str, Healer]:
        """Sources that are asked for a venue's missing ids, in that order, by what they are called.

        Empty for a venue whose ids do not count: its days can only be fetched again, whole.
        """
        if spec.source in ("binance_rest", "binance_archive"):
            from trader_pipelines.venues.archive import BinanceArchive

            return {
                "rest": self.binance(spec),
                "archive": BinanceArchive(self.settings.archive_url, name=spec.name),
            }
        source = self.venue(spec)
        if isinstance(source, Healer) and source.sequential_ids:
            return {"rest": source}
        return {}

    def alpaca_keys(self, *, needed: bool) -> tuple[str, str]:
        """Alpaca's key and secret, empty where there are none.

        Raises
        ------
        SettingsError
            When they are needed and one is not set.
        """
        found = {}
        for name in ("alpaca_api_key", "alpaca_api_secret"):
            value = getattr(self.settings, name)
            found[name] = value.get_secret_value() if value is not None else ""
            if needed and not found[name]:
                raise SettingsError(
                    f"{variable(name)} is not set, and Alpaca gives equities to accounts only",
                    where=f"environment, {variable(name)}",
                    remedy="set ALPACA_API_KEY and ALPACA_API_SECRET; a paper account's will do",
                )
        return found["alpaca_api_key"], found["alpaca_api_secret"]

    @cached_property
    def cold(self) -> "Backend":
        """Where the Parquet files are kept; nothing is asked of it yet."""
        from trader_pipelines.stores.cold.opening import open_backend

        return open_backend(self.settings.cold_place)


#: Databases whose schema this process has checked.
_PREPARED: set[str] = set()
