"""Binance's websocket: aggregate trades of many symbols on one connection.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams

Frames are read as they come and not through ccxt.pro. On a tape of 60,000 prints (ccxt 4.5.90,
``python -m trader_pipelines_tests.bench stream_clients``) that one

- stayed silent to the end, without an error, after one frame that is no JSON: 30,001 trades lost,
  here none;
- kept 41,000 trades of a burst in its cache that no call had returned when the tape ended;
- took 2.8 to 3.1 times the CPU time a trade.

What the venue sends to nobody, 202 trades over two disconnects, both lack. Here ids tell which.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trader_pipelines.core.errors import TraderError, VenueUnreachableError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.binance_rows import as_archived
from trader_pipelines.venues.stream import Decoded, Frame, Gathered, nanoseconds, scaled

#: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
BINANCE_STREAM = "wss://stream.binance.com:9443/ws"

_DAY = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class BinanceFeed:
    """Spot aggregate trades, by ids that count up by one.

    A message whose aggregate id equals its first raw id is marked doubtful: the two id spaces
    meet only as long as a symbol has never had two fills in one print.

    Parameters
    ----------
    base : str
        Address of the raw streams, ending in ``/ws``.
    name : str
        The venue's name in the universe.
    """

    base: str = BINANCE_STREAM
    name: str = "binance"

    @property
    def url(self) -> str:
        """Address of the websocket; stamps are as fine as those of REST and archive."""
        return f"{self.base}{'&' if '?' in self.base else '?'}timeUnit=MICROSECOND"

    @property
    def sequential_ids(self) -> bool:
        """True: Binance counts a symbol's aggregate trades by one."""
        return True

    @property
    def symbols_a_connection(self) -> int:
        """Binance takes 1,024 streams; fewer lose less when one connection breaks."""
        return 200

    def opening(self, symbols: Sequence[str]) -> list[str]:
        """One SUBSCRIBE: Binance takes five messages a second."""
        streams = [f"{symbol.lower()}@aggTrade" for symbol in symbols]
        return [json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1})]

    def probe(self) -> str:
        """A question that changes nothing."""
        return json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 2})

    def decode(self, frames: Sequence[Frame], instruments: Mapping[str, Instrument]) -> Decoded:
        """Trades of some frames; see `Feed`."""
        grids = {s: (i.price_scale, i.size_scale) for s, i in instruments.items()}
        gathered: defaultdict[str, Gathered] = defaultdict(Gathered)
        refused: list[str] = []
        fault: TraderError | None = None
        for (received, text), message in zip(frames, _parse(frames), strict=True):
            try:
                if message["e"] == "aggTrade":
                    symbol = message["s"]
                    gathered[symbol].rows.append(_row(message, received, *grids[symbol]))
                    continue
                refused.append(f"a message of kind {message['e']!r:.40}")
            except (ValueError, KeyError, TypeError) as error:
                if isinstance(message, dict) and "id" in message and "e" not in message:
                    fault = _complaint(message, self.url) or fault
                else:
                    refused.append(f"{type(error).__name__} {error} in {text!r:.120}")
        prints = {symbol: rows.prints() for symbol, rows in gathered.items() if rows.rows}
        return Decoded(prints, tuple(refused), fault)


def _parse(frames: Sequence[Frame]) -> list[Any]:
    """All frames at once, one by one where that fails."""
    try:
        messages: list[Any] = json.loads(f"[{','.join([text for _, text in frames])}]")
    except (ValueError, RecursionError):
        messages = []
    return messages if len(messages) == len(frames) else [_lenient(text) for _, text in frames]


def _lenient(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _row(
    message: Mapping[str, Any], received: int, price_scale: int, size_scale: int
) -> tuple[int, int, int, int, int, int, int, bool]:
    trade, first, last = message["a"], message["f"], message["l"]
    if not (type(trade) is type(first) is type(last) is int and 0 <= trade < 1 << 63):
        raise ValueError(f"ids {trade!r}, {first!r}, {last!r}")
    if not 0 <= first <= last < first + (1 << 31) - 1:
        raise ValueError(f"raw ids {first} to {last}")
    stamp, sent, maker = message["T"], message["E"], message["m"]
    texts = message["p"], message["q"]
    if not (type(stamp) is type(sent) is int and type(maker) is bool):
        raise ValueError(f"stamps {stamp!r}, {sent!r}, maker {maker!r}")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"price and size {texts!r}")
    ts = as_archived(nanoseconds(stamp))
    # A stamp that is days away from the sending is a damaged one, and would open a false day.
    if abs(ts - nanoseconds(sent)) > _DAY:
        raise ValueError(f"stamped {stamp}, sent {sent}")
    price, size = scaled(texts[0], price_scale), scaled(texts[1], size_scale)
    # m: the buyer was the maker
    return trade, ts, price, size, -1 if maker else 1, last - first + 1, received, trade == first


def _complaint(message: Mapping[str, Any], url: str) -> TraderError | None:
    if "error" not in message:
        return None
    return VenueUnreachableError(
        f"the venue refused the subscription: {message['error']!r:.200}",
        where=url,
        remedy="check the symbols in the universe; the connection is opened again",
        retry=True,
    )
