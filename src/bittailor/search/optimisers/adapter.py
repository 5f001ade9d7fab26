"""Methods whose survival is pymoo's. Genomes, mating and chance stay ours: all of it from one seed, integers only.

pymoo's survival gets feasible solutions alone: its own handling of constraints is not stable, and its points must be
numbers. Its tournaments draw chance of their own, so that each method says again who wins.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bittailor.search.optimisers.base import OptimiserSettings
from bittailor.search.optimisers.generational import Generational, Tournament
from bittailor.search.optimisers.operators import Floats, Indices
from bittailor.search.space import Genome, Space


class PymooSurvival(Generational):
    """Feasible solutions survive by a method of pymoo; infeasible ones follow by violation, failed ones are last."""

    def __init__(self, space: Space, settings: OptimiserSettings, seeds: Iterable[Genome], objectives: int) -> None:
        from pymoo.core.problem import Problem

        super().__init__(space, settings, seeds, objectives)
        self._method = self.make(objectives)
        self._problem = Problem(n_var=1, n_obj=objectives)

    @abstractmethod
    def make(self, objectives: int) -> Any:
        """A `Survival` of pymoo."""

    @abstractmethod
    def winners(self, pairs: Indices) -> Indices:
        """For pairs of survivors that break the constraints equally little, int64 [n, 2]: -1 where the first wins, 1
        where the second does, 0 where chance decides; int64 [n]."""

    def options(self, parents: Floats) -> Mapping[str, Any]:
        """What the survival is called with beside the solutions, given the points of feasible parents."""
        return {}

    def survive(self, points: Floats, violations: Floats, n: int) -> Indices:
        from pymoo.core.population import Population

        feasible, infeasible = np.flatnonzero(violations == 0), np.flatnonzero(violations)
        self._best = Population.new(F=points[feasible], place=feasible)
        if len(feasible):
            parents = points[feasible[feasible < len(self._x)]]
            with warnings.catch_warnings():  # of divisions by zero, and pymoo would silence them for good
                warnings.simplefilter("ignore")
                self._best = self._method.do(self._problem, self._best, n_survive=min(n, len(feasible)),
                                             random_state=self._rng, **self.options(parents))
        worst = infeasible[np.argsort(violations[infeasible], kind="stable")]
        return np.concatenate([self._noted("place", len(self._best)).astype(np.int64), worst])[:n]

    def tournament(self) -> Tournament:
        def wins(pairs: Indices) -> Indices:
            better = compared(self._violations, pairs)
            better = np.where(better == 0, self.winners(pairs), better)
            return np.where(better == 0, self._rng.integers(0, 2, len(pairs)), better > 0)

        return wins

    def _noted(self, name: str, n: int) -> Floats:
        """What pymoo noted of `n` survivors, infinity for those that it has not seen."""
        values = np.full(n, np.inf)
        values[:len(self._best)] = self._best.get(name)
        return values


def compared(values: Floats, pairs: Indices) -> Indices:
    """-1 where the first of a pair has the smaller value, 1 where the second has, 0 where they are equal."""
    a, b = values[pairs[:, 0]], values[pairs[:, 1]]
    return (a > b).astype(np.int64) - (a < b).astype(np.int64)
