"""Binance's websocket, heard by the real ccxt.pro and by a bare client."""

import asyncio
import contextlib
import json
import time
import urllib.error
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import numpy as np
import pytest

from trader_pipelines_tests.exchange.faults import mixture
from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.running import Running, running_exchange
from trader_pipelines_tests.exchange.tapes import text
from trader_pipelines_tests.exchange_tests.conftest import spot

AGG = {"name": "aggTrade"}


@contextlib.asynccontextmanager
async def watching(running: Running) -> AsyncIterator[Any]:
    import ccxt.pro

    settings = running.binance(enableRateLimit=False, options={"tradesLimit": 50_000})
    client = ccxt.pro.binance(settings)
    try:
        yield client
    finally:
        await client.close()


async def until(client: Any, symbol: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Watch until what the client keeps of a symbol is enough."""

    async def watch() -> list[Any]:
        while True:
            await client.watch_trades(symbol, params=dict(AGG))
            kept = list(client.trades[symbol])
            if enough(kept):
                return kept

    return await asyncio.wait_for(watch(), 60)


@contextlib.asynccontextmanager
async def listening(running: Running, path: str) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session:
        address = f"ws://127.0.0.1:{running.urls['port']}{path}"
        async with session.ws_connect(address) as ws:
            yield ws


async def heard(ws: Any, seconds: float = 0.5) -> list[dict[str, Any]]:
    """Every frame until it is quiet for a while or the connection ends."""
    frames = []
    with contextlib.suppress(asyncio.TimeoutError, TypeError):
        while True:
            frames.append(await ws.receive_json(timeout=seconds))
    return frames


def test_watch_trades_whole_tape_arrives_once_in_order(btc_tape: Path) -> None:
    (tape,) = load(str(btc_tape))

    async def scenario(running: Running) -> None:
        async with watching(running) as client:
            trades = await until(client, "BTC/USDT", lambda kept: len(kept) >= len(tape))
        assert [int(t["id"]) for t in trades] == tape.id.tolist()
        assert [t["info"]["p"] for t in trades] == [text(p, 8) for p in tape.price.tolist()]
        assert [t["timestamp"] for t in trades] == (tape.ts // 10**6).tolist()
        assert [t["side"] == "buy" for t in trades] == (tape.side > 0).tolist()

    with running_exchange([btc_tape]) as running:
        asyncio.run(scenario(running))
        sent = running.ask("sent", symbol="BTCUSDT")
        assert sent == {"printed": len(tape), "ranges": [[int(tape.id[0]), int(tape.id[-1])]]}


def test_watch_trades_for_symbols_both_tapes_arrive(btc_tape: Path, eth_tape: Path) -> None:
    lengths = {"BTC/USDT": len(load(str(btc_tape))[0]), "ETH/USDT": len(load(str(eth_tape))[0])}

    async def scenario(running: Running) -> None:
        async with watching(running) as client:
            await client.load_markets()

            async def watch() -> None:
                while any(len(client.trades.get(s, [])) < n for s, n in lengths.items()):
                    await client.watch_trades_for_symbols(list(lengths), params=dict(AGG))

            await asyncio.wait_for(watch(), 60)
            assert {s: len(client.trades[s]) for s in lengths} == lengths

    with running_exchange([btc_tape, eth_tape], start_symbols=2) as running:
        asyncio.run(scenario(running))


def test_raw_trade_stream_tells_the_fills(eth_tape: Path) -> None:
    (tape,) = load(str(eth_tape))

    async def scenario(running: Running) -> list[dict[str, Any]]:
        async with listening(running, "/ws/ethusdt@trade") as ws:
            return await heard(ws)

    with running_exchange([eth_tape]) as running:
        frames = asyncio.run(scenario(running))
    assert [frame["t"] for frame in frames] == list(range(tape.first[0], tape.last[-1] + 1))
    assert {frame["e"] for frame in frames} == {"trade"}


def test_combined_stream_wraps_and_obeys_subscriptions() -> None:
    async def scenario(running: Running) -> None:
        async with listening(running, "/stream?streams=syn000usdt@aggTrade") as ws:
            running.tell("replay", step=2)
            first = [await ws.receive_json(timeout=5) for _ in range(1)]
            await ws.send_json({"method": "SUBSCRIBE", "params": ["syn001usdt@aggTrade"], "id": 7})
            assert await ws.receive_json(timeout=5) == {"result": None, "id": 7}
            running.tell("replay", step=2)
            both = [await ws.receive_json(timeout=5) for _ in range(2)]
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 8})
            listed = await ws.receive_json(timeout=5)
            await ws.send_json(
                {"method": "UNSUBSCRIBE", "params": ["syn000usdt@aggTrade"], "id": 9}
            )
            await ws.receive_json(timeout=5)
            running.tell("replay", step=2)
            last = await heard(ws)
            await ws.send_str("nonsense")
            refused = await ws.receive_json(timeout=5)
        assert [frame["stream"] for frame in first] == ["syn000usdt@aggTrade"]
        assert {f["stream"] for f in both} == {"syn000usdt@aggTrade", "syn001usdt@aggTrade"}
        assert listed["result"] == ["syn000usdt@aggTrade", "syn001usdt@aggTrade"]
        assert [frame["data"]["s"] for frame in last] == ["SYN001USDT"]
        assert refused["error"]["code"] == 2

    with running_exchange(["synthetic:2:100:1"], rate="manual") as running:
        asyncio.run(scenario(running))


def test_live_rest_shows_nothing_before_it_is_printed() -> None:
    async def scenario(running: Running) -> None:
        client = spot(running)
        assert client.fetch_trades("SYN000/USDT") == []
        async with listening(running, "/ws/syn000usdt@aggTrade") as ws:
            running.tell("replay", step=5)
            ids = [(await ws.receive_json(timeout=5))["a"] for _ in range(5)]
            assert [int(t["id"]) for t in client.fetch_trades("SYN000/USDT")] == ids
            last = (await asyncio.to_thread(client.fetch_trades, "SYN000/USDT"))[-1]
            assert client.fetch_time() == last["timestamp"]

    with running_exchange(
        ["synthetic:1:100:1"], rate="manual", live_from="start", clock="tape"
    ) as running:
        asyncio.run(scenario(running))


def test_disconnect_on_demand_the_hole_is_refilled_over_rest() -> None:
    async def scenario(running: Running) -> None:
        async with watching(running) as client:
            await client.load_markets()
            watch = asyncio.create_task(client.watch_trades("SYN000/USDT", params=dict(AGG)))
            while not running.ask("state")["connections"]["subscribed_symbols"]:
                await asyncio.sleep(0.02)
            running.tell("replay", step=10)
            await asyncio.wait_for(watch, 10)
            watch = asyncio.create_task(client.watch_trades("SYN000/USDT", params=dict(AGG)))
            await asyncio.sleep(0.2)
            assert running.tell("disconnect", code=1006) == {"closed": 1}
            with pytest.raises(ccxt.NetworkError):
                await asyncio.wait_for(_drain(client, watch), 10)
            running.tell("replay", step=10)
            await asyncio.sleep(0.2)
            watch = asyncio.create_task(client.watch_trades("SYN000/USDT", params=dict(AGG)))
            while not running.ask("state")["connections"]["subscribed_symbols"]:
                await asyncio.sleep(0.02)
            running.tell("replay", step=10)
            await asyncio.wait_for(watch, 10)
            await asyncio.sleep(0.2)
            live = sorted({int(t["id"]) for t in client.trades["SYN000/USDT"]})
        base = live[0]
        assert live == [*range(base, base + 10), *range(base + 20, base + 30)]
        assert running.ask("sent", symbol="SYN000USDT")["ranges"] == [
            [base, base + 9],
            [base + 20, base + 29],
        ]
        refill = spot(running).fetch_trades("SYN000/USDT", limit=10, params={"fromId": base + 10})
        assert [int(t["id"]) for t in refill] == list(range(base + 10, base + 20))

    with running_exchange(["synthetic:1:100:1"], rate="manual", live_from="start") as running:
        asyncio.run(scenario(running))


async def _drain(client: Any, watch: "asyncio.Task[Any]") -> None:
    await watch
    while True:
        await client.watch_trades("SYN000/USDT", params=dict(AGG))


def troubled(kind: str, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The frames of 200 prints under one fault, and what the exchange says it did."""

    async def scenario(running: Running) -> list[dict[str, Any]]:
        async with listening(running, "/ws/syn000usdt@aggTrade") as ws:
            return await heard(ws)

    fault = {"kind": kind, **more}
    with running_exchange(["synthetic:1:100:2"], [fault]) as running:
        frames = asyncio.run(scenario(running))
        return frames, running.ask("sent", symbol="SYN000USDT")


BASE = 1_000_000


def test_drop_the_named_prints_never_arrive() -> None:
    frames, sent = troubled("drop", rate=0.1)
    missing = sorted(set(range(BASE, BASE + 200)) - {frame["a"] for frame in frames})
    assert missing == sent["drop"]
    assert 5 < len(missing) < 50


def test_duplicate_the_named_prints_arrive_twice() -> None:
    frames, sent = troubled("duplicate", at=[3, 50])
    ids = [frame["a"] for frame in frames]
    assert sent["duplicate"] == [BASE + 2, BASE + 49]
    assert sorted(ids) == sorted([*range(BASE, BASE + 200), BASE + 2, BASE + 49])


def test_reorder_the_named_print_comes_late() -> None:
    frames, _ = troubled("reorder", at=[5], by=3)
    ids = [frame["a"] - BASE for frame in frames]
    assert ids[:9] == [0, 1, 2, 3, 5, 6, 7, 4, 8]
    assert sorted(ids) == list(range(200))


def test_reorder_at_the_end_is_still_sent() -> None:
    frames, _ = troubled("reorder", at=[200], by=50)
    assert [frame["a"] for frame in frames] == list(range(BASE, BASE + 200))


def test_stream_mixed_ids_carry_the_raw_id() -> None:
    frames, _ = troubled("stream_mixed_ids", at=[2])
    assert [frame["a"] for frame in frames[:3]] == [BASE, BASE + 5_000_001, BASE + 2]


def test_stream_microseconds_are_a_thousand_times_later() -> None:
    frames, _ = troubled("stream_microseconds", at=[2])
    stamps = [frame["T"] for frame in frames[:3]]
    assert [len(str(stamp)) for stamp in stamps] == [13, 16, 13]
    assert stamps[1] // 1000 == stamps[0] + 10


def test_garble_half_a_frame_comes_before_the_print() -> None:
    async def scenario(running: Running) -> list[str]:
        async with listening(running, "/ws/syn000usdt@aggTrade") as ws:
            return [await ws.receive_str(timeout=5) for _ in range(4)]

    with running_exchange(["synthetic:1:100:1"], [{"kind": "garble", "at": [2]}]) as running:
        frames = asyncio.run(scenario(running))
    with pytest.raises(json.JSONDecodeError):
        json.loads(frames[1])
    assert [json.loads(frames[i])["a"] - BASE for i in (0, 2, 3)] == [0, 1, 2]


def test_garble_through_ccxt_silences_the_watch_without_an_error(btc_tape: Path) -> None:
    """Its receive loop ends: the connection stays open, nothing comes, nothing is raised."""

    async def scenario(running: Running) -> list[int]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with watching(running) as client:
            endless = until(client, "BTC/USDT", lambda _: False)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(endless, 3)
            assert running.ask("state")["connections"]["open"] == 1
            return [int(t["id"]) for t in client.trades["BTC/USDT"]]

    (tape,) = load(str(btc_tape))
    with running_exchange([btc_tape], [{"kind": "garble", "at": [50]}], rate=500) as running:
        assert asyncio.run(scenario(running)) == tape.id[:49].tolist()


def test_disconnect_fault_prints_go_by_unheard() -> None:
    frames, sent = troubled("disconnect", at=[11], lose=5)
    assert [frame["a"] - BASE for frame in frames] == list(range(10))
    assert [i - BASE for i in sent["unheard"]] == [10, 11, 12, 13, 14, 15]


def test_hole_in_the_stream_is_in_rest() -> None:
    async def scenario(running: Running) -> list[int]:
        async with listening(running, "/ws/syn000usdt@aggTrade") as ws:
            return [frame["a"] - BASE for frame in await heard(ws)]

    hole = {"kind": "hole", "first": BASE + 3, "last": BASE + 5, "where": ["stream"]}
    with running_exchange(["synthetic:1:100:1"], [hole]) as running:
        assert asyncio.run(scenario(running)) == [0, 1, 2, *range(6, 100)]
        rows = spot(running).fetch_trades("SYN000/USDT", limit=4, params={"fromId": BASE + 2})
        assert [int(row["id"]) - BASE for row in rows] == [2, 3, 4, 5]


def test_six_messages_a_second_are_too_many() -> None:
    async def scenario(running: Running) -> int:
        async with listening(running, "/ws") as ws:
            for number in range(6):
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            while (await ws.receive(timeout=5)).type is not aiohttp.WSMsgType.CLOSE:
                pass
            return int(ws.close_code)

    with running_exchange(["synthetic:1:100:1"]) as running:
        assert asyncio.run(scenario(running)) == 1008


def test_ping_without_pong_is_disconnected() -> None:
    async def scenario(running: Running) -> list[aiohttp.WSMsgType]:
        async with aiohttp.ClientSession() as session:
            address = f"ws://127.0.0.1:{running.urls['port']}/ws"
            async with session.ws_connect(address, autoping=False) as ws:
                seen: list[aiohttp.WSMsgType] = []
                while not seen or seen[-1] is aiohttp.WSMsgType.PING:
                    seen.append((await ws.receive(timeout=10)).type)
                return seen

    with running_exchange(["synthetic:1:100:1"], ping_seconds=0.1) as running:
        seen = asyncio.run(scenario(running))
    assert seen[0] is aiohttp.WSMsgType.PING
    assert seen[-1] in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)


