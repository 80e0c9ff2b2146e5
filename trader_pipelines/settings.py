"""Typed settings: `TRADER_*` from the environment, venues and symbols from a universe file."""

import os
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trader_pipelines.core.errors import SettingsError
from trader_pipelines.core.instruments import UTC_DAYS, Instrument, Universe, VenueSpec

PREFIX = "TRADER_"
PACKAGED_UNIVERSE = Path(__file__).with_name("universe.yaml")

#: `TRADER_*` names that other parts of the project read (the tests' tapes).
_FOREIGN = {"TRADER_MARKET_DATA"}
_SECRET = {"database_url", "ALPACA_API_KEY", "ALPACA_API_SECRET"}


def _cold_place(url: str) -> str:
    known = "://" not in url or url.startswith(("file:///", "az://"))
    if not known or re.fullmatch(r"az:/*", url):
        raise ValueError("only a folder, file:///… or az://container/prefix is supported")
    if "?" in url:
        raise ValueError("credentials belong into AZURE_STORAGE_…, not into the address")
    return url


class Settings(BaseSettings):
    """Everything that can be set, with the embedded default of each part."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, populate_by_name=True
    )

    home: Path = Field(default=Path(".trader"), description="Where everything embedded is kept")
    universe: Path = Field(default=PACKAGED_UNIVERSE, description="Venues and symbols")
    database_url: SecretStr | None = Field(
        default=None, description="Postgres or TimescaleDB in place of the embedded one"
    )
    postgres_bin: Path | None = Field(
        default=None, description="Folder of Postgres binaries for the embedded server"
    )
    cold_url: Annotated[str, AfterValidator(_cold_place)] | None = Field(
        default=None,
        description="Place of the Parquet files (`HOME/cold`): a folder or `az://container/prefix`",
    )
    archive_url: str = Field(
        default="https://data.binance.vision",
        description="Folder or http(s) base of the trade archive",
    )
    binance_url: str | None = Field(
        default=None, description="Base of Binance's REST API in place of its own"
    )
    binance_stream_url: str = Field(
        default="wss://stream.binance.com:9443/ws", description="Binance's websocket of trades"
    )
    alpaca_api_key: SecretStr | None = Field(
        default=None, validation_alias="ALPACA_API_KEY", description="Key of an Alpaca account"
    )
    alpaca_api_secret: SecretStr | None = Field(
        default=None, validation_alias="ALPACA_API_SECRET", description="Its secret"
    )
    alpaca_base_url: str | None = Field(
        default=None,
        validation_alias="ALPACA_BASE_URL",
        description="Base of Alpaca's APIs in place of its own",
    )
    alpaca_stream_url: str | None = Field(
        default=None, description="Base of Alpaca's websockets in place of its own"
    )
    alpaca_feed: Literal["sip", "iex"] = Field(
        default="sip", description="Equities of all exchanges (`sip`, by subscription) or of `iex`"
    )
    alpaca_paper: bool = Field(default=True, description="Whether the key is of a paper account")
    alpaca_requests: int = Field(
        default=200, ge=1, le=10_000, description="Requests a minute that Alpaca's plan allows"
    )
    hot_days: int | None = Field(
        default=None, ge=1, description="Days that hot keeps once cold has them; unset: all"
    )
    hot_bytes: int | None = Field(
        default=None, ge=0, description="Bytes that hot keeps once cold has them; unset: all"
    )
    cold_history_days: int | None = Field(
        default=None, ge=1, description="Days that superseded cold files are kept; unset: for ever"
    )
    hot_price: Decimal = Field(
        default=Decimal("0.115"), ge=0, description="Price of a GB in hot for a month"
    )
    cold_price: Decimal = Field(
        default=Decimal("0.02"), ge=0, description="Price of a GB in cold for a month"
    )
    heal_again_hours: float = Field(
        default=24, gt=0, description="Hours until trades that no source has are asked for again"
    )
    recheck_days: int = Field(
        default=3, ge=1, le=60, description="Closed days that are held against the venue's bars"
    )
    synthetic_seed: int = Field(default=7, ge=0, description="Seed of the synthetic market")
    synthetic_effect: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="Strength of its order-flow effect; 0 is unpredictable",
    )
    synthetic_trades: int = Field(
        default=10_000, ge=100, le=5_000_000, description="Its trades a symbol and day, about"
    )
    label_horizon: int = Field(
        default=15, ge=1, le=720, description="Minutes to a label's time barrier"
    )
    label_width: float = Field(
        default=1.0, gt=0, le=20, description="Barriers, in volatilities over the horizon"
    )
    label_look_back: int = Field(
        default=60, ge=5, le=720, description="Bars of the labels' volatility"
    )
    retries: int = Field(
        default=3,
        ge=0,
        le=20,
        description="Tries of a fetch that may pass by itself, after the first",
    )
    retry_seconds: float = Field(
        default=60.0, gt=0, description="Seconds until the first of them; each waits twice as long"
    )
    training_weeks: int = Field(
        default=4, ge=1, le=52, description="Weeks of days a model learns from"
    )
    model_seed: int = Field(default=7, ge=0, description="Seed of the model's fit")

    @property
    def cold_place(self) -> str:
        """Address of the Parquet files."""
        return self.cold_url if self.cold_url is not None else str(self.home / "cold")

    @property
    def cold_root(self) -> Path:
        """Folder of the Parquet files, where they lie in one."""
        if self.cold_place.startswith("az://"):
            raise SettingsError(
                "the Parquet files do not lie in a folder",
                where="environment, TRADER_COLD_URL",
                remedy="use a folder here, or ask the cold store itself",
            )
        return Path(self.cold_place.removeprefix("file://"))

    @property
    def models_root(self) -> Path:
        """Folder of the model files."""
        return self.home / "models"

    @property
    def dagster_home(self) -> Path:
        """Folder of the Dagster instance that `trader demo` and `make ui` share."""
        return self.home / "dagster"


def variable(field: str) -> str:
    """Name of the environment variable that sets a field."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, now.

    Parameters
    ----------
    **overrides
        Field values that win over the environment.

    Raises
    ------
    SettingsError
        Naming the variable, its value (unless it is a secret) and the remedy.
    """
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | _FOREIGN:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise SettingsError(
                f"there is no setting {name}",
                where=f"environment, {name}",
                remedy=f"unset or rename it; {hint}",
            )
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = str(first["loc"][0])
        value = repr(first["input"])
        # After the "?" of an address stands a signature.
        value = "(secret)" if key in _SECRET or (key == "cold_url" and "?" in value) else value
        by_name = {variable(name): field for name, field in Settings.model_fields.items()}
        name = key if key in by_name else f"{PREFIX}{key.upper()}"
        about = by_name[name].description if name in by_name else ""
        raise SettingsError(
            f"{key} = {value}: {first['msg']}",
            where=f"environment, {name}",
            remedy=f"set it to a valid value or unset it ({about})",
        ) from None


def load_universe(path: Path = PACKAGED_UNIVERSE) -> Universe:
    """Read venues and symbols from a YAML file.

    Raises
    ------
    SettingsError
        Naming the file, the key, the value and the remedy.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the universe file cannot be read: {error.strerror}",
            where=str(path),
            remedy="point TRADER_UNIVERSE at a readable file, or unset it for the packaged one",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(
            f"not YAML: {getattr(error, 'problem', None) or 'unreadable text'}",
            where=f"{path}{line}",
            remedy="mend the line",
        ) from None
    venues = _mapping(document, "venues", path, {"venues"})
    return Universe({str(name): _venue(str(name), spec, path) for name, spec in venues.items()})


