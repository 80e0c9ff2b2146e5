"""The kinds of faults there are, where each acts, and what it does."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a fault acts and what it does.

    Parameters
    ----------
    space : str
        ``request``: instead of the answer; ``answer``: to the finished body; ``rows``: to what
        the body says; ``stream``: to a print on its way; ``tape``: to the market itself.
    says : str
        One line for ``--list-faults``.
    defaults : mapping
        Parameters that differ from those of `Fault`.
    """

    space: str
    says: str
    defaults: dict[str, Any] = field(default_factory=dict)


SPACES = ("request", "answer", "rows", "stream")

KINDS = {
    # request
    "too_many": Kind("request", "429; with `retry_after` seconds it holds that long"),
    "ban": Kind("request", "418 for `seconds`; on Alpaca 403", {"seconds": 120.0}),
    "status": Kind("request", "answers `status` (500, 502, 503, 504, 404, 403, 451 ...)"),
    "slow": Kind("request", "answers after `seconds`"),
    "hang": Kind("request", "never answers, or closes after `seconds`", {"seconds": 3600.0}),
    "refuse": Kind("request", "closes the connection without an answer"),
    "expired_token": Kind("request", "422 to a page token of Alpaca", {"on": "alpaca.*"}),
    # answer
    "cut": Kind("answer", "closes the connection in the middle of the body"),
    "truncate": Kind("answer", "half of the JSON with status 200 and a length that fits it"),
    "corrupt": Kind("answer", "flips one bit of the body", {"on": "archive.*"}),
    # rows
    "mixed_ids": Kind("rows", "half of a page of aggTrades carries raw trade ids in `a`"),
    "microseconds": Kind("rows", "a page stamped in microseconds"),
    "missing_rows": Kind("rows", "a page without one row in its middle"),
    "repeated_rows": Kind("rows", "a page with one row twice"),
    "disordered_rows": Kind("rows", "a page with two neighbours exchanged"),
    "empty_page": Kind("rows", "a page without rows though there are some"),
    "wrong_kline": Kind("rows", "one bar of a page counts one trade too many"),
    # stream
    "drop": Kind("stream", "a print is never sent", {"on": "*.stream"}),
    "duplicate": Kind("stream", "a print is sent twice", {"on": "*.stream"}),
    "reorder": Kind("stream", "a print comes `by` prints late", {"on": "*.stream"}),
    "disconnect": Kind(
        "stream",
        "all connections close (`code`, 1006 without a word); `lose` prints go by unheard",
        {"on": "*.stream"},
    ),
    "stall": Kind("stream", "silence for `seconds`, then everything", {"on": "*.stream"}),
    "garble": Kind("stream", "half a frame's JSON before the print", {"on": "*.stream"}),
    "stream_mixed_ids": Kind("stream", "aggTrade carries its raw id in `a`", {"on": "*.stream"}),
    "stream_microseconds": Kind("stream", "a print stamped in microseconds", {"on": "*.stream"}),
    # tape
    "hole": Kind("tape", "ids `first` to `last` are missing in `where` (rest, stream, archive)"),
    "empty_hour": Kind("tape", "from `start` (ISO) no prints for `seconds`", {"seconds": 3600.0}),
    "halt": Kind("tape", "the same, and the venue says so", {"seconds": 600.0}),
    "clock_skew": Kind("tape", "the venue's clock is off by `ms`", {"ms": 300_000}),
    "cancel": Kind("tape", "prints (`ids` or `rate`) are cancelled afterwards", {"rate": 0.001}),
    "correct": Kind("tape", "prints (`ids` or `rate`) are corrected afterwards", {"rate": 0.001}),
}

#: Kinds after which the whole tape can still be had by trying again.
BENIGN = (
    "too_many",
    "status",
    "slow",
    "hang",
    "refuse",
    "expired_token",
    "cut",
    "truncate",
    "mixed_ids",
    "microseconds",
    "missing_rows",
    "repeated_rows",
    "disordered_rows",
    "empty_page",
    "drop",
    "duplicate",
    "reorder",
    "disconnect",
    "stall",
    "garble",
    "stream_mixed_ids",
    "stream_microseconds",
)