def test_empty_hour_ids_go_on_and_times_jump() -> None:
    pause = {"kind": "empty_hour", "start": "2024-01-02T00:00:00.500", "seconds": 3600}
    with running_exchange(["synthetic:1:100:1"], [pause]) as running:
        rows = spot(running).fetch_trades("SYN000/USDT", limit=100, params={"fromId": BASE})
    assert [int(row["id"]) for row in rows] == list(range(BASE, BASE + 100))
    steps = np.diff([row["timestamp"] for row in rows])
    assert int(steps.max()) == 3_600_010
    assert (steps == 10).sum() == 98


def test_halt_the_venue_says_so_while_it_lasts() -> None:
    halt = {"kind": "halt", "start": "2024-01-02T00:00:00.500", "seconds": 600}
    with running_exchange(["synthetic:1:100:1"], [halt], clock="2024-01-02T00:05:00") as running:
        client = spot(running)
        assert client.load_markets()["SYN000/USDT"]["active"] is False
        running.tell("clock", advance=600)
        assert client.load_markets(True)["SYN000/USDT"]["active"] is True


def test_rewind_the_same_exchange_serves_another_course() -> None:
    async def scenario(running: Running) -> list[int]:
        async with listening(running, "/ws/syn000usdt@aggTrade") as ws:
            return [frame["a"] - BASE for frame in await heard(ws)]

    halt = {"kind": "empty_hour", "start": "2024-01-02T00:00:00.500", "seconds": 60}
    with running_exchange(["synthetic:1:100:1"], [{"kind": "drop", "at": [1]}]) as running:
        first = asyncio.run(scenario(running))
        with pytest.raises(urllib.error.HTTPError, match="400"):
            running.tell("faults", [halt])
        running.tell("reset", replay=True, limits=True, faults=[{"kind": "drop", "at": [2]}, halt])
        assert running.ask("sent", symbol="SYN000USDT") == {"printed": 0, "ranges": []}
        second = asyncio.run(scenario(running))
        last = running.ask("tape", symbol="SYN000USDT")["ts"][-1]
    assert first == list(range(1, 100))
    assert second == [0, *range(2, 100)]
    assert last == 1_704_153_660_990_000_000