#: What a source's trading days are.
_SOURCES = {
    "synthetic": UTC_DAYS,
    "binance_archive": UTC_DAYS,
    "binance_rest": UTC_DAYS,
    "alpaca": "XNYS",
    "alpaca_crypto": UTC_DAYS,
    "ccxt": UTC_DAYS,
}
_SYMBOL_KEYS = {"since", "until", "tick_size", "lot_size", "dollar_bar"}


def _wrong(path: Path, key: str, value: object, remedy: str) -> SettingsError:
    return SettingsError(f"{key} = {value!r}", where=f"{path}, {key}", remedy=remedy)


def _mapping(holder: Any, key: str, path: Path, allowed: set[str]) -> Mapping[Any, Any]:
    name = key.rsplit(".", 1)[-1]
    if not isinstance(holder, Mapping):
        raise _wrong(path, key, holder, f"write a mapping with the key {name!r}")
    for extra in holder:
        if extra not in allowed:
            parent = key.rsplit(".", 1)[0] + "." if "." in key else ""
            raise _wrong(
                path, f"{parent}{extra}", holder[extra], f"known keys: {', '.join(sorted(allowed))}"
            )
    value = holder.get(name)
    if not isinstance(value, Mapping) or not value:
        raise _wrong(path, key, value, "write a mapping with at least one entry")
    return value


