"""Alpaca's websocket through alpaca-py: trades, cancellations and corrections as they are told.

alpaca-py connects, signs in and subscribes; its reading loop is not used. That loop drops a frame
that it cannot read with a line in its log, tells the codes of errors to its log only, ends without
an exception when the feed's entitlement is missing, and tries a refused key for ever: a collector
that has to name what it lost can have none of it. Frames are msgpack, whose stamps carry all nine
digits and whose prices are doubles: the shortest decimal of a double is the venue's own up to 15
digits, and what it is not, a REST window replaces.

https://docs.alpaca.markets/docs/streaming-market-data
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from trader_pipelines.core.errors import (
    ConnectionLimitError,
    EntitlementError,
    KeyRefusedError,
    TraderError,
    VenueUnreachableError,
)
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.venues.alpaca_api import venue_symbol
from trader_pipelines.venues.alpaca_rows import SIDES, Row
from trader_pipelines.venues.decimals import scaled
from trader_pipelines.venues.refusals import key_refused
from trader_pipelines.venues.stream import nanoseconds

#: https://docs.alpaca.markets/docs/streaming-market-data
ALPACA_STREAM = "wss://stream.data.alpaca.markets"

#: A frame as it came: our clock in nanoseconds when it did, and its bytes.
Frame = tuple[int, bytes]

_CONTROL = {"success", "subscription", "s"}


class Revision(NamedTuple):
    """A trade that the venue takes back, or replaces by another."""

    ts_event: int
    place: str
    number: int


@dataclass(slots=True)
class Heard:
    """What some frames said.

    Parameters
    ----------
    rows : mapping
        By symbol, in the order in which they came, each with our clock at receipt.
    revisions : mapping
        By symbol.
    refused : list of (int, str)
        When a frame or message came that could not be read, and why.
    fault : TraderError or None
        What the venue itself complained of.
    """

    rows: defaultdict[str, list[tuple[Row, int]]] = field(default_factory=lambda: defaultdict(list))
    revisions: defaultdict[str, list[Revision]] = field(default_factory=lambda: defaultdict(list))
    refused: list[tuple[int, str]] = field(default_factory=list)
    fault: TraderError | None = None


@dataclass(frozen=True, slots=True)
class AlpacaFeed:
    """Live trades of US equities or of crypto.

    Parameters
    ----------
    name : str
        The venue's name in the universe.
    key, secret : str
        Of the account; streams of crypto want one too.
    url : str
        Base of Alpaca's websockets.
    crypto : bool
        Crypto; else US equities.
    feed : str
        Of equities: ``sip`` or ``iex``.
    silence : float
        Seconds after which a connection that does not answer a ping is closed.
    """

    name: str = "alpaca"
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    url: str = ALPACA_STREAM
    crypto: bool = False
    feed: str = "sip"
    silence: float = 30.0

    @property
    def address(self) -> str:
        """Of the websocket."""
        return f"{self.url}/v1beta3/crypto/us" if self.crypto else f"{self.url}/v2/{self.feed}"

    async def open(self, instruments: Sequence[Instrument]) -> Any:
        """A websocket that is signed in and subscribed to the trades of some instruments.

        Returns
        -------
        websockets connection
            ``await recv()`` gives frames for `decode`; ``await close()``.

        Raises
        ------
        KeyRefusedError, EntitlementError
            When the key is not good, or not for this feed or so many symbols.
        ConnectionLimitError
            When the key has a connection to this feed already.
        VenueUnreachableError
            When it does not answer as it should; asking again may help.
        """
        import msgpack

        if not (self.key and self.secret):
            raise KeyRefusedError(
                f"venue {self.name} streams nothing without a key",
                where=self.address,
                remedy="set ALPACA_API_KEY and ALPACA_API_SECRET",
            )
        stream = self._client([venue_symbol(each, crypto=self.crypto) for each in instruments])
        try:
            await stream._start_ws()
            await stream._send_subscribe_msg()
            told = msgpack.unpackb(await stream._ws.recv())
            if told[0].get("T") != "subscription":
                raise ValueError(str(told[0].get("msg", "no subscription")))
        except BaseException as error:
            await stream.close()
            if not isinstance(error, Exception):
                raise
            # alpaca-py raises the venue's own words, and whatever else goes wrong as it comes.
            said = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            raise self._complaint(said) from None
        return stream._ws

    def decode(self, frames: Sequence[Frame], instruments: Mapping[str, Instrument]) -> Heard:
        """Trades and revisions of some frames. Never raises for a frame.

        Parameters
        ----------
        instruments : mapping
            By the name that the venue gives them, ``BTC/USD``; `Heard` has their symbols.
        """
        from msgpack import unpackb

        heard = Heard()
        grids = {n: (i.symbol, i.price_scale, i.size_scale) for n, i in instruments.items()}
        for received, data in frames:
            try:
                messages = unpackb(data)
                if not isinstance(messages, list):
                    raise TypeError(f"a {type(messages).__name__} where a list belongs")
            except Exception as error:  # noqa: BLE001  msgpack has many ways to say it
                heard.refused.append((received, f"{type(error).__name__} {error}, frame unread"))
                continue
            for message in messages:
                try:
                    if message["T"] == "t":
                        symbol, price_scale, size_scale = grids[message["S"]]
                        row = _row(message, price_scale, size_scale)
                        heard.rows[symbol].append((row, received))
                    else:
                        self._other(message, grids, heard, received)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    said = f"{type(error).__name__} {error} in {message!r:.120}"
                    heard.refused.append((received, said))
        return heard

    def _other(
        self,
        message: Mapping[str, Any],
        grids: Mapping[str, tuple[str, int, int]],
        heard: Heard,
        received: int,
    ) -> None:
        kind = message["T"]
        if kind in ("x", "c"):
            number = message["i" if kind == "x" else "oi"]
            stamp = nanoseconds(message["t"].to_unix_nano())
            symbol = grids[message["S"]][0]
            heard.revisions[symbol].append(Revision(stamp, str(message.get("x", "")), number))
        elif kind == "error":
            heard.fault = self._complaint(str(message.get("msg", "")))
        elif kind not in _CONTROL:
            heard.refused.append((received, f"a message of kind {kind!r:.40}"))

    def _client(self, symbols: Sequence[str]) -> Any:
        from alpaca.data.live import CryptoDataStream, StockDataStream

        async def unused(_: Any) -> None:
            """What alpaca-py's own loop would call."""

        kind: Any = CryptoDataStream if self.crypto else StockDataStream
        stream = kind(
            self.key,
            self.secret,
            raw_data=True,
            url_override=self.address,
            websocket_params={
                "ping_interval": self.silence / 2,
                "ping_timeout": self.silence / 2,
                "close_timeout": 1.0,
                "max_size": 1 << 24,
                "max_queue": 1024,
            },
        )
        stream.subscribe_trades(unused, *symbols)
        return stream

    def _complaint(self, said: str) -> TraderError:
        """An error of the venue, by its words: alpaca-py keeps the code to itself."""
        where = self.address
        if "auth failed" in said or "not authenticated" in said:
            return key_refused(self.name, where, said)
        if "insufficient subscription" in said:
            return EntitlementError(
                f"the key has no subscription for the stream of venue {self.name}: {said}",
                where=where,
                remedy="set TRADER_ALPACA_FEED=iex, or subscribe to the feed",
            )
        if "symbol limit" in said:
            return EntitlementError(
                f"the key may not stream so many symbols of venue {self.name}: {said}",
                where=where,
                remedy="collect fewer symbols, or subscribe to a plan without that limit",
            )
        if "connection limit" in said:
            return ConnectionLimitError(
                f"venue {self.name} lets this key hold no further connection: {said}",
                where=where,
                remedy="stop the other program that streams with this key; Alpaca allows one "
                "connection a feed",
                retry=True,
            )
        return VenueUnreachableError(
            f"the stream of venue {self.name} does not open or go on: {said:.200}",
            where=where,
            remedy="check the network and the venue's status page; it is tried again",
            retry=True,
        )


def _row(message: Mapping[str, Any], price_scale: int, size_scale: int) -> Row:
    number, stamp = message["i"], message["t"].to_unix_nano()
    if type(number) is not int or nanoseconds(stamp) != stamp:
        raise ValueError(f"id {number!r}, stamp {stamp}")
    price = _decimal(message["p"], price_scale)
    size = _decimal(message["s"], size_scale)
    side = SIDES[message.get("tks")]
    return Row(stamp, str(message.get("x", "")), number, "", price, size, side)


def _decimal(value: object, scale: int) -> int:
    number: int
    if type(value) is int:
        number = value * 10**scale
    elif type(value) is float:
        text = repr(value)
        number = scaled(format(Decimal(text), "f") if "e" in text else text, scale)
    else:
        raise ValueError(f"{value!r} is no number")
    if not 0 < number < 1 << 63:
        raise ValueError(f"{value!r} is not positive, or too large")
    return number
