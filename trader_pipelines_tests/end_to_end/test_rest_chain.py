"""REST venues through whole runs: from a universe file to bars, and every bad input on the way."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import tenacity.nap

from trader_pipelines.core.certificates import Certificate, Status
from trader_pipelines.core.errors import SettingsError, TraderError
from trader_pipelines.core.trades import content_hash, utc_day_bounds
from trader_pipelines.defs import ticks, work
from trader_pipelines.platform import Platform
from trader_pipelines.stores import hot, manifest
from trader_pipelines.venues import budget
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines_tests import tapes
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.exchange.running import ROOT, Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest
from trader_pipelines_tests.venues import test_ccxt_kraken
from trader_pipelines_tests.venues.hitbtc_server import HitBtc
from trader_pipelines_tests.venues.kraken_server import Kraken, serving

STAGES = ("hot_ticks", "cold_ticks", "bars", "features", "labels")
NOV_1 = date(2020, 11, 1)
DAY = rest.DAY

REAL = """\
  binance:
    source: binance_rest
    symbols:
      BTCUSDT: {since: 2020-10-26, tick_size: "0.01", lot_size: "0.000001", dollar_bar: 1000000}
"""

MADE_UP = """\
  binance:
    source: binance_rest
    symbols:
      SYN000USDT: {since: 2024-01-01, tick_size: "0.01", lot_size: "0.0001", dollar_bar: 1000}
      SYN001USDT: {since: 2024-01-01, tick_size: "0.01", lot_size: "0.0001", dollar_bar: 1000}
