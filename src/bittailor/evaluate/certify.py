"""What can be said of a solution on new data: paired differences with intervals, and margins that hold with confidence.

Two solutions answer the same items, so their difference is one of pairs: most items, which both have right or both
wrong, say nothing, and the difference is known far better than either error. Where an item is right or wrong, a
certificate is by betting, which is valid for any number of independent items, and the interval shown beside it is
Tango's. Elsewhere both are by bootstrap over items, or over the groups that they come from (speakers, writers), which
is right for many of them only.

Sources  Waudby-Smith and Ramdas: Estimating means of bounded random variables by betting (JRSS B 86, 2024, arXiv
         2010.09686): bets that adapt to the spread seen so far.
         Tango: Equivalence test and confidence interval for the difference in proportions for the paired-sample design
         (Statistics in Medicine 17, 1998).
         Bisani and Ney: Bootstrap estimates for confidence intervals in ASR performance evaluation (ICASSP 2004).
         Angelopoulos, Bates, Candès, Jordan, Lei: Learn then Test (arXiv 2110.01052); Laufer-Goldshtein, Fisch,
         Barzilay, Jaakkola: Efficiently controlling multiple risks with Pareto Testing (ICLR 2023, arXiv 2210.07913):
         tests in a fixed sequence along a front.
         Wiens: A fixed sequence Bonferroni procedure (Pharmaceutical Statistics 2, 2003), called the fallback
         procedure: several starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data, Targets
from bittailor.errors import BittailorError
from bittailor.evaluate.metrics import Metric

Array = NDArray[np.float64]

LEVEL = 0.95
"""Confidence of intervals that nobody chose otherwise."""
POWER = 0.8
"""How often so many items as `items_needed` says are enough, if the two solutions are equally good."""
LEAST_GROUPS = 8
"""Groups below which a bootstrap over them says nothing."""
RESAMPLES = 2000
PRIOR_ITEMS, PRIOR_SPREAD = 10, 0.01
"""What is taken for known of the spread before the first item: as if so many had it. It decides power alone."""
LARGEST_BET = 0.9
"""As a share of the bet that may lose everything."""


@dataclass(frozen=True)
class Wish:
    """At most `margin` worse, in the metric's unit, with `confidence`, above 0.5 and below 1."""

    margin: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.margin:g}@{100 * self.confidence:g}"


def read_wish(text: str) -> Wish:
    """"0.5@95" or "0.5" (95 % where it says nothing), read.

    >>> read_wish("0.5@99")
    Wish(margin=0.5, confidence=0.99)
    """
    margin, at, percent = text.partition("@")
    try:
        wish = Wish(float(margin), float(percent) / 100 if at else LEVEL)
    except ValueError:
        raise BittailorError(f"cannot read '{text}'; write MARGIN@CONFIDENCE, such as 0.5@95") from None
    if not 0 <= wish.margin < float("inf"):
        raise BittailorError(f"certify '{text}': the margin is by how much worse a solution may be, 0 or more")
    if not 0.5 < wish.confidence < 1:
        raise BittailorError(f"certify '{text}': the confidence is in %, above 50 and below 100")
    return wish


@dataclass(frozen=True, eq=False)
class Differences:
    """A solution against another, item by item.

    values  float64 [items]: by how much it is worse, as the metric is minimised, in the metric's unit
    reach   no difference is beyond ± this; None where there is no such limit
    amounts float64 [items]: what an item weighs, such as the phones that were said
    groups  int64 [items]; empty where every item stands for itself
    """

    values: Array
    reach: float | None
    amounts: Array
    groups: NDArray[np.int64]

    @property
    def items(self) -> int:
        """How many."""
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        """By how much it is worse, all items together."""
        return float((self.values * self.amounts).sum() / self.amounts.sum())

    @property
    def by_betting(self) -> bool:
        """Whether the bound holds at any number of items."""
        return self.reach is not None and not self.groups.size and bool((self.amounts == self.amounts[0]).all())

    @property
    def problem(self) -> str | None:
        """Why nothing can be said; None where something can."""
        if self.groups.size and (count := len(np.unique(self.groups))) < LEAST_GROUPS:
            return f"the items come from {count} groups; a bound needs {LEAST_GROUPS} or more"
        return None

    @property
    def method(self) -> str:
        """How it is bounded, in words."""
        if self.by_betting:
            return "betting"
        return "bootstrap over groups" if self.groups.size else "bootstrap"

    def p_value(self, margin: float) -> float:
        """How likely data like these are at most where the true difference is `margin` or more."""
        if self.problem:
            return 1.0
        if self.by_betting:
            return min(1.0, float(np.exp(-self._log_capital(margin))))
        return float((1 + np.sum(self._resampled >= margin)) / (RESAMPLES + 1))

    def upper(self, confidence: float = LEVEL) -> float:
        """A bound that the true difference is not above, with so much confidence: 0 where it is surely no worse;
        infinite where nothing can be said."""
        if self.problem:
            return float("inf")
        if not self.by_betting:
            return max(0.0, float(np.quantile(self._resampled, confidence)))
        assert self.reach is not None
        wanted, low, high = -log(1 - confidence), 0.0, self.reach
        if self._log_capital(0.0) >= wanted:
            return 0.0
        while high - low > 1e-4 * self.reach:
            middle = (low + high) / 2
            low, high = (low, middle) if self._log_capital(middle) >= wanted else (middle, high)
        return high

    def interval(self, confidence: float = LEVEL) -> tuple[float, float]:
        """Two bounds that the true difference is between, with so much confidence: for a reader, not for a
        certificate, since they are right for many items only. By Tango's score where items are right or wrong."""
        side = 1 - (1 - confidence) / 2
        if not self.by_betting:
            return float(np.quantile(self._resampled, 1 - side)), float(np.quantile(self._resampled, side))
        assert self.reach is not None
        shares = self.values / self.reach
        worse, better = int((shares > 0).sum()), int((shares < 0).sum())
        z = NormalDist().inv_cdf(side)
        high = _score_bound(worse, better, self.items, z)
        return -self.reach * _score_bound(better, worse, self.items, z), self.reach * high

    def items_needed(self, margin: float, confidence: float) -> int:
        """How many items would most likely do, if the two were equally good; at two equally good ones differing on as
        many items as here. 0: none are enough, the margin being 0."""
        if margin <= 0:
            return 0
        spread = (float(np.mean(self.values**2)) + (self.reach or 0.0) ** 2 / (self.items + 1))
        reached = (-2 * log(1 - confidence)) ** 0.5 if self.by_betting else NormalDist().inv_cdf(confidence)
        z = reached + NormalDist().inv_cdf(POWER)
        return ceil(z * z * spread / margin**2)

    @cached_property
    def _bets(self) -> tuple[Array, Array]:
        """Differences as shares of the reach, from 0 (better everywhere) to 1; and what is bet on each, which only
        those before it decide: the best bet for a spread like theirs."""
        assert self.reach is not None
        values = 0.5 + 0.5 * self.values / self.reach
        before = np.arange(len(values))
        spread = (values - 0.5) ** 2
        known = (PRIOR_ITEMS * PRIOR_SPREAD + np.cumsum(spread) - spread) / (PRIOR_ITEMS + before)
        return values, np.sqrt(-2 * log(1 - LEVEL) / (len(values) * known))

    def _log_capital(self, margin: float) -> float:
        """Logarithm of what a fair bet against "the true difference is `margin` or more" has won."""
        assert self.reach is not None
        values, bets = self._bets
        level = 0.5 + 0.5 * margin / self.reach
        # the same for all margins of 0 or more, so that a larger margin is never harder to reach
        largest = LARGEST_BET / max(0.5, 1 - level)
        return float(np.log1p(np.minimum(bets, largest) * (level - values)).sum())

    @cached_property
    def _resampled(self) -> Array:
        """Means of resampled items or groups, float64 [RESAMPLES]; the same in every call."""
        sums, weights = self.values * self.amounts, self.amounts
        if self.groups.size:
            _, place = np.unique(self.groups, return_inverse=True)
            sums, weights = (np.bincount(place, v).astype(np.float64) for v in (sums, weights))
        rng = np.random.default_rng(0)
        means = np.empty(RESAMPLES)
        for i in range(RESAMPLES):
            drawn = rng.integers(0, len(sums), len(sums))
            means[i] = sums[drawn].sum() / weights[drawn].sum()
        # a resample spreads by the share (n - 1) / n too little
        centre = sums.sum() / weights.sum()
        return np.asarray(centre + (means - centre) * np.sqrt(len(sums) / max(1, len(sums) - 1)))


