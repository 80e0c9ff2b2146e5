"""Cold files: exact, the same bytes every time, small, and readable by anyone's reader."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import parquet
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold.joining import Joined
from trader_pipelines_tests.bench.cold import btc, spy
from trader_pipelines_tests.stores.cold.made import DAYS, trades

INT64 = st.integers(-(2**63), 2**63 - 1)


def rows(unit_ns: int) -> st.SearchStrategy[list[tuple[int, ...]]]:
    stamps = st.integers(-(2**62) // unit_ns, 2**62 // unit_ns).map(lambda n: n * unit_ns)
    small = st.integers(-1, 1), st.integers(1, 2**31 - 1)
    return st.lists(st.tuples(INT64, stamps, INT64, INT64, *small), max_size=40)


@settings(max_examples=60, deadline=None)
@given(told=st.sampled_from([1, 1_000, 1_000_000, 10**9]).flatmap(rows))
def test_any_trades_encoded_come_back_equal_with_equal_bytes(told: list[tuple[int, ...]]):
    physical = pl.DataFrame(told, list(TRADES.names()), orient="row") if told else pl.DataFrame(
        schema=dict.fromkeys(TRADES, pl.Int64)
    )  # fmt: skip
    frame = physical.cast(pl.Int64).cast(TRADES)
    content = encoding.encode(frame, {"b": "2", "a": "1"})
    assert encoding.encode(frame.clone(), {"a": "1", "b": "2"}) == content
    found = encoding.decode(content)
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_frame_of_other_types_encoded_comes_back_equal():
    frame = pl.DataFrame(
        {
            "name": ["a", None, "b"],
            "at": [datetime(2024, 1, 1, tzinfo=UTC), None, datetime(2024, 1, 2, tzinfo=UTC)],
            "value": [1.5, float("nan"), None],
            "flag": [True, None, False],
            "count": [1, None, 3],
            "list": [[1], [], None],
            "kind": pl.Series(["x", None, "y"], dtype=pl.Enum(["x", "y", "z"])),
            "word": pl.Series(["p", "q", None], dtype=pl.Categorical),
        }
    )
    found = encoding.decode(encoding.encode(frame, {}))
    assert found.schema == frame.schema
    assert found.equals(frame)


@pytest.mark.parametrize("name", ["spy", "btc"])
def test_real_tape_is_exact_and_small(market_data: Path, name: str):
    days = {"spy": spy, "btc": btc}[name](market_data)
    contents = [encoding.encode(day, {}) for day, *_ in days]
    for content, (day, *_) in zip(contents, days, strict=True):
        assert encoding.decode(content).equals(day)
    each = sum(map(len, contents)) / sum(day.height for day, *_ in days)
    # 0.22 and 0.27 of ArcticDB's bytes.
    assert each < {"spy": 2.2, "btc": 4.1}[name]


def test_row_groups_carry_statistics_of_the_stamps(tmp_path: Path):
    import pyarrow.parquet as pq

    (tmp_path / "a.parquet").write_bytes(encoding.encode(trades(DAYS[0], 400_000), {}))
    told = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [told.row_group(n).num_rows for n in range(4)] == [131_072] * 3 + [6_784]
    for n in range(1, 4):
        before, after = (told.row_group(k).column(1).statistics for k in (n - 1, n))
        assert before.max < after.min
    assert told.row_group(0).column(0).encodings[-1] == "DELTA_BINARY_PACKED"


def test_parts_joined_are_the_whole_whichever_way_they_came(tmp_path: Path):
    frame = trades(DAYS[0], encoding.PART + 200_000)
    whole = encoding.encode(frame, {"a": "1"})
    how = encoding.layout(
        frame.head(encoding.TRIAL), {"ts_event": encoding.coarsest(frame["ts_event"])}, {"a": "1"}
    )
    with (tmp_path / "joined.parquet").open("wb") as sink:
        file = Joined(sink)
        for at in (0, encoding.PART):
            file.append(encoding.encode_part(frame.slice(at, encoding.PART), how))
        file.close()
    assert (tmp_path / "joined.parquet").read_bytes() == whole
    assert encoding.decode(whole).equals(frame)
    assert pl.read_parquet(tmp_path / "joined.parquet")["id"].equals(frame["id"])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_bit_flipped_anywhere_is_refused_or_changes_nothing(share: float):
    frame = trades(DAYS[0], 50_000)
    content = bytearray(encoding.encode(frame, {}))
    for bit in range(0, 64, 7):
        at = int(share * (len(content) - 9)) + bit // 8
        damaged = bytearray(content)
        damaged[at] ^= 1 << (bit % 8)
        try:
            found = encoding.decode(bytes(damaged))
        except OSError:
            continue
        assert found.equals(frame)


def test_read_ticks_gives_exact_decimals_and_the_frames_stamps(tmp_path: Path):
    frame = trades(date(2024, 1, 1), 3, price=9_007_199_254_740_993)
    path = tmp_path / "a.parquet"
    path.write_bytes(encoding.encode(frame, {"price_scale": "2", "size_scale": "3"}))
    found = encoding.read_ticks(path)
    assert found["price"].to_list()[0] == Decimal("90071992547409.93")
    assert found["size"].to_list() == [Decimal("0.001"), Decimal("0.002"), Decimal("0.003")]
    assert found["ts_event"].equals(frame["ts_event"])


def test_cold_file_is_read_by_duckdb_and_pandas(tmp_path: Path):
    duckdb = pytest.importorskip("duckdb")
    import pandas as pd

    frame = trades(DAYS[0])
    about = {"price_scale": "2", "size_scale": "3"}
    written = parquet.write(tmp_path, "cold_ticks", "binance", "BTCUSDT", DAYS[0], frame, about)
    file = tmp_path / written.path
    prices, stamp = duckdb.sql(
        f"select sum(price), max(ts_event) from read_parquet('{file}')"
    ).fetchall()[0]
    assert prices == frame["price"].sum()
    assert stamp == frame["ts_event"].max()
    scale = duckdb.sql(
        f"select decode(value) from parquet_kv_metadata('{file}') where decode(key) = 'price_scale'"
    ).fetchall()[0]
    assert scale == ("2",)
    by_pandas = pd.read_parquet(file, columns=["id", "price", "ts_event"])
    assert by_pandas["price"].tolist() == frame["price"].to_list()
    assert pl.Series(by_pandas["ts_event"]).cast(TRADES["ts_event"]).equals(frame["ts_event"])
