"""Front: the non-dominated solutions of a search, and how good a front is.

A point dominates another if it is no worse in any objective and better in at least one. An objective is minimised or
maximised. A `Front` and a `Box` hold values as they were measured; the functions on plain arrays take *costs*, which
are minimised throughout: values times the `signs` of their objectives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.registry import Table
from bittailor.search.space import Genome

Points = NDArray[np.float64]


def signs(objectives: Sequence[str], maximised: Collection[str] = ()) -> Points:
    """1 for each objective that is minimised, -1 for each that is maximised: values times signs are costs."""
    return np.array([-1.0 if name in maximised else 1.0 for name in objectives])


@dataclass(frozen=True, eq=False)
class Front:
    """Solutions of which none dominates another, sorted by the first objective, the best one first.

    objectives  their names, the columns of `points`
    genomes     one per solution
    points      float64 [solutions, objectives], as measured
    values      everything the evaluation reported about each solution, by name
    maximised   those of the objectives of which more is better
    """

    objectives: tuple[str, ...]
    genomes: tuple[Genome, ...]
    points: Points
    values: tuple[Mapping[str, float], ...]
    maximised: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.genomes)

    @property
    def costs(self) -> Points:
        """The points, every objective minimised: float64 [solutions, objectives]."""
        return self.points * signs(self.objectives, self.maximised)

    @property
    def best(self) -> dict[str, float]:
        """Objective -> its best value in the front; empty where the front is."""
        if not len(self):
            return {}
        found = self.costs.min(axis=0) * signs(self.objectives, self.maximised)
        return dict(zip(self.objectives, found.tolist(), strict=True))

    def column(self, objective: str) -> int:
        """The column of an objective; UnknownName lists those there are."""
        return Table("objective", {name: i for i, name in enumerate(self.objectives)})[objective]

    def knee(self) -> int | None:
        """Index of the solution that gives most for least; see the function `knee`."""
        return knee(self.costs)

    def smallest_within(self, objective: str, limit: float, minimise: str = "size") -> int | None:
        """Index of the solution with the best `minimise` among those with `objective` <= limit (>= where maximised)."""
        sign = -1.0 if objective in self.maximised else 1.0
        return smallest_within(self.costs, self.column(objective), sign * limit, self.column(minimise))

    def to_dict(self) -> dict[str, Any]:
        """The front as JSON values."""
        return {"objectives": list(self.objectives),
                "solutions": [{"genome": list(genome), "values": dict(values)}
                              for genome, values in zip(self.genomes, self.values, strict=True)]}


@dataclass(frozen=True)
class ReferenceBox:
    """The part of objective space in which hypervolume is measured, fixed for a whole run.

    ideal      the best value of each objective among the solutions that define the box
    reference  the point that bounds the box; solutions beyond it in any objective count nothing. It lies above `ideal`
               where an objective is minimised, below where it is maximised

    A hypervolume is given as a share of the box between the two, so objectives of any unit weigh alike. A
    front that reaches beyond `ideal` may exceed 1.
    """

    ideal: tuple[float, ...]
    reference: tuple[float, ...]

    @classmethod
    def around(cls, points: ArrayLike, signs: ArrayLike = 1.0, margin: float = 0.1) -> ReferenceBox:
        """The box around points [n, objectives] as measured, of which at least one must be finite; `signs` as the
        function of that name gives them.

        The reference lies `margin` of the spread beyond the worst value, so that the ends of a front count;
        where all values are equal, the spread is taken to be the value itself (or 1 for 0).
        """
        sign = np.asarray(signs, np.float64)
        finite = _finite(points) * sign
        if not len(finite):
            raise ValueError("no finite point to put a box around")
        low, high = finite.min(axis=0), finite.max(axis=0)
        spread = np.where(high > low, high - low, np.where(low != 0, np.abs(low), 1.0))
        return cls(tuple((low * sign).tolist()), tuple(((high + margin * spread) * sign).tolist()))

    def hypervolume(self, points: ArrayLike) -> float:
        """The share of the box that points [n, objectives] as measured dominate: 0 for none, 1 for one at `ideal`."""
        ideal, reference = np.array(self.ideal), np.array(self.reference)
        scaled = (_finite(points, len(ideal)) - ideal) / (reference - ideal)
        return hypervolume(scaled, np.ones(len(ideal)))


def nondominated(points: ArrayLike) -> NDArray[np.int64]:
    """Indices, ascending, of the points that no other point dominates; of equal points only the first.

    points  costs [n, objectives]; one with NaN or infinity is never part of the set
    O(n log n) for one or two objectives, O(n · size of the set) for more.
    """
    values = np.asarray(points, np.float64)
    if values.size == 0:
        return np.empty(0, np.int64)
    index = np.flatnonzero(np.isfinite(values).all(axis=1))
    # lexsort is stable and takes its last key first: by objective 0, then 1, ..., then by index
    order = index[np.lexsort(values[index].T[::-1])]
    sorted_ = values[order]
    if values.shape[1] <= 2:
        last = sorted_[:, -1]
        if values.shape[1] == 1:
            return order[:1]
        best_before = np.minimum.accumulate(np.concatenate([[np.inf], last]))[:-1]
        return np.sort(order[last < best_before])
    chosen = []
    while len(order):
        # nothing later in the order can dominate the first, so it belongs to the set
        chosen.append(order[0])
        better_somewhere = (sorted_ < sorted_[0]).any(axis=1)
        order, sorted_ = order[better_somewhere], sorted_[better_somewhere]
    return np.sort(np.array(chosen, np.int64))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The volume that costs [n, objectives] dominate, bounded by the reference [objectives]; exact.

    Points with NaN or infinity, and those not better than the reference in every objective, count nothing.
    One and two objectives are summed here; more go through pymoo.
    Source  Zitzler, Thiele: Multiobjective optimization using evolutionary algorithms (PPSN 1998).

    >>> hypervolume([[0.0, 0.5], [0.5, 0.0]], [1.0, 1.0])
    0.75
    """
    bound = np.asarray(reference, np.float64)
    values = _finite(points, len(bound))
    values = values[(values < bound).all(axis=1)]
    values = values[nondominated(values)]
    if not len(values):
        return 0.0
    if len(bound) == 1:
        return float(bound[0] - values.min())
    if len(bound) == 2:
        values = values[np.argsort(values[:, 0])]
        right = np.append(values[1:, 0], bound[0])
        return float(np.sum((right - values[:, 0]) * (bound[1] - values[:, 1])))
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=bound)(values))