"""


@pytest.fixture(autouse=True)
def _this_machine_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of these tests are on this machine; between tries nothing is waited for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: None))


def certificate_of(parts: Platform, venue: str, symbol: str, day: date) -> Certificate | None:
    with parts.connect() as connection:
        return manifest.get_certificate(connection, venue, symbol, day)


# Real trades


@pytest.fixture
def real(market_data: Path) -> Iterator[Running]:
    folder = market_data / "trades" / "binance_spot_aggtrade_frames_20201101"
    with running_exchange(sorted(folder.glob("BTCUSDT_*.json.gz"))) as running:
        yield running


def test_binance_rest_real_day_is_certified_and_reconciled(
    real: Running,
    tmp_path: Path,
    database_url: str,
    market_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("TRADER_HOME", str(home))
    monkeypatch.setenv("TRADER_DATABASE_URL", database_url)
    monkeypatch.setenv("TRADER_UNIVERSE", str(worlds.universe(home, REAL)))
    monkeypatch.setenv("TRADER_BINANCE_URL", real.urls["binance_rest"])
    parts = Platform()
    ran = worlds.run(parts, STAGES, NOV_1, venue="binance")
    assert ran.success
    assert all(check.passed for check in ran.checks.values())
    certificate = certificate_of(parts, "binance", "BTCUSDT", NOV_1)
    assert certificate is not None
    assert (certificate.status, certificate.missing) == (Status.COMPLETE, ())
    assert certificate.reconciled["klines_minutes_differing"] == 0
    assert certificate.reconciled["klines_fills"] == certificate.fills
    assert certificate.reconciled["rest_rows"] == certificate.count > 18_000
    # The archive's file of the day says the same.
    tapes.write_archive(tmp_path / "archive", market_data, {"BTCUSDT": (NOV_1,)})
    archive = BinanceArchive(str(tmp_path / "archive"))
    instrument = parts.universe.venue("binance").instrument("BTCUSDT")
    assert certificate.content_hash == content_hash(archive.fetch_day(instrument, NOV_1).trades)
    limits = real.ask("state")["binance_limits"]
    assert (limits["refused_429"], limits["refused_418"], limits["bans"]) == (0, 0, [])
    # Nothing waits any more for the day to be whole.
    assert list((home / "spool").rglob("*.parquet")) == []


def test_binance_rest_real_day_with_a_hole_is_incomplete_by_name(
    real: Running, tmp_path: Path, database_url: str, market_data: Path
) -> None:
    ids = [trade.id for trade in tapes.tape(market_data, "BTCUSDT", NOV_1)]
    first, last = ids[9_000], ids[9_019]
    real.tell("faults", [{"kind": "hole", "first": first, "last": last, "where": ["rest"]}])
    parts = worlds.platform(
        tmp_path / "home", database_url, REAL, binance_url=real.urls["binance_rest"]
    )
    ran = worlds.run(parts, STAGES, NOV_1, venue="binance")
    certificate = certificate_of(parts, "binance", "BTCUSDT", NOV_1)
    assert certificate is not None
    assert (certificate.status, certificate.missing) == (Status.INCOMPLETE, ((first, last),))
    assert int(certificate.reconciled["klines_minutes_differing"]) >= 1
    assert certificate.reconciled["klines_lacking"]
    assert not ran.checks["certificates_are_complete"].passed
    assert f"{first}-{last}" in ran.everything_told()
    built = {row["dataset"]: row["status"] for row in worlds.rows(database_url)["datasets"]}
    assert set(built.values()) == {"incomplete"}


RUN = """
import json, sys
from datetime import date
from pathlib import Path
from trader_pipelines_tests.end_to_end import test_rest_chain, worlds
home, database_url, url, day = json.loads(sys.argv[1])
parts = worlds.platform(
    Path(home), database_url, test_rest_chain.MADE_UP, binance_url=url
)
worlds.run(parts, ["hot_ticks"], date.fromisoformat(day), venue="binance", symbols=["SYN000USDT"])
"""


@pytest.mark.long
def test_run_killed_on_page_30_stores_nothing_and_the_next_goes_on_there(
    tmp_path: Path, database_url: str
) -> None:
    long = "synthetic:1:6:6000:2024-01-02T10:00"
    hang = [{"kind": "hang", "on": "binance.aggTrades", "at": [30], "seconds": 3_600}]
    home = tmp_path / "home"
    with running_exchange([long], hang) as running:
        url = running.urls["binance_rest"]
        told = json.dumps([str(home), database_url, url, DAY.isoformat()])
        child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", RUN, told], cwd=ROOT)
        try:
            deadline = time.monotonic() + 60
            while len(list(home.rglob("*.parquet"))) < 29 and time.monotonic() < deadline:
                assert child.poll() is None
                time.sleep(0.01)
        finally:
            child.send_signal(signal.SIGKILL)
            assert child.wait(30) == -signal.SIGKILL
        assert not any(worlds.rows(database_url)[table] for table in ("certificates", "hot_ticks"))
        parts = worlds.platform(home, database_url, MADE_UP, binance_url=url)
        assert worlds.run(parts, STAGES, DAY, venue="binance", symbols=["SYN000USDT"]).success
        sent = rest.Asked(running).of("binance.aggTrades")
    truth = rest.truth(long, rest.SYMBOL)
    certificate = certificate_of(parts, "binance", "SYN000USDT", DAY)
    assert certificate is not None
    assert certificate.status is Status.COMPLETE
    assert certificate.content_hash == content_hash(truth)
    assert sent <= truth.height // 1_000 + 2


# Bad input


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running_exchange(["synthetic:2:0.5:7200:2024-01-02T10:00"], weight_limit=10**9) as running:
        yield running


@pytest.fixture
def parts(tmp_path: Path, database_url: str, exchange: Running) -> Platform:
    exchange.tell("reset", limits=True, faults=[])
    return worlds.platform(
        tmp_path / "home", database_url, MADE_UP, binance_url=exchange.urls["binance_rest"]
    )


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[dg.Failure]:
    """The failures of runs as Dagster gets them: whether they may be tried again is in them."""
    seen: list[dg.Failure] = []

    def failure(errors: list[TraderError]) -> dg.Failure:
        seen.append(work.failure(errors))
        return seen[-1]

    monkeypatch.setattr(ticks, "failure", failure)
    return seen


def down(exchange: Running) -> None:
    exchange.tell("faults", [{"kind": "status", "status": 503, "on": "binance.*"}])


def silent(exchange: Running) -> None:
    exchange.tell("faults", [{"kind": "refuse", "on": "binance.*"}])


def refused(status: int) -> Callable[[Running], None]:
    return lambda exchange: exchange.tell(
        "faults", [{"kind": "status", "status": status, "on": "binance.*"}]
    )


def off(ms: int) -> Callable[[Running], None]:
    return lambda exchange: exchange.tell("faults", [{"kind": "clock_skew", "ms": ms}])


def lying(exchange: Running) -> None:
    exchange.tell("faults", [{"kind": "truncate", "on": "binance.*"}])


def losing_its_end(exchange: Running) -> None:
    tape = exchange.ask("tape", symbol="SYN000USDT")["id"]
    hole = {"kind": "hole", "symbol": "SYN*", "first": tape[-9], "where": ["rest"]}
    exchange.tell("faults", [hole])


#: What is wrong with the venue, the error's type, what it says, and whether it may pass by itself.
BAD_VENUES: dict[str, tuple[Callable[[Running], None], str, str, bool]] = {
    "down": (down, "VenueUnreachableError", "8 times: it answers 503", True),
    "silent": (silent, "VenueUnreachableError", "8 times: no answer", True),
    "address refused": (refused(403), "KeyRefusedError", "it answers 403", False),
    "region refused": (refused(451), "KeyRefusedError", "it answers 451", False),
    "our clock is ahead": (off(-300_000), "ClockError", "300 s ahead of it", False),
    "our clock is behind": (off(300_000), "ClockError", "s behind it", False),
    "its answers are no JSON": (lying, "BadAnswerError", "the body is no JSON", True),
    "its trades end too early": (
        losing_its_end, "BadAnswerError", "before the first or after the last", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VENUES)
def test_bad_venue_fails_the_run_readably_and_leaves_what_is_stored_as_it_was(
    parts: Platform, exchange: Running, refusals: list[dg.Failure], name: str
) -> None:
    make, kind, what, again = BAD_VENUES[name]
    ran = worlds.run(parts, ("hot_ticks",), DAY, venue="binance", symbols=["SYN001USDT"])
    assert ran.success
    before = worlds.kept(parts.settings.home, parts.database_url())
    make(exchange)
    ran = worlds.run(parts, STAGES, DAY, venue="binance")
    assert not ran.success
    failure = ran.failures["binance__hot_ticks"]
    assert str(failure.description).startswith(f"{kind}: ")
    assert what in str(failure.metadata["what"].value)
    assert "Traceback" not in str(failure.description)
    assert all(failure.metadata[told].value for told in ("where", "remedy"))
    assert [failure.allow_retries for failure in refusals] == [again]
    # Of the day that failed there is nothing; what was certified is, to the last byte.
    assert worlds.kept(parts.settings.home, parts.database_url()) == before
    # The same run goes through once the venue is well.
    exchange.tell("faults", [])
    assert worlds.run(parts, STAGES, DAY, venue="binance").success
    for symbol in ("SYN000USDT", "SYN001USDT"):
        certificate = certificate_of(parts, "binance", symbol, DAY)
        assert certificate is not None
        assert certificate.status is Status.COMPLETE
        assert certificate.reconciled["klines_minutes_differing"] == 0


def lone(parts: Platform, ran: worlds.Ran) -> dg.Failure:
    """The failure of a run in which only the second symbol's day could be had."""
    rows = worlds.rows(parts.database_url())
    assert {row["symbol"] for row in rows["certificates"]} <= {"SYN001USDT"}
    assert {row["symbol"] for row in rows["hot_ticks"]} <= {"SYN001USDT"}
    return ran.failures["binance__hot_ticks"]


