"""Tapes: reading files, aggregating, cutting."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines_tests.exchange import tapes
from trader_pipelines_tests.exchange.formats import TapeError, load, scaled, split
from trader_pipelines_tests.exchange.tapes import Tape, aggregate, build, text


def tape_of(ts: list[int], price: list[int], side: list[int], ids: list[int] | None = None) -> Tape:
    count = len(ts)
    return build(
        "binance",
        "BTCUSDT",
        price_dp=2,
        size_dp=3,
        id=np.array(ids or range(100, 100 + count), np.int64),
        ts=np.array(ts, np.int64),
        price=np.array(price, np.int64),
        size=np.arange(1, count + 1, dtype=np.int64),
        side=np.array(side, np.int64),
    )


def test_aggregate_equal_neighbours_become_one_print() -> None:
    tape = aggregate(tape_of([1, 1, 1, 2, 2], [5, 5, 6, 6, 6], [1, 1, 1, 1, -1]))
    assert tape.first.tolist() == [100, 102, 103, 104]
    assert tape.last.tolist() == [101, 102, 103, 104]
    assert tape.size.tolist() == [3, 3, 4, 5]
    assert tape.id.tolist() == [50, 51, 52, 53]


def test_aggregate_a_hole_in_raw_ids_ends_a_print() -> None:
    tape = aggregate(tape_of([1, 1], [5, 5], [1, 1], ids=[100, 102]))
    assert tape.first.tolist() == [100, 102]


def test_build_repeated_and_disordered_ids_are_sorted_once() -> None:
    tape = tape_of([3, 1, 3], [7, 5, 7], [1, 1, 1], ids=[9, 8, 9])
    assert tape.id.tolist() == [8, 9]
    assert tape.ts.tolist() == [1, 3]


def test_shifted_ids_go_on_and_later_times_move() -> None:
    tape = tapes.shifted(tape_of([1, 2, 3], [5, 5, 5], [1, 1, 1]), 2, 10)
    assert tape.ts.tolist() == [1, 12, 13]
    assert np.diff(tape.id).tolist() == [1, 1]


def test_without_a_range_is_gone_and_nothing_else() -> None:
    tape = tapes.without(tape_of([1, 2, 3, 4], [5] * 4, [1] * 4), [(101, 102), (500, 600)])
    assert tape.id.tolist() == [100, 103]


def test_revised_a_correction_follows_its_original() -> None:
    base = tape_of([1, 2, 3], [500, 600, 700], [0] * 3, ids=[0, 2, 4])
    tape = tapes.revised(base, [(0, "cancel"), (2, "correct"), (99, "cancel")])
    assert tape.id.tolist() == [0, 2, 3, 4]
    assert tape.update.tolist() == [tapes.CANCELED, tapes.INCORRECT, tapes.CORRECTED, tapes.VALID]
    assert tape.price.tolist() == [500, 600, 601, 700]
    assert tape.number.tolist() == [0, 2, 2 + tapes.CORRECTION_OFFSET, 4]


@given(st.integers(0, 10**15), st.integers(0, 10))
def test_text_any_number_is_read_back_exactly(value: int, dp: int) -> None:
    assert Decimal(text(value, dp)).scaleb(dp) == value
    assert Decimal(tapes.number(value, dp)) == Decimal(text(value, dp))


@given(st.lists(st.decimals(0, 10**6, places=6).map(str), min_size=1))
def test_scaled_strings_are_kept_exactly(values: list[str]) -> None:
    integers, dp = scaled(values)
    assert [Decimal(text(int(i), dp)) for i in integers] == [Decimal(v) for v in values]


def test_load_aggtrade_frames_keep_ids_and_strings(btc_tape: Path) -> None:
    import gzip
    import json

    frames = json.loads(gzip.decompress(btc_tape.read_bytes()))
    (tape,) = load(str(btc_tape))
    assert tape.id.tolist() == [frame["a"] for frame in frames]
    assert [text(p, tape.price_dp) for p in tape.price.tolist()] == [f["p"] for f in frames]
    assert [text(q, tape.size_dp) for q in tape.size.tolist()] == [f["q"] for f in frames]
    assert (tape.ts // 1_000_000).tolist() == [frame["T"] for frame in frames]


def test_load_raw_trade_frames_raw_ids_lie_inside_the_prints(eth_tape: Path) -> None:
    (tape,) = load(str(eth_tape))
    assert (tape.symbol, tape.venue) == ("ETHUSDT", "binance")
    assert int((tape.last - tape.first + 1).sum()) == tape.last[-1] - tape.first[0] + 1
    assert tape.last[-1] > 2 * tape.id[-1] - len(tape)  # two spaces, far apart


def test_load_equity_tape_exact_duplicates_stay_distinct(ibm_tape: Path) -> None:
    (tape,) = load(str(ibm_tape))
    rows = pl.read_parquet(ibm_tape)
    assert len(tape) == rows.height
    told = pl.DataFrame(
        {name: getattr(tape, name) for name in ("ts", "price", "size", "place", "number")}
    )
    equal = told.height - told.select("ts", "price", "size", "place").unique().height
    assert equal > 1000
    day = tape.ts // (86_400 * 10**9)
    identity = told.with_columns(day=pl.Series(day)).select("day", "place", "number")
    assert identity.unique().height == told.height


def test_load_generic_csv_with_quoted_decimals_is_exact(tmp_path: Path) -> None:
    file = tmp_path / "XRPUSDT.csv"
    file.write_text(
        "id,timestamp,price,size,side\n7,1700000000123,0.5001,10,buy\n8,1700000000124,0.5,3,sell\n"
    )
    (tape,) = load(str(file))
    assert (tape.symbol, tape.price.tolist(), tape.price_dp) == ("XRPUSDT", [5001, 5000], 4)
    assert tape.ts.tolist() == [1700000000123 * 10**6, 1700000000124 * 10**6]
    assert tape.side.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere.parquet", "no tape at"),
        ("synthetic:many:1:1", "is not synthetic:SYMBOLS:RATE:SECONDS"),
    ],
)
def test_load_a_bad_tape_says_what_is_wrong(spec: str, words: str) -> None:
    with pytest.raises(TapeError, match=words):
        load(spec)


def test_load_a_table_without_prices_names_the_column(tmp_path: Path) -> None:
    file = tmp_path / "BTCUSDT.csv"
    file.write_text("id,timestamp,size\n1,2,3\n")
    with pytest.raises(TapeError, match="no column for price"):
        load(str(file))


def test_load_crypto_ids_lie_beyond_a_double(btc_tape: Path) -> None:
    (tape,) = load(f"crypto={btc_tape}")
    assert tape.symbol == "BTC/USDT"
    assert int(tape.number[0]) > 2**53
    assert (np.diff(tape.ts) >= 0).all()


def test_load_synthetic_twice_gives_the_same() -> None:
    one, other = load("synthetic:2:100:3"), load("synthetic:2:100:3")
    assert [len(tape) for tape in one] == [150, 150]
    assert all((a.price == b.price).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [("BTCUSDT", ("BTC", "USDT")), ("XRPETH", ("XRP", "ETH")), ("SPY", ("SPY", "USD"))],
)
def test_split_known_quotes_are_cut_off(symbol: str, parts: tuple[str, str]) -> None:
    assert split(symbol) == parts
