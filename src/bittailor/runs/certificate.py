"""After a search: its picks and front on items that it never saw, and the smallest solution that is certified there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data
from bittailor.evaluate.certify import LEVEL, Comparison, Differences, Wish, differences, fallback, item_costs
from bittailor.evaluate.metrics import Metric
from bittailor.runs.choice import SolutionEvaluators
from bittailor.runs.forms import Solution

Costs = NDArray[np.float64]

TESTED = 12
"""Members of a front that are tested for a certificate: each more may end the sequence."""
STARTS = (0,)
"""Places in the sequence that the risk is divided among, see `certify.fallback`. With three, one unlucky member does
not end it all, but each start has a third of the risk: on mnist that certified less, 57 of 100 divisions against 66."""


@dataclass(frozen=True, eq=False)
class Part:
    """The items of one role, with what is compared with on them.

    name        "confirm" or "test"
    float_error of the float network
    float_costs of the float network, item by item; None where the metric has no such parts
    """

    name: str
    data: Data
    metric: Metric
    evaluators: SolutionEvaluators
    base_costs: Costs | None
    float_error: float
    float_costs: Costs | None

    @classmethod
    def of(cls, name: str, data: Data, base: Solution, evaluators: SolutionEvaluators,
           outputs: Callable[[Data], Any]) -> Part:
        """`outputs`: of the float network."""
        metric = evaluators.of(None).metric
        ((_, costs),) = evaluators.measured([base])
        real = outputs(data)
        return cls(name, data, metric, evaluators, costs, metric.value(real, data.targets),
                   item_costs(metric, real, data.targets))

    def against_base(self, costs: Costs) -> Differences:
        """A solution's item costs against homogeneous 8 bit."""
        assert self.base_costs is not None
        return differences(self.metric, costs, self.base_costs, self.data)

    def compared(self, solutions: Sequence[Solution]) -> list[Solution]:
        """The solutions with their error on these items, and how they compare with 8 bit and float."""
        found = []
        for solution, (error, costs) in zip(solutions, self.evaluators.measured(solutions), strict=True):
            rows = [] if costs is None else [
                Comparison.of(self.name, base, differences(self.metric, costs, other, self.data))
                for base, other in (("8bit", self.base_costs), ("float", self.float_costs)) if other is not None]
            kept = tuple(row for row in rows if row is not None)
            solution = replace(solution, compared=(*solution.compared, *kept))
            found.append(replace(solution, test=error) if self.name == "test"
                         else replace(solution, errors={**solution.errors, self.name: error}))
        return found


def sequence(front: Sequence[Solution], base: Solution, metric: Metric, margin: float, least: str) -> list[Solution]:
    """The members of a front that are worth testing, in their order: smaller than homogeneous 8 bit (less of `least`),
    within the margin where the search looked, from the largest to the smallest; at most `TESTED`, at equal ratios."""
    worst = metric.cost(base.values["error"]) + margin
    good = sorted((s for s in front if s.values[least] < base.values[least]
                   and metric.cost(s.values["error"]) <= worst), key=lambda s: -s.values[least])
    if len(good) <= TESTED:
        return good
    sizes = np.log([s.values[least] for s in good])
    wanted = np.linspace(sizes[0], sizes[-1], TESTED)
    return [good[i] for i in dict.fromkeys(int(np.abs(sizes - size).argmin()) for size in wanted)]


def certify(
    part: Part, wish: Wish, front: Sequence[Solution], base: Solution, picks: Mapping[str, Solution], looks: int,
    least: str = "size",
) -> tuple[Solution | None, dict[str, Any]]:
    """The smallest member of a front that is certified, and what result.json says of the certificate.

    least  what picks are the least of (`SearchSpec.least`)
    looks  how often these items were used before, by this search when it was shorter. The risk is spent at the first
           time, so nothing is certified after it: who wants another certificate needs other items
    """
    about: dict[str, Any] = {"margin": wish.margin, "confidence": wish.confidence, "items": len(part.data),
                             "against": "8bit", "pick": None, "tested": 0, "reason": "", "method": "",
                             "reachable": None, "items_needed": None}
    if part.base_costs is None:
        return None, about | {"reason": f"the metric '{part.metric.name}' has no value of one item"}
    if looks:
        return None, about | {"reason": "they were used before, when this search was shorter"}
    tried = sequence(front, base, part.metric, wish.margin, least)
    costs = [row[1] for row in part.evaluators.measured(tried)]
    found = [part.against_base(c) for c in costs if c is not None]
    usual = picks.get("careful") or picks.get("smallest")
    if usual is not None:
        ((_, own),) = part.evaluators.measured([usual])
        if own is not None:
            one = part.against_base(own)
            about |= {"method": one.method, "reachable": None if one.problem else one.upper(wish.confidence),
                      "items_needed": one.items_needed(wish.margin, wish.confidence), "reason": one.problem or ""}
    passed = fallback(len(found), [s for s in STARTS if s < max(1, len(found))], 1 - wish.confidence,
                      lambda i: found[i].p_value(wish.margin))
    about |= {"tested": len(found)}
    if not passed:
        return None, about
    best = min((tried[i] for i in passed), key=lambda s: (s.values[least], s.key))
    return best, about | {"pick": best.key}


def said(certificate: Mapping[str, Any], unit: str) -> str:
    """What came of a wish, in one sentence."""
    points = "points" if unit == "%" else unit
    what = f"at most {certificate['margin']:g} {points}".rstrip()
    how = f"{100 * certificate['confidence']:g} % confidence"
    items = f"{certificate['items']:,} items that no search saw"
    if certificate["pick"] is not None:
        return f"Certified on {items}: {what} worse than homogeneous 8 bit, with {how} ({certificate['method']})."
    why = f" ({certificate['reason']})" if certificate["reason"] else ""
    text = f"Not certified on {items}: {what} worse than homogeneous 8 bit, with {how}{why}."
    if certificate["reachable"] is not None:
        text += f" What the careful pick reaches there is {certificate['reachable']:.2g} {points}".rstrip() + "."
    if certificate["items_needed"]:
        text += f" The wish needs about {certificate['items_needed']:,} items."
    return text


__all__ = ["LEVEL", "Part", "certify", "said", "sequence"]