def _score_bound(worse: int, better: int, items: int, z: float) -> float:
    """The largest difference in the share of wrong items that Tango's score test does not refuse at `z`.

    worse, better  on how many of the items only this one is wrong, only the other
    """
    def score(margin: float) -> float:
        b = -worse - better + (2 * items - worse + better) * margin
        root = (b * b + 8 * items * better * margin * (1 - margin)) ** 0.5
        other = (root - b) / (4 * items)
        spread = items * (2 * other + margin * (1 - margin))
        return (worse - better - items * margin) / spread**0.5 if spread > 0 else 0.0

    low, high = (worse - better) / items, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) > -z else (low, middle)
    return high


def item_costs(metric: Metric, outputs: Array, targets: Targets) -> Array | None:
    """The metric item by item, as something to minimise; None where it has no such parts."""
    found = metric.per_item(outputs, targets)
    return None if found is None else np.asarray(-found if metric.maximise else found, np.float64)


def differences(metric: Metric, a: Array, b: Array, data: Data) -> Differences:
    """By how much `a` is worse than `b`: `item_costs` of two solutions on the same data."""
    count = len(data)
    amounts = np.ones(count)
    if metric.amount(data.targets) != count:
        amounts = np.array([metric.amount(data.targets[i : i + 1]) for i in range(count)], np.float64)
    # an item's value is a share of the mean amount; as a rate of its own it is that over its own amount
    share = amounts.mean() / np.maximum(amounts, 1e-12)
    return Differences((a - b) * share, 100.0 if metric.binary else None, amounts, data.groups)


@dataclass(frozen=True)
class Comparison:
    """A solution against another on the items of one role.

    part        "confirm" or "test"
    base        what it is compared with: "8bit" or "float"
    difference  by how much it is worse, in the metric's unit; negative: better
    low, high   the interval of the true difference, with `LEVEL`
    upper       what the true difference is below, with `LEVEL`
    items       how many
    method      how the bounds come about
    """

    part: str
    base: str
    difference: float
    low: float
    high: float
    upper: float
    items: int
    method: str

    def text(self, unit: str) -> str:
        """The difference with its interval, as people read it: positive is worse."""
        points = " points" if unit == "%" else f" {unit}".rstrip()
        return (f"{self.difference:+.2g}{points} ({self.low:+.2g} to {self.high:+.2g} with {100 * LEVEL:g} % "
                f"confidence, {self.items:,} items)")

    @classmethod
    def of(cls, part: str, base: str, found: Differences) -> Comparison | None:
        """Of differences; None where nothing can be said."""
        if found.problem:
            return None
        low, high = found.interval()
        return cls(part, base, found.mean, low, high, found.upper(), found.items, found.method)


def fallback(count: int, starts: Sequence[int], risk: float, p_value: Callable[[int], float]) -> list[int]:
    """Which of `count` hypotheses are rejected, in their order, with a chance of at most `risk` of any wrong one.

    starts   places among which the risk is divided; each test that rejects hands its share on to the next
    p_value  of a hypothesis; asked for only where it is tested

    >>> fallback(5, [0, 3], 0.05, lambda i: [0.01, 0.01, 0.2, 0.02, 0.02][i])
    [0, 1, 3, 4]
    """
    carried, rejected = 0.0, []
    for i in range(count):
        level = carried + starts.count(i) * risk / len(starts)
        carried = 0.0
        if level > 0 and p_value(i) <= level:
            rejected.append(i)
            carried = level
    return rejected
