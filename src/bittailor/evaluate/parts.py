"""A metric of several outputs: each part of them is measured by a metric of its own, and the values are weighted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Targets
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate.losses import Loss
from bittailor.evaluate.metrics import METRICS, Metric, metric_of

if TYPE_CHECKING:
    from torch import Tensor

Values = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """One of the outputs, and how it is measured.

    name     what it is called
    columns  of the output; of `Data.y` as well, unless `target` says otherwise
    metric   of this part alone
    weight   of its value and of its loss in those of the whole
    target   the name in `Data.extras` of what this part should give, such as labels of classes; "" for columns of y
    """

    name: str
    columns: slice
    metric: Metric
    weight: float = 1.0
    target: str = ""

    def outputs(self, outputs: Any) -> Any:
        """Its columns."""
        return outputs[..., self.columns]

    def targets(self, targets: Targets) -> Targets:
        """What these should be."""
        if not self.target:
            return replace(targets, y=targets.y[..., self.columns])
        if self.target not in targets.extras:
            raise DataError(f"the part '{self.name}' is measured against extras['{self.target}'], which the data do "
                            f"not have; they have: {', '.join(targets.extras) or 'none'}")
        return replace(targets, y=targets.extras[self.target])

    def loss(self, targets: Targets) -> Loss:
        """Its loss."""
        return self.metric.loss_for(self.targets(targets))


class WeightedLoss(Loss):
    """The weighted sum of the losses of parts."""

    per_step = None
    takes = "real values, float [items, (steps,) outputs], and extras for parts that say so"

    def __init__(self, parts: tuple[Part, ...], key: str) -> None:
        self.parts, self.key = parts, key

    def of(self, outputs: Values, targets: Targets) -> float:
        return sum(p.weight * p.loss(targets).of(p.outputs(outputs), p.targets(targets)) for p in self.parts)

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        found = [p.weight * p.loss(targets).train(p.outputs(outputs), p.targets(targets)) for p in self.parts]
        total = found[0]
        for value in found[1:]:
            total = total + value
        return total

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64] | None:
        total = np.zeros(len(targets))
        for p in self.parts:
            found = p.loss(targets).per_item(p.outputs(outputs), p.targets(targets))
            if found is None:
                return None
            total += p.weight * found
        return total

    def fits(self, y: Values, outputs: int) -> str | None:
        most = max(p.columns.stop for p in self.parts)
        if outputs < most:
            return f"its parts take {most} outputs; the network has {outputs}"
        if y.dtype.kind != "f" or y.shape[-1] != outputs:
            return f"it needs real targets for all {outputs} outputs; the targets are {y.dtype} of shape {y.shape}"
        for p in self.parts:
            if not p.target and (wrong := p.metric.loss_for(Targets(y[..., p.columns], np.empty(0))).fits(
                    y[..., p.columns], p.columns.stop - p.columns.start)):
                return f"part '{p.name}': {wrong}"
        return None


class WeightedMetric(Metric):
    """The sum of the parts' values times their weights; of a part where more is better, less its value."""

    title = "weighted sum of the parts"

    def __init__(self, parts: tuple[Part, ...], name: str = "weighted") -> None:
        self.name, self.parts = name, parts
        self.title = " + ".join(f"{p.weight:g} {p.name} {p.metric.name}" for p in parts)
        self.loss = WeightedLoss(parts, self.key)

    @property
    def key(self) -> str:
        said = "_".join(f"{p.name}_{p.columns.start}_{p.columns.stop}_{p.metric.key}_{p.weight:g}_{p.target}"
                        for p in self.parts)
        return f"{self.name}_{said}"

    def value(self, outputs: Values, targets: Targets) -> float:
        return sum(p.weight * p.metric.cost(p.metric.value(p.outputs(outputs), p.targets(targets))) for p in self.parts)

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64] | None:
        total = np.zeros(len(targets))
        for p in self.parts:
            found = p.metric.per_item(p.outputs(outputs), p.targets(targets))
            if found is None:
                return None
            total += p.weight * (-found if p.metric.maximise else found)
        return total

    def _try(self, targets: Targets, shape: tuple[int, ...]) -> None:
        """Those of a user's own, each on outputs of its part."""
        for p in self.parts:
            if p.metric.name not in METRICS:
                p.metric._try(p.targets(targets), (*shape[:-1], p.columns.stop - p.columns.start))

    def each(self, outputs: Values, targets: Targets) -> dict[str, float]:
        """The value of every part, as its own metric gives it."""
        return {p.name: p.metric.value(p.outputs(outputs), p.targets(targets)) for p in self.parts}


Wanted = tuple[Any, float] | tuple[Any, float, str]
"""(metric, weight), or (metric, weight, name in `Data.extras` of its targets)."""


def weighted(columns: Mapping[str, slice], parts: Mapping[str, Wanted], name: str = "weighted") -> Metric:
    """A metric of a network with several outputs.

    columns  `network.parts`: name -> columns of the output
    parts    name -> (metric, weight), or (metric, weight, name in `Data.extras` of its targets); metrics as
             `SearchSpec.metric` takes them. What is not named does not count
    name     what it is called in runs: letters, digits and _
    Raises   BittailorError for a part that there is not, or a weight that is no positive number

    >>> weighted({"gains": slice(0, 22), "vad": slice(22, 23)}, {"gains": ("mse", 1.0), "vad": ("binary_error", 0.01)})
    <metric weighted>
    """
    found = list[Part]()
    for part, (metric, weight, *target) in parts.items():
        if part not in columns:
            raise BittailorError(f"there is no output '{part}'; there are: {', '.join(columns) or 'none by name'}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise BittailorError(f"the weight of '{part}' is {weight!r}; expected a positive number")
        found.append(Part(part, columns[part], metric_of(metric), float(weight), *target))
    if not found:
        raise BittailorError("a weighted metric needs a part at least")
    return metric_of(WeightedMetric(tuple(found), name))
