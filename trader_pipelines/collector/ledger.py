"""What is known of one symbol's ids: which came, which are missing, which are not believed yet."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trader_pipelines.core.certificates import Range
from trader_pipelines.core.ranges import difference, inside, runs, union

Ids = NDArray[np.int64]

#: A print so far from its neighbours is of another id space, or comes after a long absence: REST
#: is asked which.
LARGEST_JUMP = 100_000


@dataclass
class Ledger:
    """The ids of one symbol at a venue that counts them by one.

    Parameters
    ----------
    first : int or None
        The lowest id that has to be there; None before anything is known.
    after : int
        The id that follows the highest one that is there.
    missing : list of Range
        Ids between the two that are not there.
    given_up : list of Range
        Those of them that REST was asked for in vain; they stay missing, and are not asked again.
    doubted : list of Range
        Ids that the stream brought and that only REST can tell to be of this symbol's space.
    """

    first: int | None = None
    after: int = 0
    missing: list[Range] = field(default_factory=list)
    given_up: list[Range] = field(default_factory=list)
    doubted: list[Range] = field(default_factory=list)

    @property
    def last(self) -> int | None:
        """The highest id that is there."""
        return self.after - 1 if self.first is not None and self.after > self.first else None

    def begin(self, first: int) -> None:
        """From this id on everything has to be there; what lies before is not given up for it."""
        if self.first is None:
            self.first = self.after = first
        elif first < self.first:
            self.missing.insert(0, (first, self.first - 1))
            self.first = first

    def open(self) -> list[Range]:
        """What REST has to be asked for."""
        holes = difference(self.missing, self.given_up)
        return union(holes, self.doubted) if self.doubted else holes

    def doubt(self, ids: Ids, doubtful: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the stream's ids are believed; the others are noted, to be asked for.

        Parameters
        ----------
        ids : ndarray of int64, shape (n,)
            Strictly ascending.
        doubtful : ndarray of bool, shape (n,)
            What the venue's own message says against an id.
        """
        odd = doubtful.copy()
        if self.first is not None:
            odd |= (ids >= self.after + LARGEST_JUMP) | (ids < self.first - LARGEST_JUMP)
        elif ids.size:
            # Nothing is known yet: the lowest id with its neighbours, not one far away.
            start = ids[~odd][:1]
            odd |= ids >= (start[0] if start.size else ids[0]) + LARGEST_JUMP
        if odd.any():
            # An id that is there already needs no proof; it is a repetition.
            known = np.zeros(ids.size, np.bool_)
            if self.first is not None:
                known = (ids >= self.first) & (ids < self.after) & ~inside(ids, self.missing)
            self.doubted = union(self.doubted, runs(ids[odd & ~known]))
        return ~odd

    def accept(self, ids: Ids) -> NDArray[np.bool_]:
        """Note ids as there; which of them were not before.

        Parameters
        ----------
        ids : ndarray of int64, shape (n,)
            Strictly ascending, believed.
        """
        if not ids.size:
            return np.zeros(0, np.bool_)
        if self.first is None:
            self.first = self.after = int(ids[0])
        first, after = self.first, self.after
        new: NDArray[np.bool_] = (ids >= after) | (ids < first)
        if self.missing:
            hit = inside(ids, self.missing)
            if hit.any():
                new |= hit
                came = runs(ids[hit])
                self.missing = difference(self.missing, came)
                self.given_up = difference(self.given_up, came)
        if ids[-1] >= after:
            self.after = int(ids[-1]) + 1
            if self.after - after > np.count_nonzero(ids >= after):
                holes = difference([(after, self.after - 1)], runs(ids[ids >= after]))
                self.missing = union(self.missing, holes)
        if ids[0] < first:
            self.first = int(ids[0])
            holes = difference([(self.first, first - 1)], runs(ids[ids < first]))
            self.missing = union(self.missing, holes)
        if self.doubted:
            self.doubted = difference(self.doubted, runs(ids))
        return new

    def dismiss(self, asked: Range) -> int:
        """REST has nothing more of a range: doubts are refuted, holes given up.

        Returns
        -------
        int
            How many ids were refuted: they are of another space.
        """
        refuted = sum(
            min(last, asked[1]) - max(first, asked[0]) + 1
            for first, last in self.doubted
            if first <= asked[1] and asked[0] <= last
        )
        self.doubted = difference(self.doubted, [asked])
        holes = difference([asked], difference([asked], self.missing))
        self.given_up = union(self.given_up, holes)
        return refuted
