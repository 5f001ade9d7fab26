"""Master weights and scales: what an optimiser moves, and the integers and formats that follow from it.

Weights and biases are kept in float32 and rounded anew at every step; scales are learned through their logarithm. The
gradient of a scale is that of LSQ (Esser et al., arXiv 1902.08153): what a value answers to a step of its scale is
q - v/s inside the range and the end of the range outside, weighed by 1 / sqrt(values * largest integer).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from bittailor.core.arith import Floats, Ints
from bittailor.core.graph import Graph
from bittailor.core.plan import Plan
from bittailor.core.qformat import QFormat
from bittailor.quantise.calibration import Calibration

INSIDE = 0.49
"""How far from its integer, in steps, a starting weight may lie."""


class MasterWeights:
    """Everything that is trained, as two flat vectors with views into them.

    weights      [n] float32, all weights and biases
    logs         [m] float32, logarithms of the weights' scales against where they started
    ranges       [k] float32, likewise of the activations' learned scales
    """

    def __init__(self, start: Calibration, widths: Mapping[str, int], learned: Iterable[str]) -> None:
        """Begin at a calibration's solution for `widths`: rounding the weights gives its fitted integers.

        learned  activation sites whose scales move
        """
        graph = start.network.graph
        self.graph, self.widths = graph, dict(widths)
        self.formats: dict[str, QFormat] = dict(start.plan(widths).formats)
        values: dict[str, Floats] = {}
        for site in graph.free:
            if site.kind == "weight":
                fmt = self.formats[site.name]
                values[site.name] = nearest_start(start.network.parameters[site.name], fmt,
                                                  start.integers(site.name, fmt))
            elif site.kind == "bias":
                values[site.name] = start.network.parameters[site.name]
        self.names = list(values)
        self.weights = torch.from_numpy(np.concatenate(
            [np.zeros(0), *(v.ravel() for v in values.values())]).astype(np.float32))
        self._places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        at = 0
        for name, value in values.items():
            self._places[name] = slice(at, at + value.size), value.shape
            at += value.size
        self.gradient = torch.zeros_like(self.weights)
        self._matrices = [n for n in values if self.formats[n].kind == "weight"]
        self._scales: dict[str, tuple[slice, Floats]] = {}
        at = 0
        for name in self._matrices:
            scale = np.asarray(self.formats[name].scale)
            self._scales[name] = slice(at, at + len(scale)), scale
            at += len(scale)
        self._ranges = {name: (i, self.formats[name].scale[0]) for i, name in enumerate(learned)}
        self.logs, self.log_gradient = torch.zeros(at), torch.zeros(at)
        self.ranges, self.range_gradient = torch.zeros(len(self._ranges)), torch.zeros(len(self._ranges))

    def view(self, name: str) -> Tensor:
        """A parameter's master values, a view in its shape."""
        part, shape = self._places[name]
        return self.weights[part].view(shape)

    def refresh(self) -> None:
        """Formats from the present scales."""
        factors = np.exp(self.logs.numpy().astype(np.float64))
        for name, (part, scale) in self._scales.items():
            self._rescale(name, tuple(scale * factors[part]))
        factors = np.exp(self.ranges.numpy().astype(np.float64))
        for name, (i, begin) in self._ranges.items():
            self._rescale(name, (begin * factors[i],))

    def _rescale(self, name: str, scale: tuple[float, ...]) -> None:
        fmt = self.formats[name]
        if fmt.scale != scale:
            self.formats[name] = QFormat(fmt.kind, fmt.bits, scale, fmt.zero_point)

    def restart(self, formats: Mapping[str, QFormat]) -> None:
        """Take over other activation formats."""
        self.formats |= formats

    def integers(self) -> dict[str, Ints]:
        """Weight site -> integers, by the format's own rounding."""
        return {name: self.formats[name].quantise(self.view(name).numpy()) for name in self._matrices}

    def biases(self) -> dict[str, Floats]:
        """Bias site -> real values."""
        return {n: self.view(n).numpy().astype(np.float64) for n in self.names if self.formats[n].kind == "bias"}

    def plan(self) -> Plan:
        """The present formats."""
        return Plan(dict(self.formats))

    def parameters(self) -> dict[str, Floats]:
        """Every parameter's master values, float64."""
        return {name: self.view(name).numpy().astype(np.float64) for name in self.names}

    def dequantised(self, integers: Mapping[str, Ints]) -> dict[str, Floats]:
        """Every parameter as the integers stand for it; biases as they are."""
        return self.parameters() | {name: self.formats[name].dequantise(q) for name, q in integers.items()}

    def set_gradients(
        self, parameters: Mapping[str, Tensor], steps: Mapping[str, Tensor], integers: Mapping[str, Ints]
    ) -> None:
        """From gradients by real weights, and by activations' scales, to those of the three vectors."""
        self.gradient.zero_()
        self.log_gradient.zero_()
        for name, value in parameters.items():
            part, _ = self._places[name]
            self.gradient[part] = value.reshape(-1)
        for name in self._matrices:
            if name not in parameters:
                continue
            fmt, (part, _) = self.formats[name], self._scales[name]
            scale = torch.tensor(fmt.scale, dtype=torch.float32)
            # weights are confined to the range: all of them answer with their rounding error, here times the scale
            answer = torch.from_numpy(integers[name].astype(np.float32)).mul_(scale[:, None]).sub_(self.view(name))
            along = answer.mul_(parameters[name]).sum(dim=1)
            count = answer.numel() // len(scale)
            self.log_gradient[part] = (along if len(scale) > 1 else along.sum()) / (count * max(1, fmt.qmax)) ** 0.5
        for name, value in steps.items():
            fmt, count = self.formats[name], self.graph.sites[name].features
            self.range_gradient[self._ranges[name][0]] = value * (fmt.scale[0] / (count * fmt.qmax) ** 0.5)

    def confine(self) -> None:
        """Keep weights where rounding does not clamp them, so that none is beyond the reach of its gradient."""
        for name in self._matrices:
            fmt = self.formats[name]
            limit = torch.tensor(fmt.scale, dtype=torch.float32)[:, None] * (fmt.qmax + INSIDE)
            w = self.view(name)
            torch.clamp(w, -limit, limit, out=w)


def nearest_start(weights: Floats, fmt: QFormat, integers: Ints) -> Floats:
    """The values nearest to `weights` that round to `integers`, representable in float32."""
    steps = np.asarray(fmt.scale)[:, None]
    low, high = integers - INSIDE, integers + INSIDE
    if fmt.bits == 1:  # the threshold is 0, not half a step
        low, high = np.where(integers > 0, 0.01, -1 - INSIDE), np.where(integers > 0, 1 + INSIDE, -0.01)
    return np.asarray(steps * np.clip(weights / steps, low, high), np.float32).astype(np.float64)


def learnable(graph: Graph, calibration: Calibration, widths: Mapping[str, int]) -> frozenset[str]:
    """Activation sites whose ranges come from data: not the input's, and none that mathematics gives."""
    given = calibration.settings.given == "always"
    return frozenset(
        site.name for site in graph.free
        if site.kind == "activation" and site.role not in ("input", "index")
        and not (given and graph.given_format(site.name, widths[site.name]) is not None)
    )
