"""One reader: whole days from cold and hot, by slice, lazily, and as of a past moment."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from trader_pipelines.core.errors import DamagedFileError, MissingDataError
from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.sessions import session_bounds
from trader_pipelines.core.trades import TRADES
from trader_pipelines.stores import hot
from trader_pipelines.stores.cold import encoding
from trader_pipelines.stores.cold import ticks as module
from trader_pipelines.stores.cold.backend import Backend, Disk
from trader_pipelines.stores.cold.ticks import frames, scan, ticks
from trader_pipelines_tests.stores.cold.made import (
    BTC,
    DAYS,
    END,
    ETH,
    START,
    freeze,
    ingest,
    recommit,
    thaw,
    trades,
)

EVERYTHING = pl.concat([trades(day) for day in DAYS])


def fill(auto: psycopg.Connection, root: Backend | Path) -> None:
    """First day cold only, second in both tiers, third hot only."""
    for day in DAYS:
        ingest(auto, BTC, day, trades(day))
    for day in DAYS[:2]:
        freeze(auto, root, BTC, day, trades(day))
    thaw(auto, DAYS[0])


def test_ticks_join_cold_and_hot_without_gap_or_double(auto: psycopg.Connection, store: Backend):
    fill(auto, store)
    ingest(auto, ETH, DAYS[1], trades(DAYS[1], 10))
    found = ticks(auto, store, [ETH, BTC], START, END)
    assert found.filter(symbol="BTCUSDT").drop("symbol").equals(EVERYTHING)
    assert found.filter(symbol="ETHUSDT").drop("symbol").equals(trades(DAYS[1], 10))
    assert found["symbol"].is_sorted()
    assert found.drop("symbol").schema == TRADES


@pytest.mark.parametrize("shift", [0, 1, 43_200_000_000, 86_399_999_999])
def test_ticks_of_a_slice_are_half_open(auto: psycopg.Connection, store: Backend, shift: int):
    fill(auto, store)
    start, end = START + timedelta(microseconds=shift), END - timedelta(days=1, microseconds=shift)
    expected = EVERYTHING.filter(pl.col("ts_event") >= start, pl.col("ts_event") < end)
    found = ticks(auto, store, [BTC], start, end, columns=["price"])
    assert found.columns == ["symbol", "price"]
    assert found["price"].equals(expected["price"])
    assert found.height == (0 if start >= end else expected.height)


def test_ticks_by_id_range_include_both_ends(auto: psycopg.Connection, store: Backend):
    fill(auto, store)
    ids = (EVERYTHING["id"][990], EVERYTHING["id"][2_010])
    found = ticks(auto, store, [BTC], START, END, ids=ids)
    assert found.drop("symbol").equals(EVERYTHING[990:2_011])
    sizes = ticks(auto, store, [BTC], START, END, ids=ids, columns=["size", "id"])
    assert sizes.drop("symbol").equals(EVERYTHING[990:2_011].select("size", "id"))


class Counting:
    """A store that counts the bytes it hands out."""

    def __init__(self, store: Backend) -> None:
        self._store = store
        self.bytes = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def get(self, path: str) -> bytes:
        content = self._store.get(path)
        self.bytes += len(content)
        return content

    def view(self, path: str) -> bytes:
        return self.get(path)

    def get_spans(self, path: str, spans: list[tuple[int, int]]) -> list[bytes]:
        parts = self._store.get_spans(path, spans)
        self.bytes += sum(map(len, parts))
        return parts


def test_slice_of_a_large_day_fetches_a_small_part_of_its_file(
    auto: psycopg.Connection, store: Backend
):
    frame = trades(DAYS[0], 600_000)
    ingest(auto, BTC, DAYS[0], frame)
    entry = freeze(auto, store, BTC, DAYS[0], frame)
    start, end = START + timedelta(hours=12), START + timedelta(hours=13)
    counting = Counting(store)
    found = ticks(auto, counting, [BTC], start, end, columns=["price"])  # type: ignore[arg-type]
    inside = frame.filter(pl.col("ts_event") >= start, pl.col("ts_event") < end)
    assert found["price"].equals(inside["price"])
    assert counting.bytes < 0.3 * entry.bytes


def test_ticks_certified_anew_come_from_hot_until_frozen(auto: psycopg.Connection, store: Backend):
    fill(auto, store)
    corrected = trades(DAYS[1], 1_200, price=5_000_000)
    ingest(auto, BTC, DAYS[1], corrected)
    whole = pl.concat([trades(DAYS[0]), corrected, trades(DAYS[2])])
    assert ticks(auto, store, [BTC], START, END).drop("symbol").equals(whole)
    freeze(auto, store, BTC, DAYS[1], corrected)
    thaw(auto, DAYS[1])
    assert ticks(auto, store, [BTC], START, END).drop("symbol").equals(whole)


def test_ticks_in_neither_tier_are_named(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    thaw(auto, DAYS[2])
    with pytest.raises(MissingDataError, match=r"BTCUSDT\.BINANCE on 2024-01-03") as caught:
        ticks(auto, tmp_path, [BTC], START, END)
    assert type(caught.value) is MissingDataError


def test_ticks_of_hot_rows_that_are_not_those_certified_are_refused(
    auto: psycopg.Connection, tmp_path: Path
):
    fill(auto, tmp_path)
    auto.execute(
        "update hot_ticks set price = price + 1 where day = %s and mod(id, 100) = 7", DAYS[2:]
    )
    with pytest.raises(MissingDataError, match="hot holds 1000 trades, not the 1000 certified"):
        ticks(auto, tmp_path, [BTC], START, END)


def test_ticks_of_a_lost_or_truncated_file_are_named(auto: psycopg.Connection, store: Backend):
    fill(auto, store)
    (path,) = store.names("cold_ticks/venue=binance/symbol=BTCUSDT/day=2024-01-01")
    content = store.get(path)
    for size in (0, 10, len(content) // 2, len(content) - 1):
        store.replace(path, content[:size])
        for columns in (["price"], list(TRADES)):
            with pytest.raises(DamagedFileError) as caught:
                ticks(auto, store, [BTC], START, END, columns=columns)
            assert caught.value.where == store.where(path)
    store.remove(path)
    for columns in (["price"], list(TRADES)):
        with pytest.raises(MissingDataError) as missing:
            ticks(auto, store, [BTC], START, END, columns=columns)
        assert missing.value.where == store.where(path)


@pytest.mark.parametrize("columns", [["price"], list(TRADES)], ids=["slice", "whole"])
@pytest.mark.parametrize(
    "foreign",
    [
        pl.DataFrame({"close": [1.5]}),
        trades(DAYS[0]).with_columns(pl.col("ts_event").dt.cast_time_unit("us")),
        trades(DAYS[0]).cast({"ts_event": pl.Int64}),
        trades(DAYS[0]).cast({"price": pl.Float64}),
    ],
    ids=["bars", "microseconds", "numbers", "floats"],
)
def test_ticks_of_a_file_of_another_schema_are_refused(
    auto: psycopg.Connection, tmp_path: Path, foreign: pl.DataFrame, columns: list[str]
):
    ingest(auto, BTC, DAYS[0], trades(DAYS[0]))
    entry = freeze(auto, tmp_path, BTC, DAYS[0], trades(DAYS[0]))
    entry = recommit(auto, Disk(tmp_path), entry, encoding.encode(foreign, {}))
    asked = [*columns, "ts_event"] if "ts_event" not in columns else columns
    with pytest.raises(DamagedFileError, match=r"not a file of trades") as caught:
        ticks(auto, tmp_path, [BTC], START, END, columns=asked)
    assert entry.path in caught.value.where


def test_ticks_refuse_naive_stamps_and_unknown_columns(auto: psycopg.Connection, tmp_path: Path):
    with pytest.raises(ValueError, match="time zone"):
        ticks(auto, tmp_path, [BTC], START.replace(tzinfo=None), END)
    with pytest.raises(ValueError, match="time zone"):
        ticks(auto, tmp_path, [BTC], START, END, as_of=START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="no such column: close"):
        ticks(auto, tmp_path, [BTC], START, END, columns=["close"])


def test_ticks_of_all_time_are_those_there_are(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    ever = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
    assert ticks(auto, tmp_path, [BTC], *ever).drop("symbol").equals(EVERYTHING)
    assert ticks(auto, tmp_path, [], *ever).is_empty()


def test_frames_come_a_day_at_a_time(auto: psycopg.Connection, store: Backend):
    fill(auto, store)
    found = list(frames(auto, store, [BTC], START, END, columns=["id"]))
    assert [frame["id"].equals(trades(day)["id"]) for frame, day in zip(found, DAYS, strict=True)]
    assert [frame.height for frame in found] == [1_000] * 3


def test_frames_give_what_counted_at_the_beginning(auto: psycopg.Connection, tmp_path: Path):
    fill(auto, tmp_path)
    each = frames(auto, tmp_path, [BTC], START, END)
    found = [next(each)]
    corrected = trades(DAYS[1], 1_200, price=5_000_000)
    ingest(auto, BTC, DAYS[1], corrected)
    freeze(auto, tmp_path, BTC, DAYS[1], corrected)
    thaw(auto, DAYS[1])
    found.append(next(each))
    assert found[1].drop("symbol").equals(trades(DAYS[1]))
    # The last day was in hot alone: restated there, its old trades are nowhere.
    ingest(auto, BTC, DAYS[2], trades(DAYS[2], 7))
    with pytest.raises(MissingDataError, match=r"the 1000 trades .* replaced by 7") as caught:
        next(each)
    assert caught.value.retry
    now = pl.concat([trades(DAYS[0]), corrected, trades(DAYS[2], 7)])
    assert ticks(auto, tmp_path, [BTC], START, END).drop("symbol").equals(now)


def test_ticks_restated_in_hot_while_they_are_read_are_planned_anew(
    auto: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fill(auto, tmp_path)
    planned = module.plan

    def restated(*given: object, **more: object) -> object:
        pieces = planned(*given, **more)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "plan", planned)
        ingest(auto, BTC, DAYS[2], trades(DAYS[2], 7))
        return pieces

    monkeypatch.setattr(module, "plan", restated)
    now = pl.concat([*(trades(day) for day in DAYS[:2]), trades(DAYS[2], 7)])
    assert ticks(auto, tmp_path, [BTC], START, END).drop("symbol").equals(now)


def test_ticks_certified_away_and_back_while_they_are_read_are_found(
    auto: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ingest(auto, BTC, DAYS[0], trades(DAYS[0]))
    read_day, looks = hot.read_day, iter([trades(DAYS[0], 10)])

    def look(*place: Any) -> pl.DataFrame:
        # Another version was there for a moment, and no copy of the one that counts.
        return next(looks, read_day(*place))

    monkeypatch.setattr(hot, "read_day", look)
    found = ticks(auto, tmp_path, [BTC], START, END)
    assert found.drop("symbol").equals(trades(DAYS[0]))


def test_scan_answers_as_a_frame_and_reads_the_columns_it_needs(
    auto: psycopg.Connection, tmp_path: Path
):
    fill(auto, tmp_path)
    lazy = scan(auto, tmp_path, [BTC], START, END)
    whole = EVERYTHING.select(pl.lit("BTCUSDT").alias("symbol"), pl.all())
    assert lazy.collect_schema() == whole.schema
    assert lazy.collect().equals(whole)
    query = lazy.filter(pl.col("size") > 3).group_by("side").agg(pl.col("price").sum())
    expected = whole.filter(pl.col("size") > 3)["price"].sum()
    assert query.collect()["price"].to_list() == [expected]
    assert lazy.head(1_500).collect().equals(whole[:1_500])
    nothing = scan(auto, tmp_path, [ETH], START, END).collect()
    assert nothing.schema == whole.schema
    assert nothing.is_empty()
    # The second day's chunks of other columns are spoiled: who does not read them, is not told.
    (file,) = tmp_path.rglob("*day=2024-01-02/*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes(100) + content[104:])
    assert lazy.select("fills").collect().height == 3_000
    with pytest.raises(Exception, match="has changed since it was written"):
        lazy.select("id").collect()


def test_ticks_of_an_evening_session_are_found_in_its_own_day(
    auto: psycopg.Connection, tmp_path: Path
):
    """New York's extended session ends at 01:00 UTC in winter: of the next UTC day."""
    ibm = Instrument("alpaca", "IBM", BTC.tick_size, BTC.lot_size, date(2024, 1, 1))
    days = [date(2024, 1, 4), date(2024, 1, 5), date(2024, 1, 8)]
    kept = {}
    for number, day in enumerate(days):
        first, after = session_bounds("XNYS", day)
        rows = pl.DataFrame({"n": range(160)}, {"n": pl.Int64})
        kept[day] = rows.select(
            id=number * 1_000 + pl.col("n"),
            ts_event=first + pl.col("n") * ((after - first) // 160),
            price=pl.lit(100),
            size=pl.lit(1),
            side=pl.lit(0),
            fills=pl.lit(1),
        ).cast(TRADES)
        ingest(auto, ibm, day, kept[day])
    freeze(auto, tmp_path, ibm, days[0], kept[days[0]])
    thaw(auto, days[0])
    every = pl.concat(kept.values())
    night = datetime(2024, 1, 5, 0, 10, tzinfo=UTC)
    for start, end in (
        (night, night + timedelta(minutes=30)),
        (night, datetime(2024, 1, 5, 12, tzinfo=UTC)),
        (night - timedelta(days=2), datetime(2024, 1, 9, 12, tzinfo=UTC)),
        (datetime(2024, 1, 6, 0, 30, tzinfo=UTC), datetime(2024, 1, 7, tzinfo=UTC)),
    ):
        inside = every.filter(pl.col("ts_event") >= start, pl.col("ts_event") < end)
        assert inside.height
        for columns in (list(TRADES), ["id"]):
            found = ticks(auto, tmp_path, [ibm], start, end, columns=columns, calendar="XNYS").drop(
                "symbol"
            )
            assert found.equals(inside.select(columns))
