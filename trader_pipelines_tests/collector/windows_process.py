"""A collector of the test exchange's Alpaca side, and the process that tests kill."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from trader_pipelines.collector.options import Options
from trader_pipelines.collector.running import run
from trader_pipelines.collector.status import Status
from trader_pipelines.collector.windows.collect import collect_windows
from trader_pipelines.collector.windows.options import Proving
from trader_pipelines.core.instruments import UTC_DAYS, Instrument
from trader_pipelines.venues.alpaca import Alpaca
from trader_pipelines.venues.stream_alpaca import AlpacaFeed
from trader_pipelines_tests.venues.rest_exchange import QUICK, open_budget

FAST = Options(
    batch_seconds=0.02,
    silence=2.0,
    back_off=0.02,
    back_off_cap=0.1,
    quiet_cap=0.5,
    tries=8,
    report=0.05,
)
PROVING = Proving(delay=5.0, poll=0.02, audit=0.3, slack=5.0, crowded=5.0)
MINUTE = 60_000_000_000


@dataclass
class Clock:
    """The exchange's clock, and what a test adds to it."""

    control: str
    ahead: int = 0

    def __call__(self) -> int:
        return int(self.state()["now_ms"]) * 1_000_000 + self.ahead

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.control}/state", timeout=30) as answer:
            return dict(json.load(answer))


@dataclass
class Venue:
    """How to collect from a running exchange."""

    port: int
    crypto: bool = False
    key: str = "test-key"
    secret: str = "test-secret"
    kind: type[AlpacaFeed] = AlpacaFeed
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(f"http://127.0.0.1:{self.port}/_control")

    @property
    def name(self) -> str:
        return "coins" if self.crypto else "alpaca"

    @property
    def calendar(self) -> str:
        return UTC_DAYS if self.crypto else "XNYS"

    def feed(self) -> AlpacaFeed:
        return self.kind(
            self.name, self.key, self.secret, f"ws://127.0.0.1:{self.port}", self.crypto
        )

    def rest(self, **more: Any) -> Alpaca:
        settings: dict[str, Any] = {"patience": QUICK, "budget": open_budget(), "page": 500}
        return Alpaca(
            self.name,
            self.key,
            self.secret,
            f"http://127.0.0.1:{self.port}",
            crypto=self.crypto,
            today=lambda: date(2030, 1, 1),
            **{**settings, **more},
        )

    def collecting(
        self,
        instruments: Iterable[Instrument],
        database_url: str,
        *,
        begin: int | None = None,
        options: Options = FAST,
        proving: Proving = PROVING,
    ) -> Callable[[asyncio.Event, Callable[[Status], None]], Any]:
        """What `collector.running.run` runs."""

        def collecting(stop: asyncio.Event, report: Callable[[Status], None]) -> Any:
            return collect_windows(
                self.feed(),
                instruments,
                database_url,
                self.rest(),
                self.calendar,
                stop=stop,
                report=report,
                options=options,
                proving=proving,
                begin=begin,
                now=self.clock,
            )

        return collecting


def stocks(symbols: Iterable[str]) -> list[Instrument]:
    """Made-up equities."""
    grid = Decimal("0.01"), Decimal("0.0001")
    return [Instrument("alpaca", symbol, *grid, date(2010, 1, 1)) for symbol in symbols]


def main(arguments: Mapping[str, Any]) -> int:
    venue = Venue(int(arguments["port"]))
    ahead = Path(arguments["ahead"])  # once the test has written it, the day has gone on

    def report(status: Status) -> None:
        if ahead.exists():
            venue.clock.ahead = int(ahead.read_text())
        sys.stdout.write(json.dumps(status.as_dict()) + "\n")
        sys.stdout.flush()

    report(
        run(
            venue.collecting(
                stocks(arguments["symbols"]), arguments["database_url"], begin=arguments["begin"]
            ),
            report,
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1])))
