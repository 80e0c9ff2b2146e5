"""Tapes for the tests of the exchange, and clients that are pointed at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trader_pipelines_tests.exchange.running import MARKET_DATA, Running, running_exchange

KEYS: dict[str, Any] = {"api_key": "test-key", "secret_key": "test-secret"}


@pytest.fixture(scope="session")
def market_data() -> Path:
    if not (MARKET_DATA / "trades").is_dir():
        pytest.skip(f"no market data at {MARKET_DATA}: set TRADER_MARKET_DATA")
    return MARKET_DATA


@pytest.fixture(scope="session")
def btc_tape(market_data: Path) -> Path:
    folder = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    return folder / "BTCUSDT_2020-11-01T09-00-00_trades.json.gz"


@pytest.fixture(scope="session")
def eth_tape(market_data: Path) -> Path:
    return market_data / "trades/binance_ws_frames_hftbacktest/raw/spot_ethusdt_20240808.gz"


@pytest.fixture(scope="session")
def ibm_tape(market_data: Path) -> Path:
    return market_data / "trades" / "lean_us_equity_tick" / "IBM_trades_20131007_09.parquet"


@pytest.fixture(scope="session")
def news_file(market_data: Path) -> Path:
    return market_data / "news" / "alpaca_news_items.json"


@pytest.fixture(scope="module")
def binance(btc_tape: Path, eth_tape: Path) -> Iterator[Running]:
    with running_exchange([btc_tape, eth_tape], weight_limit=1_000_000) as running:
        yield running


@pytest.fixture
def client(binance: Running) -> Any:
    return spot(binance)


def spot(running: Running) -> Any:
    """The real client, without its own throttle."""
    import ccxt

    return ccxt.binance(running.binance(enableRateLimit=False))