def test_symbol_that_the_venue_does_not_know_is_named_and_the_other_is_stored(
    tmp_path: Path, database_url: str, exchange: Running, refusals: list[dg.Failure]
) -> None:
    exchange.tell("reset", limits=True, faults=[])
    wrong = MADE_UP.replace("SYN000USDT", "NOSUCHUSDT")
    url = exchange.urls["binance_rest"]
    parts = worlds.platform(tmp_path / "home", database_url, wrong, binance_url=url)
    failure = lone(parts, worlds.run(parts, STAGES, DAY, venue="binance"))
    assert str(failure.description).startswith(
        "UnknownSymbolError: venue binance knows no symbol 'NOSUCHUSDT'"
    )
    assert [failure.allow_retries for failure in refusals] == [False]
    assert certificate_of(parts, "binance", "SYN001USDT", DAY) is not None


def test_symbol_that_is_delisted_is_named(
    parts: Platform, exchange: Running, refusals: list[dg.Failure]
) -> None:
    now = datetime.now(UTC) - timedelta(hours=1)
    exchange.tell(
        "faults",
        [{"kind": "halt", "start": f"{now:%Y-%m-%dT%H:%M:%S}", "seconds": 86_400}],
    )
    failure = lone(parts, worlds.run(parts, STAGES, DAY + timedelta(days=1), venue="binance"))
    assert "UnknownSymbolError: " in str(failure.description)
    assert "the venue lists it as HALT" in str(failure.metadata["what"].value)
    assert "give it the day `until`" in str(failure.metadata["remedy"].value)
    assert [failure.allow_retries for failure in refusals] == [False]


