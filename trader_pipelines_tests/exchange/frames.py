"""Prints as websocket frames, ready to be written to a socket."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgpack
import numpy as np

from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.alpaca_rest import stamps

TEXT, BINARY = 0x81, 0x82
BATCH = 100


@dataclass(slots=True)
class Print:
    """One print on its way, with what faults made of it."""

    key: tuple[str, str]
    id: int
    ts: int
    price: int
    size: int
    side: int
    first: int
    last: int
    number: int
    place: int
    raw_id: bool = False
    micro: bool = False
    garbled: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What every frame of a symbol shares."""

    venue: str
    symbol: str
    price_dp: int
    size_dp: int


#: How a connection wants its prints: the name is the key under which encoded ones are shared.
Encoder = Callable[[Print, Listing, int], list[bytes]]


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole websocket frame from a server. RFC 6455, section 5.2."""
    size = len(payload)
    if size < 126:
        return bytes((opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload


def agg_trade(item: Print, of: Listing, skew_ms: int) -> list[bytes]:
    """``@aggTrade``."""
    return [_agg(item, of, skew_ms)]


def _agg(item: Print, of: Listing, skew_ms: int) -> bytes:
    whole, part = divmod(item.price, 10**of.price_dp)
    units, rest = divmod(item.size, 10**of.size_dp)
    time = item.ts // 1000 if item.micro else item.ts // 1_000_000
    sent = item.ts // 1_000_000 + skew_ms
    price = f"{whole}.{part:0{of.price_dp}d}" if of.price_dp else f"{whole}"
    size = f"{units}.{rest:0{of.size_dp}d}" if of.size_dp else f"{units}"
    return (
        f'{{"e":"aggTrade","E":{sent},"s":"{of.symbol}","a":{item.first if item.raw_id else item.id}'
        f',"p":"{price}","q":"{size}","f":{item.first},"l":{item.last},"T":{time},'
        f'"m":{"true" if item.side < 0 else "false"},"M":true}}'
    ).encode()


def raw_trades(item: Print, of: Listing, skew_ms: int) -> list[bytes]:
    """``@trade``: the single trades of an aggregate."""
    fills = item.last - item.first + 1
    share, rest = divmod(item.size, fills)
    time = item.ts // 1000 if item.micro else item.ts // 1_000_000
    sent = item.ts // 1_000_000 + skew_ms
    price = tapes.text(item.price, of.price_dp)
    return [
        (
            f'{{"e":"trade","E":{sent},"s":"{of.symbol}","t":{item.first + k},"p":"{price}",'
            f'"q":"{tapes.text(share + (rest if k == 0 else 0), of.size_dp)}","T":{time},'
            f'"m":{"true" if item.side < 0 else "false"},"M":true}}'
        ).encode()
        for k in range(fills)
    ]


def combined(stream: str, payload: bytes) -> bytes:
    """The wrapping of ``/stream``."""
    return b'{"stream":"%s","data":%s}' % (stream.encode(), payload)


def alpaca_message(item: Print, of: Listing) -> dict[str, object]:
    """One trade of Alpaca's stream, its time still in nanoseconds under ``t``."""
    told: dict[str, object] = {
        "T": "t",
        "S": of.symbol,
        "i": item.number,
        "p": _plain(item.price, of.price_dp),
        "s": _plain(item.size, of.size_dp),
        "t": item.ts,
    }
    if of.venue == "crypto":
        return told | {"tks": "B" if item.side > 0 else "S"}
    return told | {"x": chr(item.place) if item.place else "D", "c": ["@"], "z": "B"}


def revision_message(item: Print, of: Listing, kind: str) -> dict[str, object]:
    """A cancellation or a correction of a trade sent before."""
    place = chr(item.place) if item.place else "D"
    price, size = _plain(item.price, of.price_dp), _plain(item.size, of.size_dp)
    shared = {"S": of.symbol, "x": place, "z": "B", "t": item.ts}
    if kind == "cancel":
        return shared | {"T": "x", "i": item.number, "p": price, "s": size, "a": "C"}
    fixed = _plain(item.price + 10 ** (of.price_dp - 2), of.price_dp)
    return shared | {
        "T": "c",
        "oi": item.number,
        "op": price,
        "os": size,
        "oc": ["@"],
        "ci": item.number + tapes.CORRECTION_OFFSET,
        "cp": fixed,
        "cs": size,
        "cc": ["@"],
    }


def packed_message(message: dict[str, object], *, json: bool) -> bytes:
    """JSON or msgpack of a message: RFC 3339 text in the one, a timestamp in the other."""
    from json import dumps

    ns = message.get("t")
    if json:
        text = stamps(np.array([ns], np.int64))[0] if isinstance(ns, int) else ns
        return dumps({**message, "t": text} if ns is not None else message).encode()
    stamp = msgpack.Timestamp.from_unix_nano(ns) if isinstance(ns, int) else ns
    packed: bytes = msgpack.packb({**message, "t": stamp} if ns is not None else message)
    return packed


def arrays(messages: list[bytes], *, json: bool) -> Iterable[bytes]:
    """Whole frames of up to a hundred messages each, as Alpaca bundles them."""
    for start in range(0, len(messages), BATCH):
        part = messages[start : start + BATCH]
        if json:
            yield frame(TEXT, b"[" + b",".join(part) + b"]")
        else:
            head: bytes = msgpack.Packer().pack_array_header(len(part))
            yield frame(BINARY, head + b"".join(part))


def _plain(value: int, dp: int) -> int | float:
    if not dp:
        return value
    whole, rest = divmod(value, 10**dp)
    return float(tapes.text(value, dp)) if rest else whole
