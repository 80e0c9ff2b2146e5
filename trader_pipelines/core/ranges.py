"""Sets of ids as sorted, disjoint, inclusive ranges: union, difference, runs."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trader_pipelines.core.certificates import Range


def runs(ids: NDArray[np.int64]) -> list[Range]:
    """The ranges that strictly ascending ids form."""
    if not ids.size:
        return []
    breaks = np.flatnonzero(np.diff(ids) > 1)
    firsts = ids[np.concatenate(([0], breaks + 1))].tolist()
    lasts = ids[np.concatenate((breaks, [ids.size - 1]))].tolist()
    return list(zip(firsts, lasts, strict=True))


def union(*many: Iterable[Range]) -> list[Range]:
    """All ids of any of them; neighbours become one range."""
    joined: list[Range] = []
    for first, last in sorted(each for ranges in many for each in ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def difference(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """The ids of `ranges` that are in none of `others`; both sorted and disjoint."""
    left: list[Range] = []
    cuts = list(others)
    at = 0
    for first, last in ranges:
        while at < len(cuts) and cuts[at][1] < first:
            at += 1
        begin, index = first, at
        while index < len(cuts) and cuts[index][0] <= last:
            if begin < cuts[index][0]:
                left.append((begin, cuts[index][0] - 1))
            begin = max(begin, cuts[index][1] + 1)
            index += 1
        if begin <= last:
            left.append((begin, last))
    return left


def inside(ids: NDArray[np.int64], ranges: list[Range]) -> NDArray[np.bool_]:
    """Which of the ids lie in one of the sorted, disjoint ranges."""
    if not ranges:
        return np.zeros(ids.size, np.bool_)
    bounds = np.array(ranges, np.int64)
    at = np.searchsorted(bounds[:, 0], ids, "right") - 1
    found: NDArray[np.bool_] = (at >= 0) & (ids <= bounds[at, 1])
    return found


def windows(ranges: Iterable[Range], most: int) -> list[list[Range]]:
    """Sorted ranges in groups that span `most` ids at most; a wider one stands alone."""
    groups: list[list[Range]] = []
    for one in ranges:
        if groups and one[1] - groups[-1][0][0] < most:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups
