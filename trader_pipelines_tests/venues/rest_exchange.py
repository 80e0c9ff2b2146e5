"""What tests of the REST venues share: one made-up tape, its truth, impatient venues."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from trader_pipelines.core.instruments import Instrument
from trader_pipelines.core.trades import TRADES
from trader_pipelines.venues.binance import Binance
from trader_pipelines.venues.budget import Budget
from trader_pipelines.venues.patience import Patience
from trader_pipelines_tests.exchange import faults as fault_lists
from trader_pipelines_tests.exchange.formats import load
from trader_pipelines_tests.exchange.running import Running
from trader_pipelines_tests.exchange.tapes import Tape

DAY = date(2024, 1, 2)
#: 3,500 trades of one symbol over 2 hours of `DAY`.
MADE_UP = "synthetic:1:0.5:7000:2024-01-02T10:00"
SYMBOL = Instrument("binance", "SYN000USDT", Decimal("0.01"), Decimal("0.0001"), date(2024, 1, 1))
QUICK = Patience(attempts=12, longest_wait=0.005, timeout=1.0)


def open_budget(limit: int = 10**9, **more: Any) -> Budget:
    """A budget of its own, that no other test has spent."""
    return Budget("binance", limit, **{"usual_hold": 0.02, **more})


def binance(running: Running, **more: Any) -> Binance:
    """The venue, pointed at a running exchange."""
    return Binance(
        url=running.urls["binance_rest"],
        **{"patience": QUICK, "budget": open_budget(), "today": lambda: date(2030, 1, 1), **more},
    )


def truth(spec: str, instrument: Instrument) -> pl.DataFrame:
    """The trades of a tape as they must arrive."""
    (tape,) = load(spec)
    return as_trades(tape, instrument)


def as_trades(tape: Tape, instrument: Instrument) -> pl.DataFrame:
    """A Binance tape of schema `TRADES`."""
    return pl.DataFrame(
        {
            "id": tape.id,
            "ts_event": tape.ts,
            "price": tape.price // 10 ** (tape.price_dp - instrument.price_scale),
            "size": tape.size // 10 ** (tape.size_dp - instrument.size_scale),
            "side": tape.side,
            "fills": tape.last - tape.first + 1,
        }
    ).cast(TRADES)


def schedule(seed: int, spaces: Iterable[str] = ("request", "answer", "rows")) -> dict[str, Any]:
    """A seeded mixture of faults; pauses told by the venue are rare, as they last a second."""
    made = fault_lists.mixture(seed, spaces, wait=0.05)
    for entry in made["faults"]:
        if entry["kind"] == "too_many" and seed % 50 != 7:
            entry["retry_after"] = None
    return made


@dataclass(frozen=True)
class Asked:
    """Requests that an exchange counted since it was reset."""

    running: Running

    def of(self, endpoint: str) -> int:
        counted: dict[str, int] = self.running.ask("state")["requests"]
        return counted.get(endpoint, 0)
