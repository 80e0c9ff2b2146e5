"""A server that answers as Kraken's public API does, for the real ccxt client."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

#: As ``GET /0/public/AssetPairs`` answers, shortened to what ccxt reads.
#: https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs
PAIRS = {
    "XXBTZUSD": {
        "altname": "XBTUSD",
        "wsname": "XBT/USD",
        "aclass_base": "currency",
        "base": "XXBT",
        "aclass_quote": "currency",
        "quote": "ZUSD",
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": "0.1",
        "status": "online",
    }
}


@dataclass
class Kraken:
    """Trades as (price, volume, nanoseconds, side, id), and what goes wrong with which request."""

    trades: list[tuple[str, str, int, str, int]]
    spoil: dict[int, str] = field(default_factory=dict)
    url: str = ""
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        if path.endswith("/AssetPairs"):
            return 200, json.dumps({"error": [], "result": PAIRS}).encode()
        self.asked.append(query)
        since, count = int(query.get("since", 0)), int(query.get("count", 1000))
        page = [trade for trade in self.trades if trade[2] > since][:count]
        how = self.spoil.get(len(self.asked), "")
        if how == "missing":
            page = page[1:]
        if how == "lossy":
            page = page[: len(page) // 2] + page[len(page) // 2 + 3 :]
        if how == "empty":
            page = []
        last = page[-1][2] if page else since
        rows = ",".join(
            f'["{price}","{volume}",{ns // 10**9}.{ns % 10**9:09d},"{side}","l","",{number}]'
            for price, volume, ns, side, number in page
        )
        body = f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"{last}"}}}}'
        if how == "limit":
            body = '{"error":["EGeneral:Too many requests"]}'
        if how == "down":
            return 520, b"<html>"
        if how == "html":
            return 200, b"<html>maintenance</html>"
        return 200, body.encode()[: len(body) // 2 if how == "truncate" else None]


class Answering(Protocol):
    """Something that answers GET requests, and is told where it can be reached."""

    url: str

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]: ...


Venue = TypeVar("Venue", bound=Answering)


@contextmanager
def serving(venue: Venue) -> Iterator[Venue]:
    """Serve a venue on a free port of this machine until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            status, body = venue.answer(parts.path, query)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        venue.url = f"http://127.0.0.1:{server.server_port}"
        yield venue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
