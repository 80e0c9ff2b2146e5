"""Rows of the archive: exact values from good ones, the very cell that is wrong from bad ones."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_pipelines.core.errors import BadTradeError, DamagedFileError
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.archive import BinanceArchive
from trader_pipelines.venues.archive_csv import Rows, parse, scaled
from trader_pipelines_tests.tapes import HEADER, INSTRUMENTS, to_csv, write_csv
from trader_pipelines_tests.venues.made_up import DAY, START_MS, TRADES_OF_DAY

BTCUSDT = INSTRUMENTS["BTCUSDT"]
CSV = to_csv(TRADES_OF_DAY).decode()
ROWS = CSV.splitlines()
FILE = "BTCUSDT-aggTrades-2020-11-01.zip"


def read(csv: str | bytes, day: date = DAY) -> Rows:
    return parse(csv.encode() if isinstance(csv, str) else csv, BTCUSDT, day, file=FILE)


def edited(line: int, column: int, text: str) -> str:
    """The made-up day with one cell replaced; line counts from 1, column from 0."""
    rows = [row.split(",") for row in ROWS]
    rows[line - 1][column] = text
    return "".join(",".join(row) + "\n" for row in rows)


def refusal(csv: str | bytes) -> BadTradeError:
    with pytest.raises(BadTradeError) as caught:
        read(csv)
    return caught.value


def expected_frame() -> pl.DataFrame:
    at = [
        datetime(2020, 11, 1, tzinfo=UTC),
        datetime(2020, 11, 1, 0, 0, 0, 7_000, tzinfo=UTC),
        datetime(2020, 11, 1, 0, 0, 0, 7_000, tzinfo=UTC),
        datetime(2020, 11, 1, 23, 59, 59, 999_000, tzinfo=UTC),
    ]
    return pl.DataFrame(
        {
            "id": [101, 102, 103, 104],
            "ts_event": at,
            "price": [1_374_862, 1_374_862, 1_375_001, 910],
            "size": [8_369, 1_000_000, 1, 25_500_000],
            "side": [1, -1, -1, 1],
            "fills": [1, 3, 1, 10],
        }
    ).cast(TRADES)


@pytest.mark.parametrize(
    "csv",
    [
        CSV,
        CSV.rstrip("\n"),
        CSV.replace("\n", "\r\n"),
        f"{HEADER}\n{CSV}",
        f"\ufeff{HEADER}\n{CSV}",
        f"a,p,q,f,l,T,m,M\n{CSV}",
        "Aggregate tradeId,Price,Quantity,First tradeId,Last tradeId,Timestamp,"
        f"Was the buyer the maker,Was the trade the best price match\n{CSV}",
        f"{HEADER},venue_note\n" + CSV.replace("\n", ",x\n"),
        CSV.replace("True", "true").replace("False", "false"),
        to_csv(TRADES_OF_DAY, microseconds=True),
        to_csv(TRADES_OF_DAY, microseconds=True, header=True),
    ],
    ids=[
        "plain",
        "no newline at the end",
        "windows newlines",
        "header",
        "byte order mark",
        "letters",
        "titles",
        "further column",
        "lower-case booleans",
        "microseconds",
        "microseconds and header",
    ],
)
def test_parse_every_documented_form_gives_the_same_exact_trades(csv: str | bytes) -> None:
    rows = read(csv)
    assert rows.trades.equals(expected_frame())
    assert rows.trades.schema == TRADES
    assert (rows.count, rows.void_ids) == (4, ())


def test_parse_header_in_other_order_goes_by_name() -> None:
    order = [6, 5, 0, 7, 4, 3, 2, 1]
    lines = [HEADER, *ROWS]
    csv = "\n".join(",".join(line.split(",")[at] for at in order) for line in lines)
    assert read(csv).trades.equals(expected_frame())


def test_parse_microseconds_keeps_each_of_them() -> None:
    micros = START_MS * 1_000 + 86_399_999_999
    rows = read(f"1,1.00,1.0,1,1,{micros},True,True\n")
    assert rows.trades["ts_event"].to_physical().to_list() == [micros * 1_000]


@pytest.mark.parametrize("csv", ["", "\n", HEADER, f"{HEADER}\n", f"{HEADER}\r\n"])
def test_parse_no_rows_gives_an_empty_frame(csv: str) -> None:
    rows = read(csv)
    assert rows.trades.schema == TRADES
    assert (rows.trades.height, rows.count) == (0, 0)


def test_parse_gap_in_ids_is_no_error() -> None:
    assert read(to_csv(TRADES_OF_DAY, drop_ids={102})).trades["id"].to_list() == [101, 103, 104]


def test_parse_void_rows_are_left_out_and_named() -> None:
    void = f"102,0.00000000,0.00000000,-1,-1,{START_MS + 7},True,True"
    rows = read("\n".join([ROWS[0], void, *ROWS[2:]]))
    assert rows.trades.equals(expected_frame().filter(pl.col.id != 102))
    assert (rows.count, rows.void_ids) == (4, (102,))


OUTSIDE = "outside 2020-11-01"
NO_BOOLEAN = "is neither true nor false"
BAD_CELLS = [
    (2, 0, "x", "agg_trade_id 'x' is not an id"),
    (2, 0, "-7", "agg_trade_id '-7' is not an id"),
    (2, 0, "102.0", "agg_trade_id '102.0' is not an id"),
    (2, 0, "9223372036854775808", "agg_trade_id '9223372036854775808' is not an id"),
    (2, 0, "101", "agg_trade_id '101' repeats the id of the row before"),
    (3, 0, "100", "agg_trade_id '100' is lower than the id of the row before"),
    (3, 1, "abc", "price 'abc' is not a plain decimal number"),
    (3, 1, "1e5", "price '1e5' is not a plain decimal number"),
    (3, 1, "nan", "price 'nan' is not a plain decimal number"),
    (3, 1, "1.2.3", "price '1.2.3' is not a plain decimal number"),
    (3, 1, " 1.5", "price ' 1.5' is not a plain decimal number"),
    (3, 1, '"1.5"', "price '\"1.5\"' is not a plain decimal number"),
    (3, 1, ".", "price '.' is not a plain decimal number"),
    (3, 1, "", "price is empty or missing"),
    (3, 1, "-13748.62", "price '-13748.62' is negative"),
    (3, 1, "0.00000000", "price '0.00000000' is zero"),
    (3, 1, "13748.62100000", "price '13748.62100000' has more decimals than tick_size 0.01 keeps"),
    (3, 1, "0.001", "price '0.001' has more decimals than tick_size 0.01 keeps"),
    (3, 1, "92233720368547758.08", "price '92233720368547758.08' does not fit into 64 bits"),
    (4, 2, "-0.5", "quantity '-0.5' is negative"),
    (4, 2, "0", "quantity '0' is zero"),
    (4, 2, "many", "quantity 'many' is not a plain decimal number"),
    (4, 2, "0.0000001", "quantity '0.0000001' has more decimals than lot_size 0.000001 keeps"),
    (1, 3, "-1", "first_trade_id '-1' is not an id"),
    (1, 3, "x", "first_trade_id 'x' is not an id"),
    (1, 4, "500", "last_trade_id '500' is lower than first_trade_id"),
    (1, 4, "3000000000", "last_trade_id '3000000000' is too far from first_trade_id"),
    (1, 4, "", "last_trade_id is empty or missing"),
    (2, 5, "noon", "transact_time 'noon' is not a time stamp"),
    (1, 5, "noon", "transact_time 'noon' is not a time stamp"),
    (
        2,
        5,
        str(START_MS - 1),
        f"transact_time '{START_MS - 1}' is 2020-10-31 23:59:59.999000 UTC, {OUTSIDE}",
    ),
    (
        2,
        5,
        str(START_MS + 86_400_000),
        f"transact_time '{START_MS + 86_400_000}' is 2020-11-02 00:00:00.000000 UTC, {OUTSIDE}",
    ),
    (
        2,
        5,
        "1604188800",
        f"transact_time '1604188800' is 1970-01-19 13:36:28.800000 UTC, {OUTSIDE}",
    ),
    (
        2,
        5,
        str(START_MS * 1_000),
        f"transact_time '{START_MS * 1_000}' is not in the unit of the file's first row",
    ),
    (4, 6, "yes", f"is_buyer_maker 'yes' {NO_BOOLEAN}"),
    (4, 6, "1", f"is_buyer_maker '1' {NO_BOOLEAN}"),
    (4, 7, "Tru", f"is_best_match 'Tru' {NO_BOOLEAN}"),
]
COLUMN_NAMES = HEADER.split(",")


@pytest.mark.parametrize(("line", "column", "text", "told"), BAD_CELLS)
def test_parse_bad_cell_is_named_by_file_line_column_and_value(
    line: int, column: int, text: str, told: str
) -> None:
    error = refusal(edited(line, column, text))
    assert error.what.startswith(told)
    assert error.where == f"{FILE}, line {line}, column {COLUMN_NAMES[column]}"
    # The same row is one line further down below a header.
    below_header = refusal(f"{HEADER}\n{edited(line, column, text)}")
    assert below_header.what == error.what
    assert below_header.where == f"{FILE}, line {line + 1}, column {COLUMN_NAMES[column]}"


@pytest.mark.parametrize(("column", "key"), [(1, "tick_size"), (2, "lot_size")])
def test_parse_too_many_decimals_names_the_setting_to_change(column: int, key: str) -> None:
    remedy = refusal(edited(1, column, "1.123456789")).remedy
    assert remedy == f"give the instrument a finer {key} in universe.yaml"


def test_parse_several_bad_rows_names_the_first() -> None:
    lines = ROWS.copy()
    lines[3] = lines[3].replace("9.10", "x")
    lines[2] = lines[2].replace("True", "?")
    assert refusal("\n".join(lines)).where == f"{FILE}, line 3, column is_buyer_maker"


@pytest.mark.parametrize("column", COLUMN_NAMES)
def test_parse_header_without_a_column_names_it(column: str) -> None:
    at = COLUMN_NAMES.index(column)
    lines = [line.split(",") for line in (HEADER, *ROWS)]
    error = refusal("\n".join(",".join(line[:at] + line[at + 1 :]) for line in lines))
    assert error.what == f"the header has no column {column}"
    assert error.where == f"{FILE}, line 1, column {column}"


def test_parse_header_with_a_column_twice_is_refused() -> None:
    error = refusal(f"{HEADER},price\n")
    assert error.what == "the header has more than one column price"


def test_parse_no_header_and_too_few_columns_is_refused() -> None:
    error = refusal("\n".join(row.rpartition(",")[0] for row in ROWS))
    assert error.what == "the row has 7 fields where 8 belong"
    assert error.where == f"{FILE}, line 1, column is_best_match"


def test_parse_row_cut_short_names_the_first_missing_field() -> None:
    error = refusal("\n".join([*ROWS[:2], "103,13750.01000000,0.0000"]))
    assert error.what == "first_trade_id is empty or missing"
    assert error.where == f"{FILE}, line 3, column first_trade_id"


def test_parse_row_too_long_is_named() -> None:
    error = refusal("\n".join([*ROWS[:2], f"{ROWS[2]},more", ROWS[3]]))
    assert error.what == "the row has 9 fields where 8 belong"
    assert error.where == f"{FILE}, line 3, column 9"


@pytest.mark.parametrize("at", [1, 2, 4])
def test_parse_blank_line_is_named(at: int) -> None:
    error = refusal("\n".join([*ROWS[:at], "", *ROWS[at:], ""]))
    assert error.where == f"{FILE}, line {at + 1}, column agg_trade_id"


def test_parse_blank_first_line_is_named() -> None:
    assert refusal(f"\n{CSV}").where == f"{FILE}, line 1, column price"


def test_parse_bytes_that_are_no_text_is_a_damaged_file() -> None:
    with pytest.raises(DamagedFileError, match="cannot be read as CSV"):
        read(CSV.encode().replace(b"13750.01", b"1375\xff.01"))


def test_fetch_day_bad_row_names_the_zip_and_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "BTCUSDT", DAY, edited(3, 2, "-1").encode())
    with pytest.raises(BadTradeError, match="quantity '-1' is negative") as caught:
        BinanceArchive(str(tmp_path)).fetch_day(BTCUSDT, DAY)
    assert caught.value.where == f"{path}, line 3, column quantity"


def test_parse_day_of_another_instrument_scale_keeps_exact_values() -> None:
    coarse = replace(BTCUSDT, tick_size=Decimal(1), lot_size=Decimal(1))
    csv = f"1,13748.00000000,2.00000000,1,1,{START_MS},True,True\n".encode()
    trades = parse(csv, coarse, DAY, file=FILE).trades
    assert (trades["price"][0], trades["size"][0]) == (13_748, 2)


def reference(text: str, scale: int) -> tuple[int | None, bool]:
    """Exact value and fit of a decimal text by Python's own decimals."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", text, re.ASCII):
        return None, False
    value = Decimal(text).scaleb(scale)
    whole = int(value)
    return (whole if -(2**63) <= whole < 2**63 else None), value == whole


numbers = st.decimals(0, 10**9, places=8).map(lambda number: f"{number:.8f}")
near_numbers = st.text("0123456789.+-e ", max_size=12)


@given(st.lists(numbers | near_numbers, min_size=1, max_size=20), st.integers(0, 8))
def test_scaled_any_text_equals_exact_decimal_arithmetic(texts: list[str], scale: int) -> None:
    values, fits = scaled(pl.Series(texts, dtype=pl.String), scale)
    for text, value, fit in zip(texts, values, fits, strict=True):
        expected, expected_fit = reference(text, scale)
        if expected is None or expected_fit:
            assert (text, value if fit else None) == (text, expected)
        else:
            assert (text, fit) == (text, False)


def test_reference_of_the_property_refuses_what_decimal_refuses() -> None:
    for text in ("", ".", "+", "1-", "--1"):
        assert reference(text, 2) == (None, False)
        with pytest.raises(InvalidOperation):
            Decimal(text)
