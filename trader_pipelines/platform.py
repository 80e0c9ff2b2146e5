"""The parts that this machine runs on, opened from the settings when they are first needed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import Universe, VenueSpec
from trader_pipelines.settings import Settings, load_settings, load_universe, variable
from trader_pipelines.venues.base import Venue

if TYPE_CHECKING:
    import psycopg


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
            from trader_pipelines.venues.binance import Binance

            return Binance(spec.name, self.settings.binance_url)
        if spec.source == "ccxt":
            from trader_pipelines.venues.ccxt_capabilities import capabilities
            from trader_pipelines.venues.ccxt_venue import CcxtVenue

            exchange = str(spec.options["exchange"])
            can = capabilities(exchange, spec.options.get("capabilities", {}))
            return CcxtVenue(can, spec.name)
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

    @property
    def cold(self) -> Path:
        """Where the Parquet files are kept."""
        return self.settings.cold_root


#: Databases whose schema this process has checked.
_PREPARED: set[str] = set()