def test_random_mixture_every_lost_print_is_named() -> None:
    """Twenty seeded courses: what a client lacks or has wrong is what the exchange says it did."""

    async def scenario(running: Running) -> list[dict[str, Any]]:
        async with aiohttp.ClientSession() as session:
            frames: list[dict[str, Any]] = []
            while not running.ask("state")["replay"]["done"]:
                async with session.ws_connect(
                    f"ws://127.0.0.1:{running.urls['port']}/ws/syn000usdt@aggTrade"
                ) as ws:
                    with contextlib.suppress(asyncio.TimeoutError, TypeError):
                        while True:
                            text_of = await ws.receive_str(timeout=0.5)
                            with contextlib.suppress(json.JSONDecodeError):
                                frames.append(json.loads(text_of))
            return frames

    with running_exchange(["synthetic:1:1000:1"]) as running:
        for seed in range(20):
            spec = mixture(seed, ["stream"])
            running.tell("reset", replay=True, limits=True, faults=spec)
            frames = asyncio.run(scenario(running))
            sent = running.ask("sent", symbol="SYN000USDT")
            delivered = {i for first, last in sent["ranges"] for i in range(first, last + 1)}
            mixed = set(sent.get("stream_mixed_ids", []))
            lost = set(sent.get("drop", [])) | set(sent.get("unheard", []))
            seen = [frame["a"] for frame in frames if frame["a"] < BASE + 1000]
            assert delivered == set(range(BASE, BASE + 1000)) - lost
            assert delivered - mixed <= set(seen) <= delivered
            assert len(seen) - len(set(seen)) <= len(sent.get("duplicate", []))


def test_throughput_of_fifty_symbols_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints go to one client as fast as it reads; the figure is told, not judged."""
    wanted = 60_000

    async def scenario(running: Running) -> tuple[int, float]:
        streams = "/".join(f"syn{i:03d}usdt@aggTrade" for i in range(50))
        async with listening(running, f"/stream?streams={streams}") as ws:
            count, begun = 0, time.perf_counter()
            while count < wanted:
                await ws.receive_str(timeout=10)
                count += 1
            return count, time.perf_counter() - begun

    with running_exchange(["synthetic:50:20000:3"], start_symbols=50) as running:
        count, seconds = asyncio.run(scenario(running))
        sent = [running.ask("sent", symbol=f"SYN{i:03d}USDT")["ranges"] for i in range(50)]
    with capsys.disabled():
        print(f"\ntest exchange: {count / seconds:,.0f} prints/s to one client, 50 symbols")
    assert count == wanted
    assert sent == [[[BASE, BASE + 1199]]] * 50
