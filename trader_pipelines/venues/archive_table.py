"""An aggTrades file as a table of text under known column names, every line accounted for."""

import re

import polars as pl

from trader_pipelines.core.errors import BadTradeError, DamagedFileError

#: Of a spot file, in the order of a file without a header line.
#: https://github.com/binance/binance-public-data#aggtrades
COLUMNS = (
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
    "is_best_match",
)

#: Other names that Binance gives the same columns: its API's letters, its pages' titles.
_LETTERS = dict(zip("apqflTmM", COLUMNS, strict=True))
_TITLES = {
    "aggtradeid": "agg_trade_id",
    "aggregatetradeid": "agg_trade_id",
    "price": "price",
    "quantity": "quantity",
    "qty": "quantity",
    "firsttradeid": "first_trade_id",
    "lasttradeid": "last_trade_id",
    "transacttime": "transact_time",
    "timestamp": "transact_time",
    "time": "transact_time",
    "isbuyermaker": "is_buyer_maker",
    "wasthebuyerthemaker": "is_buyer_maker",
    "isbestmatch": "is_best_match",
    "wasthetradethebestpricematch": "is_best_match",
}

#: Of a header, bytes; the whole text is not copied to look at its first line.
_LONGEST_LINE = 4096

FETCH_AGAIN = "fetch the file and its .CHECKSUM again; if they agree, tell the venue of the row"


def read_table(csv: bytes, file: str) -> tuple[pl.DataFrame, int]:
    """Read every cell as text.

    Parameters
    ----------
    csv : bytes
        With a header line of known names, in any order; or without one, in the order of `COLUMNS`.
    file : str
        What errors call it.

    Returns
    -------
    table : DataFrame of String
        The columns `COLUMNS`; null where a cell is empty or missing.
    first_line : int
        The line that the first row is on: 1, or 2 after a header.

    Raises
    ------
    BadTradeError
        When a column is missing, or a row has more fields than there are columns.
    DamagedFileError
        When it is not text.
    """
    csv = csv.removeprefix(b"\xef\xbb\xbf")
    if not csv or csv.isspace():
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String)), 1
    head, _, _ = csv[:_LONGEST_LINE].partition(b"\n")
    cells = head.strip().decode(errors="replace").split(",")
    names = [_column(cell) for cell in cells]
    has_header = any(names)
    if not has_header:
        if len(cells) != len(COLUMNS):
            raise _wrong_width(len(cells), len(COLUMNS), 1, file)
        names = list(COLUMNS)
    for column in COLUMNS:
        if names.count(column) != 1:
            count = "more than one" if column in names else "no"
            raise bad_row(f"the header has {count} column {column}", 1, column, file)
    try:
        table = pl.read_csv(csv, has_header=False, infer_schema=False, quote_char=None)
    except pl.exceptions.ComputeError as error:
        for line, text in enumerate(csv.split(b"\n"), start=1):
            if text.count(b",") >= len(cells):
                raise _wrong_width(text.count(b",") + 1, len(cells), line, file) from None
        raise DamagedFileError(
            f"it cannot be read as CSV: {error}", where=file, remedy=FETCH_AGAIN
        ) from error
    by_name = {names.index(column): column for column in COLUMNS}
    table = pl.DataFrame([table.to_series(at).alias(by_name[at]) for at in sorted(by_name)])
    return table.slice(int(has_header)), 1 + has_header


def _column(title: str) -> str | None:
    """The name of a header's cell, None when it is none that Binance uses."""
    title = title.strip()
    return _LETTERS.get(title) or _TITLES.get(re.sub("[^a-z]", "", title.lower()))


def _wrong_width(fields: int, expected: int, line: int, file: str) -> BadTradeError:
    missing = COLUMNS[fields] if fields < len(COLUMNS) == expected else str(fields)
    return bad_row(f"the row has {fields} fields where {expected} belong", line, missing, file)


def bad_row(
    what: str, line: int, column: str, file: str, remedy: str = FETCH_AGAIN
) -> BadTradeError:
    """Build the error for one cell; lines are counted as an editor does, from 1."""
    return BadTradeError(what, where=f"{file}, line {line}, column {column}", remedy=remedy)
