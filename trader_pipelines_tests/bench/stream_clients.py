"""Our feed against ccxt.pro on the same stream: trades a second of CPU time, and what each loses."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from trader_pipelines.collector.link import Inbox, Link
from trader_pipelines.collector.options import Options
from trader_pipelines.venues.stream_binance import BinanceFeed
from trader_pipelines_tests.collector import process
from trader_pipelines_tests.exchange.running import Running, running_exchange

SYMBOLS = 50
COUNT = 60_000
QUIET = 3.0  # seconds without a trade after the tape's end

FAULTS: dict[str, list[dict[str, Any]]] = {
    "clean": [],
    "garble": [{"kind": "garble", "at": [COUNT // 2]}],
    "disconnect": [{"kind": "disconnect", "at": [COUNT // 3, 2 * COUNT // 3], "lose": 100}],
}

#: A client: reads the stream until it is quiet; trades that it has, those of them that it has
#: handed out, and CPU seconds.
Client = Callable[[Running], Coroutine[Any, Any, tuple[int, int, float]]]


def run() -> dict[str, float]:
    """Read one tape of 50 symbols with both clients, clean and under two faults.

    The venue sends as fast as the client reads; nothing is stored, and REST is not asked.

    Returns
    -------
    dict
        ``stream_vs_ccxtpro``: our trades a CPU second over those of
        ``watch_trades_for_symbols``; both also as they are. ``stream_lost_<fault>`` and
        ``ccxtpro_lost_<fault>``: trades of the tape that the client never had; 202 were never sent
        to anybody under ``disconnect``. ``…_kept_back``: trades of the clean tape that it had at
        the end and no call had returned: a call of ccxt.pro returns those of one symbol, when the
        next message of that symbol comes.
    """
    figures: dict[str, float] = {}
    tape = f"synthetic:{SYMBOLS}:{COUNT}:1"
    with running_exchange([tape], start_symbols=SYMBOLS, weight_limit=10_000_000) as running:
        for name, client in (("stream", ours), ("ccxtpro", ccxt_pro)):
            for fault, faults in FAULTS.items():
                running.tell("reset", replay=True, limits=True, faults=faults)
                got, handed, seconds = asyncio.run(client(running))
                figures[f"{name}_lost_{fault}"] = float(COUNT - got)
                if fault == "clean":
                    figures[f"{name}_kept_back"] = float(got - handed)
                    figures[f"{name}_trades_per_cpu_s"] = got / seconds
    ratio = figures["stream_trades_per_cpu_s"] / figures["ccxtpro_trades_per_cpu_s"]
    return figures | {"stream_vs_ccxtpro": ratio}


async def ours(running: Running) -> tuple[int, int, float]:
    """The collector's connection and decoder."""
    instruments = {each.symbol: each for each in process.instruments(_names())}
    feed = BinanceFeed(f"ws://127.0.0.1:{running.urls['port']}/ws")
    options = Options(back_off=0.05)
    link = Link(feed, list(instruments), Inbox(options.queue_frames), options)
    stop = asyncio.Event()
    seen: set[tuple[str, int]] = set()

    async def decoding() -> None:
        while True:
            await asyncio.sleep(0.05)
            decoded = feed.decode(link.inbox.take(options.batch_frames), instruments)
            for symbol, prints in decoded.prints.items():
                seen.update((symbol, trade) for trade in prints.trades["id"].to_list())

    cpu = time.process_time()
    tasks = [asyncio.create_task(link.run(stop)), asyncio.create_task(decoding())]
    used = await _until_quiet(lambda: len(seen), cpu)
    stop.set()
    await tasks[0]
    tasks[1].cancel()
    return len(seen), len(seen), used


async def ccxt_pro(running: Running) -> tuple[int, int, float]:
    """A loop as its manual has it; what it keeps to itself for the next call is counted, too."""
    import ccxt.pro

    client: Any = ccxt.pro.binance(
        running.binance(enableRateLimit=False, options={"tradesLimit": COUNT})
    )
    symbols = [f"{name.removesuffix('USDT')}/USDT" for name in _names()]
    handed: set[tuple[str, str]] = set()

    async def watching() -> None:
        while True:
            try:
                new = await client.watch_trades_for_symbols(symbols, params={"name": "aggTrade"})
                handed.update((trade["symbol"], trade["id"]) for trade in new)
            except ccxt.NetworkError:
                await asyncio.sleep(0.05)

    def had() -> int:
        return sum(len({t["id"] for t in kept}) for kept in list(client.trades.values()))

    await client.load_markets()
    cpu = time.process_time()
    task = asyncio.create_task(watching())
    try:
        used = await _until_quiet(lambda: sum(map(len, client.trades.values())), cpu)
        return had(), len(handed), used
    finally:
        task.cancel()
        with contextlib.suppress(BaseException):
            await task
        await client.close()


async def _until_quiet(count: Callable[[], int], cpu: float) -> float:
    """Wait for the end; CPU seconds from `cpu` to the last trade."""
    last, at, used = 0, time.monotonic(), 0.0
    while time.monotonic() - at < QUIET:
        await asyncio.sleep(0.05)
        if (now := count()) != last:
            last, at, used = now, time.monotonic(), time.process_time() - cpu
    return used


def _names() -> list[str]:
    return [f"SYN{number:03d}USDT" for number in range(SYMBOLS)]


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
