"""A day in pieces: the same hash and the same bytes as the whole, and nothing left of it."""

import errno
import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_pipelines.core.errors import DamagedFileError, DiskFullError
from trader_pipelines.core.trades import TRADES, content_hash
from trader_pipelines.stores.cold import encoding, streaming
from trader_pipelines_tests.stores.cold.made import DAYS, trades

ABOUT = {"price_scale": "2", "size_scale": "3", "venue": "binance"}


def pieces(frame: pl.DataFrame, cuts: list[int]) -> Iterator[pl.DataFrame]:
    edges = sorted({0, frame.height, *(cut % (frame.height + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        yield frame.slice(start, end - start)


def noisy(count: int, step_ns: int, seed: int) -> pl.DataFrame:
    """Trades at random prices, with stamps on a grid of `step_ns`."""
    dice = np.random.default_rng(seed)
    stamps = np.sort(dice.integers(0, 86_400_000_000_000 // step_ns, count)) * step_ns
    return pl.DataFrame(
        {
            "id": np.cumsum(dice.integers(1, 4, count)),
            "ts_event": stamps + 1_704_067_200_000_000_000,
            "price": dice.integers(1, 10**9, count),
            "size": dice.integers(1, 10**6, count),
            "side": dice.choice([-1, 0, 1], count),
            "fills": dice.integers(1, 9, count),
        }
    ).cast(TRADES)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 40_000),
    st.sampled_from([1, 1_000, 1_000_000]),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 40_000), max_size=6),
)
def test_spooled_day_hashes_and_encodes_as_the_whole_frame(
    tmp_path_factory: pytest.TempPathFactory, count: int, step: int, seed: int, cuts: list[int]
) -> None:
    frame = noisy(count, step, seed)
    folder = tmp_path_factory.mktemp("spool")
    with streaming.spooled(pieces(frame, cuts), folder) as day:
        assert (day.rows, day.content_hash()) == (count, content_hash(frame))
        content = day.encode(ABOUT)
    assert content == encoding.encode(frame, ABOUT)
    assert streaming.proof(content, "here") == (count, content_hash(frame))
    back = [TRADES.to_frame(), *streaming.chunks_of(content, "here")]
    assert pl.concat(back).equals(frame)


def test_spooled_day_of_several_parts_encodes_as_the_whole_frame(tmp_path: Path) -> None:
    # The last part is short, one stamp off the grid stands in it, and no piece ends where a part does.
    frame = pl.concat([noisy(2 * encoding.PART, 1_000_000, 1), noisy(1_000, 1, 2)])
    with streaming.spooled(frame.iter_slices(300_001), tmp_path) as day:
        content = day.encode(ABOUT)
        assert day.content_hash() == content_hash(frame)
    assert content == encoding.encode(frame, ABOUT)
    assert streaming.proof(content, "here") == (frame.height, content_hash(frame))
    assert max(piece.height for piece in streaming.chunks_of(content, "here")) <= encoding.ROW_GROUP


def test_spool_has_no_name_so_that_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    with streaming.spooled([trades(DAYS[0])], tmp_path / "spool") as day:
        assert day.rows == 1_000
        assert list((tmp_path / "spool").iterdir()) == []


def test_spool_on_a_full_disk_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full.open("w+b", buffering=0))
    with pytest.raises(DiskFullError) as caught, streaming.spooled([trades(DAYS[0])], tmp_path):
        pass
    assert os.strerror(errno.ENOSPC) in caught.value.what
    assert str(tmp_path) in caught.value.where


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_proof_of_a_damaged_file_is_a_typed_error(at: float) -> None:
    frame = noisy(50_000, 1_000, 3)
    content = bytearray(encoding.encode(frame, ABOUT))
    content[int(len(content) * at)] ^= 0x10
    with pytest.raises(DamagedFileError, match="the file"):
        streaming.proof(bytes(content), "the file")


def test_proof_of_something_else_is_a_typed_error() -> None:
    other = encoding.encode(pl.DataFrame({"id": [1, 2]}), {})
    for content in (b"", b"PAR1", other, other[:-5]):
        with pytest.raises(DamagedFileError, match="not "):
            streaming.proof(content, "the file")
