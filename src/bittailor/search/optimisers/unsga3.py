"""U-NSGA-III: survival along reference directions, for three objectives and more.

Source  Seada, Deb: A unified evolutionary optimization procedure for single, multiple, and many objectives
        (IEEE Transactions on Evolutionary Computation 20, 2016).
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np

from bittailor.errors import BittailorError
from bittailor.search.optimisers.adapter import PymooSurvival, compared
from bittailor.search.optimisers.operators import Indices


class UNsga3(PymooSurvival):
    title = "U-NSGA-III"

    def make(self, objectives: int) -> Any:
        """Das and Dennis' evenly spread directions, as many as the population can follow."""
        from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
        from pymoo.util.ref_dirs import get_reference_directions

        n = self._settings.population
        if n < objectives:
            raise BittailorError(f"U-NSGA-III follows a direction for each of {objectives} objectives at least; "
                                 f"a population of {n} is too small")
        # with one objective there is one direction, whatever their distance
        partitions = next(p for p in range(1, n + 1) if objectives == 1 or comb(p + objectives, objectives - 1) > n)
        return ReferenceDirectionSurvival(
            get_reference_directions("das-dennis", objectives, n_partitions=partitions))

    def winners(self, pairs: Indices) -> Indices:
        """Between two of one direction the smaller rank, then the one closer to it."""
        niche, rank, distance = (self._noted(name, len(self._x)) for name in ("niche", "rank", "dist_to_niche"))
        by_rank = compared(rank, pairs)
        return np.where(compared(niche, pairs) == 0, np.where(by_rank == 0, compared(distance, pairs), by_rank), 0)
