"""``python -m trader_pipelines_tests.exchange``: the exchange in a process of its own."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

from trader_pipelines_tests.exchange.faults import FaultError, parse
from trader_pipelines_tests.exchange.formats import TapeError, load
from trader_pipelines_tests.exchange.kinds import KINDS
from trader_pipelines_tests.exchange.tapes import Tape


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; one JSON line on stdout says where when it is ready."""
    options = _parser().parse_args(arguments)
    if options.list_faults:
        for name, kind in KINDS.items():
            print(f"{name:20} {kind.space:8} {kind.says}")
        return 0
    try:
        loaded = [tape for spec in options.tape for tape in load(spec)]
        if not loaded:
            raise TapeError("no tape: give --tape at least once")
        asyncio.run(_serve(options, loaded))
    except (TapeError, FaultError, OSError, ValueError) as error:
        print(f"exchange: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(options: argparse.Namespace, loaded: list[Tape]) -> None:
    from aiohttp import web

    from trader_pipelines_tests.exchange.app import build
    from trader_pipelines_tests.exchange.state import Exchange, Options

    keys = [key.split(":") for key in options.key]
    settings = Options(
        rate=options.rate,
        live_from=options.live_from,
        start_symbols=options.start_symbols,
        clock=options.clock,
        pace=options.pace,
        weight_limit=options.weight_limit,
        request_limit=options.request_limit,
        patience=options.patience,
        first_ban=options.first_ban,
        ping_seconds=options.ping_seconds,
        news=options.news,
        **({"keys": tuple((k[0], k[1], "sip" in k[2:]) for k in keys)} if keys else {}),
    )
    app, _ = build(Exchange(loaded, parse(options.faults), settings))
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=2, keepalive_timeout=75
    )
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, backlog=512)
    await site.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _, port = runner.addresses[0][:2]
    print(json.dumps(addresses(options.host, port)), flush=True)
    await stop.wait()
    await runner.cleanup()


def addresses(host: str, port: int) -> dict[str, str | int | bool]:
    """Where each client has to be pointed."""
    http, ws = f"http://{host}:{port}", f"ws://{host}:{port}"
    return {
        "ready": True,
        "pid": os.getpid(),
        "port": port,
        "url": http,
        "binance_rest": f"{http}/api/v3",
        "binance_ws": f"{ws}/stream/ws",
        "archive": http,
        "alpaca": http,
        "alpaca_stocks_ws": f"{ws}/v2/sip",
        "alpaca_iex_ws": f"{ws}/v2/iex",
        "alpaca_crypto_ws": f"{ws}/v1beta3/crypto/us",
        "alpaca_news_ws": f"{ws}/stream/v1beta1/news",
        "control": f"{http}/_control",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trader_pipelines_tests.exchange", description=__doc__)
    add = parser.add_argument
    add(
        "--tape",
        action="append",
        default=[],
        metavar="[VENUE=]FILE[#SYMBOL]",
        help="binance, alpaca or crypto; or synthetic:SYMBOLS:RATE:SECONDS[:START]; repeatable",
    )
    add("--faults", default="", help="JSON, a file of it, or random:SEED[:SPACES]")
    add("--list-faults", action="store_true", help="say which kinds there are, and stop")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 finds a free one")
    add("--rate", default="max", help="of the replay: trades/s, x60, max, or manual")
    add("--live-from", default="", help="start, or an ISO time: REST shows no later print early")
    add("--start-symbols", type=int, default=1, help="symbols that start the replay; 0: by control")
    add("--clock", default="real", help="real, tape, or the ISO time at which it starts")
    add("--pace", type=float, default=1.0, help="clock seconds a real second")
    add("--weight-limit", type=int, default=6000, help="Binance's, a minute")
    add("--request-limit", type=int, default=200, help="Alpaca's, a minute")
    add("--patience", type=int, default=3, help="requests after a 429 before the ban")
    add("--first-ban", type=float, default=120.0, help="seconds; five times as long each time")
    add("--ping-seconds", type=float, default=20.0)
    add("--key", action="append", default=[], metavar="KEY:SECRET[:sip]", help="of Alpaca")
    add("--news", default="", help="JSON file of Alpaca news items")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
