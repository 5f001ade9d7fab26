"""NSGA-II: survival by rank of non-domination, then by crowding distance.

Source  Deb, Pratap, Agarwal, Meyarivan: A fast and elitist multiobjective genetic algorithm: NSGA-II
        (IEEE Transactions on Evolutionary Computation 6, 2002).

Sorting and crowding distance are pymoo's. Ties fall alike on every machine, since sorting is stable.
"""

from __future__ import annotations

import numpy as np

from bittailor.search.optimisers.generational import Generational, Tournament
from bittailor.search.optimisers.operators import Floats, Indices


class Nsga2(Generational):
    title = "NSGA-II"

    def survive(self, points: Floats, violations: Floats, n: int) -> Indices:
        """Feasible solutions come first, by rank and crowding; infeasible ones follow by violation; failed ones are
        last. Ties by chance."""
        from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
        from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

        rank, crowding = np.full(len(points), np.inf), np.zeros(len(points))
        feasible = np.flatnonzero(violations == 0)
        distance = get_crowding_function("cd")
        for k, front in enumerate(NonDominatedSorting().do(points[feasible]) if len(feasible) else ()):
            members = feasible[front]
            rank[members] = k
            crowding[members] = distance.do(points[members], n_remove=0)
        order = np.lexsort((self._rng.random(len(points)), -crowding, rank, violations))[:n]
        self._order = -crowding[order], rank[order], violations[order]
        return order

    def tournament(self) -> Tournament:
        """Deb's crowded comparison: smaller violation, smaller rank, larger crowding distance; then by chance."""
        order = np.lexsort((self._rng.random(len(self._x)), *self._order))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return lambda pairs: place[pairs].argmin(axis=1)
