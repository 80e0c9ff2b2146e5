"""A running exchange for tests: started as a subprocess, asked over its control endpoint."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MARKET_DATA = Path(os.environ.get("TRADER_MARKET_DATA", ROOT.parent / "shared" / "market-data"))


@dataclass(frozen=True)
class Running:
    """Addresses of a running exchange, and its control.

    Parameters
    ----------
    urls : dict
        As the command line prints them: ``binance_rest``, ``binance_ws``, ``archive``,
        ``alpaca``, ``alpaca_stocks_ws``, ``alpaca_iex_ws``, ``alpaca_crypto_ws``, ``control``...
    process : Popen
        The exchange itself.
    """

    urls: dict[str, Any]
    process: subprocess.Popen[str]

    def ask(self, what: str, **query: Any) -> Any:
        """GET ``/_control/<what>``: state, requests, symbols, tape, sent."""
        address = f"{self.urls['control']}/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)

    def tell(self, what: str, body: Any = None, **told: Any) -> Any:
        """POST ``/_control/<what>``: faults, clock, revise, replay, disconnect, reset.

        ``tell("reset", limits=True, replay=True, faults=spec)`` makes one exchange serve many
        tests: counters, weights and bans are gone, the tape begins anew under other faults.
        """
        request = urllib.request.Request(
            f"{self.urls['control']}/{what}",
            data=json.dumps(told if body is None else body).encode(),
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def binance(self, **settings: Any) -> dict[str, Any]:
        """Settings that point ``ccxt.binance`` and ``ccxt.pro.binance`` here, merged with yours."""
        api = {"public": self.urls["binance_rest"], "ws": {"spot": self.urls["binance_ws"]}}
        options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
        own = settings.pop("options", {})
        return {"urls": {"api": api}, "options": options | own, **settings}


@contextlib.contextmanager
def running_exchange(
    tapes: Sequence[str | Path],
    faults: Any = None,
    *,
    ready_seconds: float = 120.0,
    **options: Any,
) -> Iterator[Running]:
    """Start an exchange, wait until it is ready, stop it at the end.

    Parameters
    ----------
    tapes : sequence of str or Path
        ``--tape`` each.
    faults : list, dict or str, optional
        ``--faults``; lists and dicts are written as JSON.
    options
        Other settings by the names of the command line with underscores: ``rate=20000``,
        ``live_from="start"``, ``clock="tape"``, ``pace=60``, ``key=["a:b:sip"]``.

    Yields
    ------
    Running
        Ready to be spoken to. Afterwards the process has ended.
    """
    command = [sys.executable, "-m", "trader_pipelines_tests.exchange"]
    for tape in tapes:
        command += ["--tape", str(tape)]
    if faults is not None:
        command += ["--faults", faults if isinstance(faults, str) else json.dumps(faults)]
    for name, value in options.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            command += [f"--{name.replace('_', '-')}", str(each)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait(ready_seconds)
                said.seek(0)
                raise RuntimeError(f"the exchange did not start: {said.read()[-2000:]}")
            yield Running(json.loads(line), process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
