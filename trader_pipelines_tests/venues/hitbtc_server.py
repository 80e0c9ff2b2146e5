"""A server that answers as HitBTC's public API does: an exchange that the product does not know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

#: As ``GET /api/3/public/symbol`` answers. https://api.hitbtc.com/#symbols
SYMBOLS = {
    "ETHBTC": {
        "type": "spot",
        "base_currency": "ETH",
        "quote_currency": "BTC",
        "status": "working",
        "quantity_increment": "0.0001",
        "tick_size": "0.000001",
        "take_rate": "0.0025",
        "make_rate": "0.001",
        "fee_currency": "BTC",
        "margin_trading": True,
        "max_initial_leverage": "10.00",
    }
}


@dataclass
class HitBtc:
    """Trades as (id, price, quantity, milliseconds, side); the latest first unless asked else."""

    trades: list[tuple[int, str, str, int, str]]
    url: str = ""
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        """https://api.hitbtc.com/#trades"""
        if path == "/api/3/public/symbol":
            return 200, json.dumps(SYMBOLS).encode()
        if path != "/api/3/public/trades/ETHBTC":
            return 404, b'{"error":{"code":2001,"message":"Symbol not found"}}'
        self.asked.append(query)
        since = int(query.get("from", 0))
        found = [trade for trade in self.trades if trade[3] >= since]
        if query.get("sort", "DESC") == "DESC":
            found.reverse()
        page = found[: int(query.get("limit", 100))]
        return 200, json.dumps([_told(*trade) for trade in page]).encode()


def _told(number: int, price: str, quantity: str, ms: int, side: str) -> dict[str, str | int]:
    moment = datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds")
    stamp = moment.replace("+00:00", "Z")
    return {"id": number, "price": price, "qty": quantity, "side": side, "timestamp": stamp}
