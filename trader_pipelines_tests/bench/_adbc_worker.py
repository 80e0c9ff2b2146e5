"""ADBC's side of the hot benchmark, in an interpreter of its own."""

import json
import sys
import time

import adbc_driver_postgresql.dbapi as adbc  # type: ignore[import-not-found]
import polars as pl

_SCHEMA = {
    "id": pl.Int64(),
    "ts_event": pl.Datetime("ns", "UTC"),
    "price": pl.Int64(),
    "size": pl.Int64(),
    "side": pl.Int8(),
    "fills": pl.Int32(),
}
_QUERY = "select {} from hot_ticks where day = '{}' and instrument_id = {}"


def main() -> None:
    """Answer one JSON line a request: read a symbol's day into a frame, and time it."""
    connection, at = None, ""
    for line in sys.stdin:
        told = json.loads(line)
        if told["url"] != at:
            at = told["url"]
            connection = adbc.connect(at, autocommit=True)
        assert connection is not None
        query = _QUERY.format(", ".join(_SCHEMA), told["day"], told["number"])
        start = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(query)
            frame = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table())).cast(pl.Schema(_SCHEMA))
        if not frame["id"].is_sorted():
            frame = frame.sort("id")
        taken = time.perf_counter() - start
        answer = {
            "seconds": taken,
            "rows": frame.height,
            "hash": float(frame.hash_rows(1).sum() % 2**50),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