def _venue(name: str, spec: Any, path: Path) -> VenueSpec:
    key = f"venues.{name}"
    if not name.isidentifier() or name != name.lower():
        raise _wrong(path, key, name, "a venue's name is lower case letters, digits and _")
    source = spec.get("source") if isinstance(spec, Mapping) else None
    options = {"exchange", "capabilities", "url"} if source == "ccxt" else set()
    symbols = _mapping(spec, f"{key}.symbols", path, {"source", "symbols", *options})
    if source not in _SOURCES:
        raise _wrong(path, f"{key}.source", source, f"one of: {', '.join(_SOURCES)}")
    told = {name: spec[name] for name in sorted(options) if name in spec}
    if source == "ccxt":
        _check_exchange(told, key, path)
    instruments = {
        str(symbol): _instrument(name, str(symbol), row, path) for symbol, row in symbols.items()
    }
    return VenueSpec(
        name, source, source == "synthetic", instruments, _SOURCES[source], options=told
    )


def _check_exchange(told: Mapping[str, Any], key: str, path: Path) -> None:
    from trader_pipelines.venues.ccxt_capabilities import capabilities

    exchange, stated = told.get("exchange"), told.get("capabilities", {})
    if not isinstance(exchange, str) or not exchange.isidentifier():
        raise _wrong(path, f"{key}.exchange", exchange, "ccxt's name of an exchange: kraken")
    url = told.get("url", "https://")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise _wrong(path, f"{key}.url", url, "scheme and host of its API: https://api.kraken.com")
    try:
        capabilities(exchange, stated)
    except ValueError as error:
        raise _wrong(path, f"{key}.capabilities", stated, str(error)) from None


def _instrument(venue: str, symbol: str, row: Any, path: Path) -> Instrument:
    key = f"venues.{venue}.symbols.{symbol}"
    # A class of shares has a point: BRK.B.
    if not symbol.replace(".", "").isalnum() or symbol != symbol.upper() or symbol[0] == ".":
        raise _wrong(path, key, symbol, "a symbol is upper case letters, digits and points")
    if not isinstance(row, Mapping):
        raise _wrong(path, key, row, "write since, tick_size and lot_size")
    for extra in row:
        if extra not in _SYMBOL_KEYS:
            raise _wrong(
                path,
                f"{key}.{extra}",
                row[extra],
                f"known keys: {', '.join(sorted(_SYMBOL_KEYS))}",
            )
    since = _day(row, "since", key, path)
    until = _day(row, "until", key, path) if row.get("until") is not None else None
    if until is not None and until < since:
        raise _wrong(path, f"{key}.until", until.isoformat(), f"not before since ({since})")
    return Instrument(
        venue,
        symbol,
        tick_size=_step(row, "tick_size", key, path),
        lot_size=_step(row, "lot_size", key, path),
        since=since,
        until=until,
        dollar_bar=_step({"dollar_bar": 1_000_000, **row}, "dollar_bar", key, path),
    )


def _day(row: Mapping[Any, Any], name: str, key: str, path: Path) -> date:
    value = row.get(name)
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise _wrong(path, f"{key}.{name}", value, "a day as YYYY-MM-DD") from None


def _step(row: Mapping[Any, Any], name: str, key: str, path: Path) -> Decimal:
    value = row.get(name)
    try:
        step = Decimal(str(value))
    except InvalidOperation:
        step = Decimal(0)
    if not step.is_finite() or step <= 0 or step < Decimal("1e-12"):
        raise _wrong(path, f"{key}.{name}", value, 'a positive number such as "0.01"')
    return step
