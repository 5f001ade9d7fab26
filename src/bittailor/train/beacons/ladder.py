"""The ladder: members along a front, from wide to narrow, each retrained shortly from the nearest before it.

A short retraining does most of the work of a long one, and what a rung has learned is of use to the next narrower one.
So many members are trained a little in place of a few that are trained long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bittailor.search.front import nondominated

NARROWEST = 0.13
"""The size of the last rung, about, as a share of homogeneous 8 bit: that of homogeneous 1 bit is 0.125."""

Widths = Mapping[str, int]


def rungs(points: NDArray[np.float64], number: int, smallest: float, largest: float) -> list[int]:
    """The members of a front that become rungs, the largest first; at most `number`.

    points             [candidates, 2], loss and size; those that another dominates are passed over
    smallest, largest  sizes between which rungs lie

    They are the nearest to sizes at equal ratios between the largest and the smallest member in bounds.

    >>> sizes = np.array([10.0, 16, 20, 24, 40, 90])
    >>> rungs(np.stack([1 / sizes, sizes], axis=1), 3, 10, 50)
    [4, 2, 0]
    """
    inside = np.flatnonzero((points[:, 1] >= smallest) & (points[:, 1] <= largest))
    front = inside[nondominated(points[inside])]
    if not len(front):
        return []
    sizes = points[front, 1]
    chosen: list[int] = []
    for size in np.geomspace(sizes.max(), sizes.min(), number):
        left = [int(i) for i in front if i not in chosen]
        if left:
            chosen.append(min(left, key=lambda i: (abs(np.log(points[i, 1] / size)), points[i, 0], i)))
    return sorted(chosen, key=lambda i: (-points[i, 1], i))


def parents(
    rungs: Sequence[Widths], known: Sequence[Widths], far: Callable[[Widths, Widths], float], together: int,
) -> list[int | None]:
    """What each rung starts from: the index of the nearest, by `far`, of `known` and of the rungs before it that are
    not trained side by side with it, `together` at a time; in [*known, *rungs]. None: from the float network.

    >>> parents([{"W": 4}, {"W": 3}, {"W": 2}, {"W": 1}], [], lambda a, b: abs(a["W"] - b["W"]), 2)
    [None, None, 1, 1]
    """
    found: list[int | None] = []
    for i, widths in enumerate(rungs):
        before = [*known, *rungs[: i - i % together]]
        found.append(min(range(len(before)), default=None, key=lambda j: (far(widths, before[j]), -j)))
    return found
