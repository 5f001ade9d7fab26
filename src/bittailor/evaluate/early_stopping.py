"""Early stopping of hopeless candidates: candidates run on growing parts of the data, and to the end only if they can
still matter.

Error and loss are sums over items of terms that are never negative, divided by how many items (or phones, or steps)
there are; so the sum over the first items, divided by all of them, is a sound lower bound of either; sizes are known
exactly. (Of a metric whose best value is not 0, such as an accuracy, the same holds for its distance from that; one
without a best value cannot be stopped early.) At the end of a generation let E be the solutions with known
values, ranked by non-dominated sorting, and L the rank at which those of rank 1..L are enough to fill the population.
A candidate that is dominated, at its bound, by a solution of E of rank L or more has a rank above L whatever its exact
values; it dominates nothing of rank 1..L (what dominates it would, too, and would rank before it); so it neither
survives nor changes who does. If a point of the front dominates it as well, it cannot enter the front. Such a
candidate is dropped. Candidates are set aside as soon as that seems so, and the claim is checked when E is complete:
one that fails is run to its end, until all hold. The search takes the same course as without, to the same front.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Targets
from bittailor.core.arith import Floats
from bittailor.core.plan import Plan
from bittailor.core.program import Program
from bittailor.errors import BittailorError, RangeError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.metrics import Metric
from bittailor.search.constraints import Constraint
from bittailor.search.front import nondominated, signs
from bittailor.search.loop import Rivals
from bittailor.search.space import Genome, Space
from bittailor.search.store import Outcome

SHARES = (0.25, 0.5, 0.75, 1.0)
"""The growing parts of the data."""
ROUNDING = 1 - 1e-9
"""A bound may come out a rounding error too high; it is lowered by more than that."""


@dataclass(eq=False)
class _Running:
    """A candidate on its way through the data."""

    plan: Plan
    program: Program
    done: int = 0
    outputs: list[Floats] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)


class EarlyStopping:
    """An `evaluate` for the search that gives up on hopeless candidates; `announce` must be told the rivals.

    objectives, guides  as in the search
    limits              constraints; only solutions that keep them count as rivals
    """

    def __init__(
        self, evaluator: Evaluator, space: Space, objectives: Sequence[str], guides: Mapping[str, str],
        limits: Sequence[Constraint],
    ) -> None:
        self._evaluator, self._space, self._limits = evaluator, space, limits
        self._objectives = tuple(objectives)
        self._guides = tuple(guides.get(name, name) for name in objectives)
        self._signs = signs(self._objectives, evaluator.maximised)
        self._guide_signs = signs(self._guides, evaluator.maximised)
        none = np.empty((0, len(self._objectives)))
        self._rivals = Rivals(none, 1, none)
        self._items = len(evaluator.data)
        self._targets = evaluator.data.targets
        self._bounds = bounds(evaluator.metric, self._targets)
        self._stops = sorted({max(1, round(share * self._items)) for share in SHARES})

    def announce(self, rivals: Rivals) -> None:
        """What the next candidates compete with."""
        self._rivals = rivals

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        """Outcomes of a generation, in order; a dropped candidate's has no values and says so."""
        begin = time.perf_counter()
        tried = [self._begin(g) for g in genomes]
        candidates = [c for c in tried if isinstance(c, _Running)]
        field_ = _Field(self._rivals, self._objectives, self._guides, self._signs, self._guide_signs)
        active = candidates
        for stop in self._stops:
            self._advance(active, stop)
            if stop == self._items:
                self._enter(field_, active)
            active = [c for c in active if not field_.hopeless(self._least(c))]
        while wrong := [c for c in candidates if c.done < self._items and not field_.hopeless(self._least(c))]:
            self._advance(wrong, self._items)
            self._enter(field_, wrong)
        seconds = (time.perf_counter() - begin) / max(1, len(genomes))
        for c in tried:
            if isinstance(c, RangeError):
                yield Outcome(None, str(c), seconds)
            elif c.done == self._items:
                yield Outcome(c.values, None, seconds)
            else:
                yield Outcome(None, f"dropped after {c.done} of {self._items} items: certainly dominated", seconds,
                              dropped=c.done)

    def _begin(self, genome: Genome) -> _Running | RangeError:
        try:
            return _Running(*self._evaluator.program(self._space.widths(genome)))
        except RangeError as error:
            return error

    def _advance(self, candidates: Sequence[_Running], stop: int) -> None:
        """Run candidates, which have all come equally far or less, up to this item."""
        for start in sorted({c.done for c in candidates}):
            group = [c for c in candidates if c.done == start]
            outputs = self._evaluator.outputs([c.program for c in group], slice(start, stop))
            for c, y in zip(group, outputs, strict=True):
                c.outputs.append(y)
                c.done = stop
                c.values = self._evaluator.values(
                    self._evaluator.candidate(c.plan, c.program, np.concatenate(c.outputs)))

    def _enter(self, field_: _Field, candidates: Sequence[_Running]) -> None:
        field_.add([c.values for c in candidates if not any(k.violation(c.values[k.name]) for k in self._limits)])

    def _least(self, c: _Running) -> dict[str, float]:
        """Bounds of a candidate's values: none can come out better."""
        if c.done == self._items:
            return c.values
        done, bounds = self._targets[: c.done], {}
        for name, (best, amount) in self._bounds.items():
            if name in c.values:
                share = ROUNDING * amount(done) / amount(self._targets)
                bounds[name] = best + share * (c.values[name] - best)
        return {**c.values, **bounds}


