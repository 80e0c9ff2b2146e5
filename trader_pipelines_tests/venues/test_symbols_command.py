"""`trader symbols`: what it prints can be put into a universe file as it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from trader_pipelines.cli import main
from trader_pipelines.settings import load_universe
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest

VENUES = "venues:\n  binance:\n    source: binance_rest\n    symbols:\n"
OTHER = """\
  kraken:
    source: ccxt
    exchange: kraken
    symbols:
      BTCUSD: {since: 2020-01-01, tick_size: "0.1", lot_size: "0.00000001"}
"""


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange(["synthetic:2:0.5:7000:2024-01-02T10:00"], weight_limit=10**9) as running:
        yield running


def asked(exchange: Running, folder: Path, *arguments: str) -> tuple[int, str]:
    universe = folder / "universe.yaml"
    universe.write_text(
        f'{VENUES}      OLD: {{since: 2024-01-01, tick_size: "1", lot_size: "1"}}\n{OTHER}'
    )
    environment = {
        "TRADER_BINANCE_URL": exchange.urls["binance_rest"],
        "TRADER_UNIVERSE": str(universe),
        "TRADER_HOME": str(folder),
    }
    done = CliRunner().invoke(main, ["symbols", *arguments], env=environment)
    return done.exit_code, done.output


def test_symbols_prints_lines_that_a_universe_takes(exchange: Running, tmp_path: Path) -> None:
    code, lines = asked(exchange, tmp_path, "syn000usdt,SYN001USDT")
    assert code == 0
    (tmp_path / "new.yaml").write_text(VENUES + lines)
    found = load_universe(tmp_path / "new.yaml").venue("binance").instruments
    assert list(found) == ["SYN000USDT", "SYN001USDT"]
    first = found["SYN000USDT"]
    assert (first.tick_size, first.lot_size) == (rest.SYMBOL.tick_size, rest.SYMBOL.lot_size)
    assert first.since == rest.DAY


def test_symbols_that_the_venue_does_not_know_is_one_readable_message(
    exchange: Running, tmp_path: Path
) -> None:
    code, said = asked(exchange, tmp_path, "NOSUCHUSDT")
    assert code == 1
    assert said.startswith("UnknownSymbolError: venue binance knows no symbol 'NOSUCHUSDT'")


def test_symbols_of_a_venue_that_cannot_be_asked_says_what_to_do(
    exchange: Running, tmp_path: Path
) -> None:
    code, said = asked(exchange, tmp_path, "--venue", "kraken", "BTCUSD")
    assert code == 1
    assert said.startswith("SettingsError: venue 'kraken' cannot be asked")
    assert "binance_rest, binance_archive" in said