def knee(points: ArrayLike) -> int | None:
    """Index of the point that bulges furthest from the plane through the ends of a front; None for no points.

    points  costs [n, objectives]

    Each objective is scaled to 0..1 over the front: the plane is "sum = 1", the knee has the smallest sum.
    Source  Das: On characterizing the "knee" of the Pareto curve (Structural Optimization 18, 1999).
    """
    values = np.asarray(points, np.float64)
    if values.size == 0:
        return None
    low, high = values.min(axis=0), values.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    return int(np.argmin(((values - low) / spread).sum(axis=1)))


def smallest_within(points: ArrayLike, objective: int, limit: float, minimise: int = -1) -> int | None:
    """Index of the point with the smallest column `minimise` among those with column `objective` <= limit, of costs.

    Of equal ones that with the smaller `objective`, then the first. None where no point is within the limit.
    """
    values = np.asarray(points, np.float64)
    if values.size == 0:
        return None
    within = np.flatnonzero(values[:, objective] <= limit)
    if not len(within):
        return None
    return int(within[np.lexsort((values[within, objective], values[within, minimise]))[0]])


def make_front(objectives: Sequence[str], genomes: Sequence[Genome], points: ArrayLike,
               values: Sequence[Mapping[str, float]], maximised: Collection[str] = ()) -> Front:
    """The front of any solutions, points as measured: the non-dominated ones, sorted by the first objective."""
    table = np.asarray(points, np.float64).reshape(len(genomes), len(objectives))
    costs = table * signs(objectives, maximised)
    kept = nondominated(costs)
    kept = kept[np.argsort(costs[kept, 0], kind="stable")]
    return Front(tuple(objectives), tuple(genomes[i] for i in kept), table[kept],
                 tuple(values[i] for i in kept), frozenset(maximised))


def _finite(points: ArrayLike, columns: int | None = None) -> Points:
    values = np.asarray(points, np.float64)
    if columns is not None:
        values = values.reshape(-1, columns)
    finite: Points = values[np.isfinite(values).all(axis=1)]
    return finite