def test_day_before_the_listing_says_which_day_is_the_first(
    parts: Platform, refusals: list[dg.Failure]
) -> None:
    failure = lone(parts, worlds.run(parts, STAGES, DAY - timedelta(days=1), venue="binance"))
    assert str(failure.description).startswith("MissingDataError: ")
    assert "its first trade is of 2024-01-02 10:00 UTC" in str(failure.metadata["what"].value)
    assert "since: 2024-01-02" in str(failure.metadata["remedy"].value)
    assert [failure.allow_retries for failure in refusals] == [False]


def test_day_in_the_future_is_refused_and_asks_the_venue_nothing(
    parts: Platform, exchange: Running, refusals: list[dg.Failure]
) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    failure = lone(parts, worlds.run(parts, STAGES, tomorrow, venue="binance"))
    assert str(failure.description).startswith(f"DayNotOverError: {tomorrow} is in the future")
    assert [failure.allow_retries for failure in refusals] == [True]
    assert rest.Asked(exchange).of("binance.aggTrades") == 0


def test_ban_is_told_until_when_and_nothing_more_is_sent(
    parts: Platform,
    exchange: Running,
    refusals: list[dg.Failure],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "_SHARED", {})
    ban = {"kind": "ban", "on": "binance.aggTrades", "seconds": 3_600, "times": 1}
    exchange.tell("faults", [ban])
    failure = lone(parts, worlds.run(parts, STAGES, DAY, venue="binance"))
    # Both symbols are told, and only the first one's question was sent.
    assert str(failure.description).count("VenueBannedError: venue binance has banned this") == 2
    assert rest.Asked(exchange).of("binance.aggTrades") == 1
    assert [failure.allow_retries for failure in refusals] == [True]
    # The next run is another process, which knows of no request that was ever sent.
    monkeypatch.setattr(budget, "_SHARED", {})
    failure = lone(parts, worlds.run(parts, STAGES, DAY, venue="binance"))
    assert str(failure.description).count("VenueBannedError: venue binance has banned this") == 2
    assert rest.Asked(exchange).of("binance.aggTrades") == 1


# Other exchanges of ccxt


def ccxt_universe(name: str, exchange: str, url: str, symbol: str, more: str = "") -> str:
    return f"""\
  {name}:
    source: ccxt
    exchange: {exchange}
    url: {url}
{more}    symbols:
      {symbol}
"""


KRAKEN_BTC = (
    'BTCUSD: {since: 2024-03-01, tick_size: "0.1", lot_size: "0.00000001", dollar_bar: 10000}'
)


@pytest.fixture
def kraken() -> Iterator[Kraken]:
    with serving(Kraken(test_ccxt_kraken.made_up())) as running:
        yield running


def test_kraken_day_goes_through_the_chain(
    kraken: Kraken, tmp_path: Path, database_url: str
) -> None:
    universe = ccxt_universe("kraken", "kraken", kraken.url, KRAKEN_BTC)
    parts = worlds.platform(tmp_path / "home", database_url, universe)
    ran = worlds.run(parts, STAGES, test_ccxt_kraken.DAY, venue="kraken")
    assert ran.success
    certificate = certificate_of(parts, "kraken", "BTCUSD", test_ccxt_kraken.DAY)
    truth = test_ccxt_kraken.truth(kraken)
    assert certificate is not None
    assert (certificate.status, certificate.missing) == (Status.COMPLETE, ())
    assert certificate.content_hash == content_hash(truth)
    assert certificate.reconciled["rest_rows"] == truth.height
    assert {row["dataset"] for row in worlds.rows(database_url)["datasets"]} >= {
        "cold_ticks", "minute_bars", "features", "labels",
    }  # fmt: skip


def test_kraken_hole_is_named(kraken: Kraken, tmp_path: Path, database_url: str) -> None:
    gone = kraken.trades[700:703]
    del kraken.trades[700:703]
    universe = ccxt_universe("kraken", "kraken", kraken.url, KRAKEN_BTC)
    parts = worlds.platform(tmp_path / "home", database_url, universe)
    worlds.run(parts, STAGES, test_ccxt_kraken.DAY, venue="kraken")
    certificate = certificate_of(parts, "kraken", "BTCUSD", test_ccxt_kraken.DAY)
    assert certificate is not None
    assert certificate.missing == ((gone[0][4], gone[-1][4]),)


