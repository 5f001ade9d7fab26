"""What is picked from everything that a search evaluated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from statistics import mean
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from bittailor.evaluate.family import Evaluators
from bittailor.evaluate.metrics import Metric
from bittailor.runs.forms import Solution
from bittailor.search.constraints import Constraint
from bittailor.search.front import Front, make_front, signs
from bittailor.search.space import Space
from bittailor.search.store import Row

PICK_BATCH = 16
STOPPED_SECONDS = 2.0
"""How long the careful pick of a search that was stopped is looked for: who stops one waits for its end."""
LOSS_SLACK = 0.2
"""How far above another loss, as a share of it, one may be and pass for about the same: a careful pick's above that of
homogeneous 8 bit, a retrained one's above the lowest within a budget. A loss moves with every width, also where no
answer changes, so without slack luck decides which small one passes."""

NEAR = 1.15
"""Retrained solutions whose sizes are within this ratio are judged together."""


class SolutionEvaluators(Evaluators[str | None]):
    """Evaluators on one part of the data: that of the float network (None), and one for every beacon (its name)."""

    def evaluate(self, solutions: Sequence[Solution]) -> list[dict[str, float]]:
        """Values of solutions, each from its own weights."""
        found: list[dict[str, float]] = [{} for _ in solutions]
        for beacon in dict.fromkeys(s.beacon for s in solutions):
            members = [i for i, s in enumerate(solutions) if s.beacon == beacon]
            rows = self.of(beacon).evaluate([dict(solutions[i].widths) for i in members])
            for i, row in zip(members, rows, strict=True):
                found[i] = row
        return found

    def measured(self, solutions: Sequence[Solution]) -> list[tuple[float, NDArray[np.float64] | None]]:
        """The error of solutions, and the metric item by item, minimised (`certify.item_costs`)."""
        found: dict[int, tuple[float, NDArray[np.float64] | None]] = {}
        for beacon in dict.fromkeys(s.beacon for s in solutions):
            members = [i for i, s in enumerate(solutions) if s.beacon == beacon]
            rows = self.of(beacon).measured([dict(solutions[i].widths) for i in members])
            found |= zip(members, rows, strict=True)
        return [found[i] for i in range(len(solutions))]

    def tested(self, solutions: Sequence[Solution]) -> list[Solution]:
        """The solutions with their error on these data as `test`."""
        return [replace(s, test=row["error"]) for s, row in zip(solutions, self.evaluate(solutions), strict=True)]


def pick(
    rows: Iterable[Row], space: Space, baseline: Solution, metric: Metric, train: SolutionEvaluators,
    limits: Sequence[Constraint], objectives: Sequence[str] = (), maximised: Collection[str] = (), least: str = "size",
    seconds: float = inf,
) -> dict[str, Solution]:
    """`Run.picks`, of everything evaluated that keeps the constraints. Of equal cost: the better error, then the better
    in the other objectives, then the lower loss, then by key.

    train    evaluates on training items alone
    least    what picks are the least of (`SearchSpec.least`)
    seconds  how long the careful pick is looked for, whose candidates must be evaluated
    """
    base = baseline.values
    good = [
        Solution(row.key, space.widths(row.genome), dict(values), None, row.outcome.beacon)
        for row in rows for values in [row.outcome.known]
        if values is not None and metric.cost(values["error"]) <= metric.cost(base["error"])
        and not any(c.violation(values[c.name]) for c in limits)
    ]
    order = [name for name in objectives if name not in (least, "error")]
    turn = signs(order, maximised)
    good.sort(key=lambda s: (s.values[least], metric.cost(s.values["error"]),
                             *(sign * s.values[name] for sign, name in zip(turn, order, strict=True)),
                             s.values["loss"], s.key))
    found = {"smallest": good[0]} if good else {}
    steady = [s for s in good if s.values["loss"] <= base["loss"] + LOSS_SLACK * abs(base["loss"])]
    careful = _careful(steady, baseline, metric, train, seconds)
    return found if careful is None else {**found, "careful": careful}


def _careful(
    steady: Sequence[Solution], baseline: Solution, metric: Metric, train: SolutionEvaluators, seconds: float
) -> Solution | None:
    """The first solution that is as good as the baseline on training items; None too where the time is over."""
    size = PICK_BATCH if seconds == inf else 1  # the last batch may be long
    end = monotonic() + seconds
    (seen,) = train.evaluate([baseline])
    worst = metric.cost(metric.as_good(seen["error"]))
    for start in range(0, len(steady), size):
        if monotonic() > end:
            return None
        batch = steady[start : start + size]
        for solution, row in zip(batch, train.evaluate(batch), strict=True):
            if metric.cost(row["error"]) <= worst:
                return solution
    return None


def front_of(
    rows: Sequence[Row], objectives: Sequence[str], limits: Sequence[Constraint], maximised: Collection[str]
) -> Front:
    """The front of evaluations that keep the constraints."""
    good = [(row.genome, values) for row in rows for values in [row.outcome.known] if values is not None
            and not any(c.violation(values[c.name]) for c in limits)]
    return make_front(objectives, [genome for genome, _ in good],
                      np.array([[values[name] for name in objectives] for _, values in good]),
                      [values for _, values in good], maximised)


def standing(
    retrained: Collection[Solution], metric: Metric, base: Mapping[str, float], least: str,
) -> list[Solution]:
    """Of retrained solutions those that are as good as `base` (`Metric.stands`), themselves and on average with all
    that are about as large (`NEAR`).

    Errors of single trainings scatter, and of a dozen the smallest that is good is likely to be one that was lucky.
    """
    found = []
    for solution in retrained:
        size = solution.values[least]
        near = [o.values for o in retrained
                if max(size, o.values[least]) <= NEAR * min(size, o.values[least])]
        usual = {name: mean(values[name] for values in near) for name in ("error", "loss")}
        if metric.stands(solution.values, base) and metric.stands(usual, base):
            found.append(solution)
    return found


def best_of(
    fitting: Iterable[Solution], retrained: Iterable[Solution], metric: Metric, base: Mapping[str, float], least: str,
) -> Solution | None:
    """The best of the solutions within a budget; None where there is none.

    fitting    of everything that a search evaluated, by their values on the items that select
    retrained  of what was itself retrained
    base       homogeneous 8 bit on the items that retrained solutions are judged by

    Of retrained ones that are as good as `base` (`Metric.stands`) the one with the lowest loss: they are few, and each
    learned for its own widths, while the lowest error of thousands is that of a lucky one. Without such ones likewise
    the retrained one with the lowest loss, if it is about the lowest of all that fit (`LOSS_SLACK`). Otherwise the
    lowest error, of equals the lowest loss; one that was retrained against the others by held-out items alone.
    """
    def by_error(s: Solution, error: float) -> tuple[float, float, float, str]:
        return metric.cost(error), s.values["loss"], s.values[least], s.key

    def by_loss(s: Solution) -> tuple[float, float, str]:
        return s.values["loss"], s.values[least], s.key

    rest, own = list(fitting), list(retrained)
    if good := [s for s in own if metric.stands(s.values, base)]:
        return min(good, key=by_loss)
    lowest = min((s.values["loss"] for s in (*rest, *own)), default=inf)
    if near := [s for s in own if s.values["loss"] <= lowest + LOSS_SLACK * abs(lowest)]:
        return min(near, key=by_loss)
    best = [min(part, key=lambda s: by_error(s, s.values["error"])) for part in (rest, own) if part]
    return min(best, default=None, key=lambda s: by_error(s, s.errors.get("held", s.values["error"])))
