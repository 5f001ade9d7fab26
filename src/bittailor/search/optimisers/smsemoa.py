"""SMS-EMOA: of the last front that fits, the solutions go one by one that add least to its hypervolume.

Source  Beume, Naujoks, Emmerich: SMS-EMOA: Multiobjective selection based on dominated hypervolume
        (European Journal of Operational Research 181, 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bittailor.errors import BittailorError
from bittailor.search.optimisers.adapter import PymooSurvival
from bittailor.search.optimisers.operators import Floats, Indices


class SmsEmoa(PymooSurvival):
    title = "SMS-EMOA"

    def make(self, objectives: int) -> Any:
        from pymoo.algorithms.moo.sms import LeastHypervolumeContributionSurvival

        if objectives < 2:
            raise BittailorError("SMS-EMOA needs two objectives or more; choose another optimiser for one")
        return LeastHypervolumeContributionSurvival()

    def options(self, parents: Floats) -> Mapping[str, Any]:
        """As in pymoo, objectives are scaled by the range of the parents; of the first generation, by its own."""
        return {"ideal": parents.min(axis=0), "nadir": parents.max(axis=0) + 1e-32} if len(parents) else {}

    def winners(self, pairs: Indices) -> Indices:
        """The one that dominates the other."""
        a, b = self._points[pairs[:, 0]], self._points[pairs[:, 1]]
        return np.asarray((b <= a).all(axis=1).astype(np.int64) - (a <= b).all(axis=1), np.int64)