CAPABILITIES = """\
    capabilities:
      sequential_ids: false
      largest_page: 1000
      requests_a_minute: 600
      params: {sort: ASC, by: timestamp}
"""
HIT_DAY = date(2024, 3, 9)


def hit_trades(count: int = 3_000) -> list[tuple[int, str, str, int, str]]:
    """A day and a little more; the exchange's ids count all of its symbols together."""
    rng = random.Random(5)
    start = utc_day_bounds(HIT_DAY)[0] // 1_000_000
    stamps = sorted(rng.randrange(90_000_000) for _ in range(count))
    stamps[50:54] = [stamps[50]] * 4
    number, told = 9_900, []
    for n, ms in enumerate(stamps):
        number += rng.randint(1, 40)
        price, size = f"0.05{rng.randrange(10**4):04d}", f"{rng.randint(1, 99)}.{n % 10_000:04d}"
        told.append((number, price, size, start + ms, ("buy", "sell")[n % 2]))
    return told


def test_exchange_that_is_only_stated_in_the_universe_goes_through_the_chain(
    tmp_path: Path, database_url: str
) -> None:
    symbol = 'ETHBTC: {since: 2024-03-01, tick_size: "0.000001", lot_size: "0.0001", dollar_bar: 1}'
    with serving(HitBtc(hit_trades())) as hit:
        universe = ccxt_universe("hit", "hitbtc", hit.url, symbol, CAPABILITIES)
        parts = worlds.platform(tmp_path / "home", database_url, universe)
        assert worlds.run(parts, STAGES, HIT_DAY, venue="hit").success
        start, end = (ns // 1_000_000 for ns in utc_day_bounds(HIT_DAY))
        truth = [trade for trade in hit.trades if start <= trade[3] < end]
        # Each page but the first holds one stamp again.
        assert len(hit.asked) <= len(truth) // 990 + 1
    instrument = parts.universe.venue("hit").instrument("ETHBTC")
    with parts.connect() as connection:
        stored = hot.read_day(connection, instrument, HIT_DAY)
    assert stored.select("price", "size", "side").rows() == [
        (int(price.replace(".", "")), int(size.replace(".", "")), 1 if side == "buy" else -1)
        for _, price, size, _, side in truth
    ]
    stamps = [ms * 1_000_000 for _, _, _, ms, _ in truth]
    assert stored["ts_event"].to_physical().to_list() == stamps
    certificate = certificate_of(parts, "hit", "ETHBTC", HIT_DAY)
    assert certificate is not None
    assert (certificate.status, certificate.count) == (Status.COMPLETE, len(truth))
    assert certificate.source == f"hitbtc trades over REST, ETHBTC {HIT_DAY}"


STATED = "    capabilities: {sequential_ids: true, largest_page: 9, requests_a_minute: 9}\n"
URL = "https://api.kraken.com"


@pytest.mark.parametrize(
    ("named", "url", "more", "what", "remedy"),
    [
        ("krakken", URL, STATED, "ccxt knows no exchange 'krakken'", "kraken"),
        ("kraken", "api.kraken.com", "", "venues.kraken.url = 'api.kraken.com'", URL),
        ("bitso", URL, "", "venues.kraken.capabilities = {}", "state sequential_ids, largest_page"),
        (
            "kraken", URL, "    capabilities: {params: sort}\n",
            "venues.kraken.capabilities = {'params': 'sort'}", "params cannot be 'sort'",
        ),
        (
            "bitso", URL, STATED.replace("{", "{paging: cursor, "),
            "venues.kraken.capabilities", "state cursor",
        ),
    ],
)  # fmt: skip
def test_exchange_stated_wrongly_is_a_settings_error(
    tmp_path: Path, named: str, url: str, more: str, what: str, remedy: str
) -> None:
    universe = ccxt_universe("kraken", named, url, KRAKEN_BTC, more)
    parts = worlds.platform(tmp_path / "home", "postgresql://127.0.0.1:9/none", universe)

    def fetch() -> None:
        spec = parts.universe.venue("kraken")
        parts.venue(spec).fetch_day(spec.instrument("BTCUSD"), test_ccxt_kraken.DAY)

    with pytest.raises(SettingsError) as caught:
        fetch()
    assert what in caught.value.what
    assert remedy in caught.value.remedy