class _Field:
    """The solutions with known values, E, and who is hopeless among them."""

    def __init__(
        self, rivals: Rivals, objectives: Sequence[str], guides: Sequence[str], signs_: NDArray[np.float64],
        guide_signs: NDArray[np.float64],
    ) -> None:
        self._objectives, self._guides, self._signs, self._guide_signs = objectives, guides, signs_, guide_signs
        self._guided, self._front, self._needed = rivals.survivors, rivals.front, rivals.needed
        self._behind = self._late()

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        """More feasible solutions."""
        self._guided = np.concatenate([self._guided, _costs(rows, self._guides, self._guide_signs)])
        self._front = np.concatenate([self._front, _costs(rows, self._objectives, self._signs)])
        self._behind = self._late()

    def hopeless(self, least: Mapping[str, float]) -> bool:
        """Whether values no better than these can neither survive, nor change what does, nor enter the front."""
        (guided,) = _costs([least], self._guides, self._guide_signs)
        (point,) = _costs([least], self._objectives, self._signs)
        return _dominated(self._behind, guided) and _dominated(self._front, point)

    def _late(self) -> NDArray[np.float64]:
        """The solutions of rank L or more; none if E cannot fill the population."""
        left = self._guided
        count = 0
        while len(left):
            first = np.zeros(len(left), bool)
            first[nondominated(left)] = True
            # equal points share a rank, and `nondominated` names only the first of them
            first = (left[:, None] == left[first][None]).all(axis=2).any(axis=1)
            count += int(first.sum())
            if count >= self._needed:
                return left
            left = left[~first]
        return left


def bounds(metric: Metric, targets: Targets) -> dict[str, tuple[float, Callable[[Targets], float]]]:
    """What values are means of terms with a bound: that bound, and over what. The others do not depend on the data.

    Raises  BittailorError where error or loss is not such a mean.
    """
    loss = metric.loss_for(targets)
    if metric.best is None or loss.least is None:
        raise BittailorError(f"early stopping needs a metric and a loss whose best values are known; those of "
                             f"'{metric.name}' are not. Leave it out")
    return {"error": (metric.best, metric.amount), "loss": (loss.least, loss.amount)}


def _costs(rows: Sequence[Mapping[str, float]], names: Sequence[str], signs_: NDArray[np.float64]
           ) -> NDArray[np.float64]:
    """Values with every objective minimised: [rows, names]."""
    return np.array([[row[name] for name in names] for row in rows]).reshape(-1, len(names)) * signs_


def _dominated(points: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    return bool(((points <= point).all(axis=1) & (points < point).any(axis=1)).any())
