"""How many requests a day of Binance over REST takes, against the least that it can take."""

import math
import tempfile
from datetime import date
from pathlib import Path

from trader_pipelines.core.instruments import Instrument
from trader_pipelines_tests import tapes
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.venues import rest_exchange as rest

#: About 260,000 trades from midnight to midnight.
BIG = "synthetic:1:3:86400:2024-01-02"
PAGE, KLINES = 1_000, 2


def run() -> dict[str, float]:
    """Count what the exchange was sent for one day, without faults.

    The least for a tape of n trades: n / 1,000 pages of trades, rounded up, and the two pages that
    1,440 minute klines fill, without which the day would not be proven. The clock is read from
    the answers and costs nothing.

    Returns
    -------
    dict
        ``requests_vs_least``: all requests over that least, the larger ratio of a big tape (some
        260 pages) and a small one (the real hour of 2020-11-01 where it is found, 19 pages; else
        four made-up pages). ``requests_vs_least_trades``: the same of trade pages alone, without
        klines on either side. ``requests_vs_trade_pages_big`` and ``…_small``: all requests,
        klines included, over trade pages alone; what the proof costs.
    """
    big, small = _measure([BIG], rest.SYMBOL, rest.DAY), _small()
    return {
        "requests_vs_least": max(sum(sent) / (pages + KLINES) for pages, *sent in (big, small)),
        "requests_vs_least_trades": max(sent / pages for pages, sent, _ in (big, small)),
        "requests_vs_trade_pages_big": sum(big[1:]) / big[0],
        "requests_vs_trade_pages_small": sum(small[1:]) / small[0],
    }


def _small() -> tuple[int, int, int]:
    folder = tapes.market_data()
    if folder is None:
        return _measure([rest.MADE_UP], rest.SYMBOL, rest.DAY)
    frames = sorted((folder / "trades/binance_spot_aggtrade_frames_20201101").glob("BTCUSDT_*"))
    return _measure(frames, tapes.INSTRUMENTS["BTCUSDT"], date(2020, 11, 1))


def _measure(
    tape: list[str] | list[Path], instrument: Instrument, day: date
) -> tuple[int, int, int]:
    """Pages that the trades fill, requests for trades, and all others."""
    with (
        tempfile.TemporaryDirectory(prefix="trader-bench-") as spool,
        running_exchange(tape, weight_limit=10**9) as running,
    ):
        fetched = rest.binance(running, spool=Path(spool)).fetch_day(instrument, day)
        assert fetched.reconciled["klines_minutes_differing"] == 0
        requests = _requests(running)
    trades = requests.pop("binance.aggTrades")
    return math.ceil(fetched.trades.height / PAGE), trades, sum(requests.values())


def _requests(running: Running) -> dict[str, int]:
    counted: dict[str, int] = running.ask("state")["requests"]
    return {name: sent for name, sent in counted.items() if name.startswith("binance.")}
