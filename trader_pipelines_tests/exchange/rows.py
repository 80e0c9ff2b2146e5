"""Rows of trade pages, and what faults do to them."""

from dataclasses import dataclass, replace
from typing import TypeVar

from trader_pipelines_tests.exchange.faults import Faults
from trader_pipelines_tests.exchange.tapes import rounded, text

RETOLD = ("mixed_ids", "microseconds")
SHUFFLED = ("missing_rows", "repeated_rows", "disordered_rows", "empty_page")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ``aggTrades`` (its strings ready) or of ``trades`` (its integers)."""

    id: int
    price: str | int
    size: str | int
    first: int
    last: int
    time: int
    maker: bool

    def aggregate(self) -> bytes:
        """JSON of ``aggTrades``."""
        return (
            f'{{"a":{self.id},"p":"{self.price}","q":"{self.size}","f":{self.first},'
            f'"l":{self.last},"T":{self.time},"m":{"true" if self.maker else "false"},"M":true}}'
        ).encode()

    def raw(self, price_dp: int, size_dp: int) -> bytes:
        """JSON of ``trades`` and ``historicalTrades``."""
        price, size = int(self.price), int(self.size)
        return (
            f'{{"id":{self.id},"price":"{text(price, price_dp)}","qty":"{text(size, size_dp)}",'
            f'"quoteQty":"{rounded(price * size, price_dp + size_dp)}","time":{self.time},'
            f'"isBuyerMaker":{"true" if self.maker else "false"},"isBestMatch":true}}'
        ).encode()


def spoiled(faults: Faults, endpoint: str, symbol: str, rows: list[Row]) -> list[Row]:
    """A page of Binance after the faults that fire for it."""
    for kind in RETOLD:
        if len(rows) > 1 and faults.first([kind], endpoint, symbol):
            half = len(rows) // 2 if kind == "mixed_ids" else 0
            rows = rows[:half] + [_retold(kind, row) for row in rows[half:]]
    return shuffled(faults, endpoint, symbol, rows)


def _retold(kind: str, row: Row) -> Row:
    return replace(row, id=row.first) if kind == "mixed_ids" else replace(row, time=row.time * 1000)


def shuffled(faults: Faults, endpoint: str, symbol: str, rows: list[T]) -> list[T]:
    """Any page after the faults that lose, repeat or exchange rows."""
    for kind in SHUFFLED:
        if len(rows) > 1 and faults.first([kind], endpoint, symbol):
            middle = len(rows) // 2
            match kind:
                case "missing_rows":
                    rows = rows[:middle] + rows[middle + 1 :]
                case "repeated_rows":
                    rows = rows[: middle + 1] + rows[middle:]
                case "disordered_rows":
                    rows = rows.copy()
                    rows[middle - 1], rows[middle] = rows[middle], rows[middle - 1]
                case _:
                    rows = []
    return rows
