"""Polish: retraining members of a final front, to find the smallest that is no worse than homogeneous 8 bit.

Retraining moves the whole front, so how small a network may become is not known beforehand. The sizes between the
smallest that held and the largest that did not are narrowed down, a few trainings at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Member:
    """A candidate for retraining: its size, and whether it is expected to hold."""

    size: float
    expected: bool


def polish(
    members: Sequence[Member], train: Callable[[list[int]], list[bool]], budget: int, together: int = 2
) -> dict[int, bool]:
    """Train up to `budget` members, `together` at a time; index -> whether it held.

    members  in any order; between two of equal size the first is taken
    train    trains members by index and says which of them hold

    It begins with the smallest that is expected to hold (the largest if none is) and one between it and the smallest
    of all; then between the largest that failed and the smallest that held, at equal ratios of size.

    >>> sizes = [10, 20, 30, 40, 50, 60]
    >>> polish([Member(s, s >= 50) for s in sizes], lambda tried: [sizes[i] >= 30 for i in tried], 4)
    {4: True, 1: False, 2: True, 3: True}
    """
    sizes = np.array([member.size for member in members], np.float64)
    tried: dict[int, bool] = {}
    while len(tried) < budget and len(tried) < len(members):
        held = [sizes[i] for i, good in tried.items() if good]
        high = min(held, default=float(sizes.max()))
        low = max((sizes[i] for i, good in tried.items() if not good and sizes[i] < high), default=float(sizes.min()))
        together_ = min(together, budget - len(tried))
        if not tried:
            first = min((m.size for m in members if m.expected), default=high)
            wanted = np.geomspace(first, low, together_ + 1)[:-1] if first > low else np.array([first])
        elif held:
            wanted = np.geomspace(low, high, together_ + 2)[1:-1]
        else:
            # nothing held yet: above what failed, the largest last
            wanted = np.geomspace(low, high, together_ + 1)[1:]
        left = [i for i in range(len(members)) if i not in tried
                and (low < sizes[i] < high or (not held and low <= sizes[i] <= high))]
        chosen: list[int] = []
        for size in wanted:
            open_ = [i for i in left if i not in chosen]
            if open_:
                chosen.append(min(open_, key=lambda i: (abs(np.log(sizes[i] / size)), i)))
        if not chosen:
            break
        tried |= dict(zip(chosen, train(chosen), strict=True))
    return tried
