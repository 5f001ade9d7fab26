"""Racing: candidates are judged on growing parts of the items, and those given up that are dominated with confidence.

A rival is a member of the fronts of all earlier generations, of what is improved or of what guides selection, judged on
all items. A candidate is given up after a part of the items where one rival is no worse in everything that is known
exactly (sizes), and has the lower loss, or whatever guides selection, with confidence; and where one such rival has no
higher an error on those items. It keeps an estimate of its values, which selection looks at: the rival's value and the
difference to it. It is never on the front, and never picked.

Differences are paired, item by item. The bound is normal, at looks that are fixed beforehand and share the risk evenly
(Bonferroni), narrowed for drawing from the finite number of items there are. What is given up depends on a candidate
and the generations before alone: not on workers, nor on where a search was cut short. Bound, risk and looks were chosen
on mnist, seed 1, where none of some 450 candidates was given up wrongly; a confidence sequence for any number of looks,
with a risk of 0.01, ran a fifth more sequences there.

Sources  Maron and Moore: Hoeffding races (NIPS 1993); Birattari, Stützle, Paquete, Varrentrapp: A racing algorithm for
         configuring metaheuristics (GECCO 2002).
         Cochran: Sampling Techniques (Wiley, 3rd edition 1977), section 2.6: the finite population correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import NormalDist
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Targets
from bittailor.common.lru import LruCache
from bittailor.core.plan import Plan
from bittailor.core.program import Program
from bittailor.errors import RangeError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.family import CandidateEvaluation
from bittailor.evaluate.metrics import Metric
from bittailor.search.loop import Evaluate, Rivals
from bittailor.search.space import Genome
from bittailor.search.store import Outcome

Terms = NDArray[np.float64]
"""[2, items]: what every item adds to error and loss, minimised."""

FIRST, MOST = 500, 0.2
"""Items of the first part. The next ones double what there is, by no more than this share of all items."""
LEAST = 2000
"""Items below which it does not pay: candidates are then run on all at once."""
RISK = 0.05
"""Of giving up a candidate that is no worse than the rival, for each pair of them, at all looks together."""
TOGETHER = 32
"""Candidates that race side by side: what a killed process loses at most."""
_PROGRAMS = 256


def stops(items: int) -> tuple[int, ...]:
    """After how many items candidates are looked at; the last is all of them."""
    found, stop, most = [], FIRST, max(1, round(MOST * items))
    while stop + most // 2 < items:
        found.append(stop)
        stop += min(stop, most)
    return (*found, items)


def suits(metric: Metric, outputs: Any, targets: Targets) -> bool:
    """Whether candidates can race: metric and loss are sums over items. Tried on a few outputs."""
    return all(what.per_item(outputs, targets) is not None for what in (metric, metric.loss_for(targets)))


@dataclass(frozen=True, eq=False)
class PartialEvaluation:
    """What evaluates candidates on a part of the items: the state of an executor's workers. Picklable.

    candidates  evaluates them on all
    stops       where parts end

    It is asked for (first, last, *genome): parts `first` to `last` - 1. The `terms` of an outcome are [2, items of the
    part]; its values are there with the first part, NaN where they depend on data.
    """

    candidates: CandidateEvaluation
    stops: tuple[int, ...]
    _programs: LruCache[Genome, tuple[Plan, Program]] = field(default_factory=lambda: LruCache(_PROGRAMS), repr=False)

    def __call__(self) -> Callable[[Sequence[Genome]], list[Outcome]]:
        """The worker."""
        return self.outcomes

    def outcomes(self, asked: Sequence[Genome]) -> list[Outcome]:
        """The outcomes of genomes on parts, those of one network and part at once."""
        start = perf_counter()
        space = self.candidates.space
        groups: dict[Any, list[int]] = {}
        for i, (first, last, *genome) in enumerate(asked):
            groups.setdefault((first, last, space.structure(tuple(genome))), []).append(i)
        found: dict[int, Outcome] = {}
        for (first, last, structure), places in groups.items():
            items = slice(self.stops[first - 1] if first else 0, self.stops[last - 1])
            found |= self._part(self.candidates.evaluator(structure), items, {i: asked[i][2:] for i in places})
        seconds = (perf_counter() - start) / max(1, len(asked))
        return [Outcome(o.values, o.reason, seconds, terms=o.terms) for _, o in sorted(found.items())]

    def _part(self, evaluator: Evaluator, items: slice, genomes: Mapping[int, Genome]) -> dict[int, Outcome]:
        found: dict[int, Outcome] = {}
        bound: list[tuple[int, Plan, Program]] = []
        for i, genome in genomes.items():
            try:
                known = self._programs.get(genome) or self._programs.put(
                    genome, evaluator.program(self.candidates.space.widths(genome)))
                bound.append((i, *known))
            except RangeError as error:
                found[i] = Outcome(None, str(error))
        for place, candidate in evaluator.candidates(bound, items):
            found[place] = Outcome({} if items.start else evaluator.exact(candidate),
                                   terms=terms(evaluator.metric, candidate.outputs, candidate.data.targets))
        return found

    def __getstate__(self) -> dict[str, Any]:
        # every process binds programs for itself
        return {"candidates": self.candidates, "stops": self.stops}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _programs=LruCache(_PROGRAMS))


def terms(metric: Metric, outputs: Any, targets: Targets) -> Terms:
    """What every item adds to error and loss; divided by the amounts of all items and added up they are the values."""
    loss = metric.loss_for(targets)
    rows = []
    for what in (metric, loss):
        values = what.per_item(outputs, targets)
        assert values is not None
        rows.append(np.asarray(values, np.float64) * (what.amount(targets) / len(targets)))
    return np.stack(rows)


@dataclass(eq=False)
class _Running:
    """A candidate on its way through the items.

    rivals   places of those that are no worse in what is known exactly
    sums     float64 [rivals, 2]: by how much it is worse in error and loss, of all items so far
    squares  float64 [rivals]: the same of the squares, in what guides
    """

    genome: Genome
    parts: list[Terms] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    rivals: NDArray[np.intp] | None = None
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    seconds: float = 0.0
    outcome: Outcome | None = None

    @property
    def terms(self) -> Terms:
        return np.concatenate(self.parts, axis=1)


@dataclass(frozen=True, eq=False)
class _Field:
    """The rivals of a generation.

    terms   float64 [rivals, 2, items]
    costs   float64 [rivals, exact]: what is known without data, minimised
    full    float64 [rivals, 2]: error and loss
    """

    terms: NDArray[np.float64]
    costs: NDArray[np.float64]
    full: NDArray[np.float64]


class Racing:
    """An `evaluate` for a search; `announce` must be told the rivals of each generation.

    ask         evaluates (first, last, *genome): an executor's evaluation of a `PartialEvaluation`
    exact       objective known without data -> 1 where it is minimised, -1 where more is better
    maximised   whether more of the metric is better
    """

    def __init__(self, ask: Evaluate, parts: Sequence[int], metric: Metric, targets: Targets,
                 exact: Mapping[str, float], guide: str) -> None:
        self._ask, self._parts, self._exact = ask, tuple(parts), dict(exact)
        self._metric, loss = metric, metric.loss_for(targets)
        self._amounts = np.array([metric.amount(targets), loss.amount(targets)], np.float64)
        # of what a part's terms add up to, by how many items there are: a mean over items of the mean amount
        self._scale = len(targets) / self._amounts
        self._sign = -1.0 if metric.maximise else 1.0
        self._guide = 0 if guide == "error" else 1
        self._known: dict[Genome, Terms] = {}
        self._rivals = Rivals({}, 0)
        self._field: _Field | None = None

    def announce(self, rivals: Rivals) -> None:
        """What the next candidates compete with; their terms are computed again where a search goes on."""
        self._rivals, self._field = rivals, None

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        """Outcomes in order; a candidate that was given up has estimates, and says after how many items."""
        against = self._entered()
        for start in range(0, len(genomes), TOGETHER):
            yield from self._race([_Running(g) for g in genomes[start : start + TOGETHER]], against)

    def _entered(self) -> _Field | None:
        """The rivals with their terms; None where there are none."""
        if self._field is None and self._rivals.members:
            members = self._rivals.members
            missing = [g for g in members if g not in self._known]
            whole = [_Running(g) for g in missing]
            self._advance(whole, 0, len(self._parts))
            self._known |= {c.genome: c.terms for c in whole}
            self._known = {g: self._known[g] for g in members}
            rows = list(members.values())
            full = np.array([[self._sign * v["error"], v["loss"]] for v in rows])
            self._field = _Field(np.stack([self._known[g] for g in members]), self._costs(rows), full)
        return self._field

    def _race(self, running: Sequence[_Running], against: _Field | None) -> Iterator[Outcome]:
        count, active = len(self._parts), list(running)
        for part in range(count) if against is not None else [count - 1]:
            self._advance(active, part if against is not None else 0, part + 1)
            active = [c for c in active if c.outcome is None]
            if part == count - 1 or against is None:
                for c in active:
                    self._finish(c)
            else:
                active = [c for c in active if not self._given_up(c, self._parts[part], against)]
        for c in running:
            assert c.outcome is not None
            yield c.outcome

    def _advance(self, candidates: Sequence[_Running], first: int, last: int) -> None:
        """Run candidates on some parts."""
        if not candidates:
            return
        for c, found in zip(candidates, self._ask([(first, last, *c.genome) for c in candidates]), strict=True):
            c.seconds += found.seconds
            if found.values is None or found.terms is None:
                c.outcome = Outcome(None, found.reason, c.seconds)
            else:
                c.values |= found.values
                c.parts.append(found.terms * np.array([[self._sign], [1.0]]))

    def _finish(self, c: _Running) -> None:
        whole = c.terms
        self._known[c.genome] = whole
        error, loss = whole.sum(axis=1)
        figures = self._metric.of_sum(float(error), self._amounts[0]), float(loss / self._amounts[1])
        c.outcome = Outcome(self._with(c, figures), None, c.seconds)

    def _with(self, c: _Running, figures: tuple[float, float]) -> dict[str, float]:
        """A candidate's values with these figures of error and loss, minimised."""
        found = {**c.values, "error": self._sign * figures[0]}
        return {**found, "loss": figures[1]} if "loss" in found else found

    def _costs(self, rows: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        return np.array([[sign * row[name] for name, sign in self._exact.items()] for row in rows]).reshape(
            len(rows), len(self._exact))

    def _met(self, c: _Running, stop: int, against: _Field) -> NDArray[np.intp]:
        """The rivals of a candidate, which its latest part, up to `stop`, is compared with."""
        if c.rivals is None:
            c.rivals = np.flatnonzero((against.costs <= self._costs([c.values])).all(axis=1))
            c.sums, c.squares = np.zeros((len(c.rivals), 2)), np.zeros(len(c.rivals))
        part = c.parts[-1]
        ahead = part - against.terms[:, :, stop - part.shape[1] : stop][c.rivals]
        c.sums += ahead.sum(axis=2)
        c.squares += np.einsum("rn,rn->r", ahead[:, self._guide], ahead[:, self._guide])
        return c.rivals

    def _given_up(self, c: _Running, stop: int, against: _Field) -> bool:
        """Whether rivals dominate it with confidence after so many items; it then has its outcome."""
        rivals = self._met(c, stop, against)
        if not len(rivals):
            return False
        guide, mean = self._guide, c.sums / stop * self._scale
        spread = np.sqrt(np.maximum(0.0, c.squares / stop - (c.sums[:, guide] / stop) ** 2)) * self._scale[guide]
        sure = mean[:, guide] - radius(stop, self._parts[-1], len(self._parts) - 1) * spread
        best = int(sure.argmax())
        worse = int(mean[:, 0].argmax())
        if sure[best] <= 0 or mean[worse, 0] < 0:
            return False
        full = against.full[rivals]
        estimate = float(full[worse, 0] + mean[worse, 0]), float(full[best, 1] + mean[best, 1])
        c.outcome = Outcome(self._with(c, estimate), None, c.seconds, dropped=stop)
        return True


def radius(items: int, of: int, looks: int, risk: float = RISK) -> float:
    """How far below the mean of all `of` differences that of the first `items` may be, in standard deviations, at so
    many looks at once."""
    return NormalDist().inv_cdf(1 - risk / looks) * sqrt(max(0.0, 1 / items - 1 / of))
