"""Two trainings of which no width is known beforehand: weights for all widths, and widths by gradient.

Both are the package's own retraining (every pass gives the integers of the program that it stands for, teacher and
recipe as ever); what differs is that the widths change from pass to pass, and that a weight or an activation has a
scale of its own, learned, at each width. `elastic.py` compares what comes of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import bittailor as bt
from bittailor.cli.own import Prepared
from bittailor.core.arith import Floats, Ints
from bittailor.core.network import Network
from bittailor.core.ops.linear import quantise_bias
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.train.beacons.ladder import NARROWEST
from bittailor.train.floats import _threads
from bittailor.train.masters import MasterWeights
from bittailor.train.retrain import _Retrainer
from bittailor.train.teacher import Batch

WEIGHTS = tuple(range(1, 9))
ACTIVATIONS = tuple(range(4, 9))
BIASES = tuple(range(4, 9))
ALLOWED = {"weight": WEIGHTS, "activation": ACTIVATIONS, "bias": BIASES}
"""Widths that are trained; what else a search asks for is fitted to the trained weights."""

BETWEEN, SPREAD = (1.5, 4.0), 0.6
"""Mean widths of weights in the narrower passes of an update, and how far a weight's own is from it: in the sizes that
are searched. With 1 bit everywhere as the narrowest, those passes had most of the gradient, and all widths lost."""
WIDEST, NEAR = 0.5, 1.01
"""Where the first genome of widths by gradient is kept, as a share of the size of homogeneous 8 bit (the last one is
where a ladder's is, or the smallest there can be); a size is met if it is so near."""

Widths = dict[str, int]


class ElasticMasters(MasterWeights):
    """One set of master weights, and a learned scale for each (site, width).

    logs    [weight sites x widths], logarithms of scales against where they started
    ranges  the same of activations
    begun   (site, bits) -> its format at the start, of all widths that are trained
    """

    def __init__(self, start: Calibration, widths: Mapping[str, int], learned: Sequence[str]) -> None:
        super().__init__(start, widths, learned)
        for name in self.names:  # as they are: not where rounding gives what was fitted at one width
            self.view(name).copy_(torch.from_numpy(start.network.parameters[name].astype(np.float32)))
        self.begun: dict[tuple[str, int], QFormat] = {}
        self._slots: dict[tuple[str, int], int] = {}
        self._learned = frozenset(learned)
        for site in self.graph.free:
            for bits in (widths[site.name],) if site.role == "index" else ALLOWED[site.kind]:
                self.begun[site.name, bits] = start.format(site.name, bits)
        for kind in ("weight", "activation"):
            keys = [key for key, fmt in self.begun.items()
                    if fmt.kind == kind and (kind == "weight" or key[0] in self._learned)]
            self._slots |= {key: i for i, key in enumerate(keys)}
            values, gradient = torch.zeros(len(keys)), torch.zeros(len(keys))
            if kind == "weight":
                self.logs, self.log_gradient = values, gradient
            else:
                self.ranges, self.range_gradient = values, gradient

    def format(self, name: str, bits: int) -> QFormat:
        """The format of a site at a width, with its present scale."""
        begun = self.begun[name, bits]
        slot = self._slots.get((name, bits))
        if slot is None:
            return begun
        factor = math.exp(float((self.logs if begun.kind == "weight" else self.ranges)[slot]))
        return QFormat(begun.kind, bits, tuple(scale * factor for scale in begun.scale), begun.zero_point)

    def choose(self, widths: Mapping[str, int]) -> None:
        """Take these widths."""
        self.widths = dict(widths)
        self.formats = {name: self.format(name, bits) for name, bits in widths.items()}

    def clear(self) -> None:
        """No gradients."""
        for gradient in (self.gradient, self.log_gradient, self.range_gradient):
            gradient.zero_()

    def add(self, parameters: Mapping[str, Tensor], steps: Mapping[str, Tensor], integers: Mapping[str, Ints]) -> None:
        """Add the gradients of a pass at the present widths (LSQ, as in `MasterWeights`; a weight beyond the end of its
        range answers with that end, and has no gradient of its own there)."""
        for name, value in parameters.items():
            part, _ = self._places[name]
            if name in integers:
                fmt, weights = self.formats[name], self.view(name)
                scale = torch.tensor(fmt.scale, dtype=torch.float32)[:, None]
                inside = (weights.abs() <= scale * (fmt.qmax + 0.5)) if fmt.bits > 1 else torch.ones_like(weights) > 0
                answer = torch.from_numpy(integers[name].astype(np.float32)) * scale - weights * inside
                self.log_gradient[self._slots[name, fmt.bits]] += (
                    float((answer * value).sum()) / (answer.numel() * max(1, fmt.qmax)) ** 0.5)
                value = value * inside
            self.gradient[part] += value.reshape(-1)
        for name, value in steps.items():
            fmt, count = self.formats[name], self.graph.sites[name].features
            self.range_gradient[self._slots[name, fmt.bits]] += value * (fmt.scale[0] / (count * fmt.qmax) ** 0.5)


class ElasticRetrainer(_Retrainer):
    """Retraining whose widths change from pass to pass: the sandwich rule (Yu, Huang, arXiv 1903.05134).

    An update is `PASSES` passes over one batch: at the widest widths, near the narrowest, and at random ones between;
    the teacher is the float network.
    """

    PASSES = 4

    def __init__(self, prepared: Prepared, calibration: Calibration, recipe: bt.Retraining, seed: int) -> None:
        graph = prepared.network.graph
        self.widest = {site.name: widest_of(site.kind, site.role) for site in graph.free}
        super().__init__(calibration, self.widest, prepared.data.train, prepared.metric, recipe, seed, None,
                         calibration, None, None)
        self.random = np.random.default_rng(seed)
        self.masters: ElasticMasters = ElasticMasters(calibration, self.widest,
                                                      [s.name for s in graph.free if s.name in self.learned])
        weights, scales = (group["peak"] for group in self.optimizer.param_groups)
        self.optimizer = torch.optim.AdamW([
            {"params": [self.masters.weights], "weight_decay": 0.0, "peak": weights},
            {"params": [self.masters.logs, self.masters.ranges], "weight_decay": 0.0, "peak": scales},
        ], lr=weights, fused=True)
        self.masters.weights.grad = self.masters.gradient
        self.masters.logs.grad = self.masters.log_gradient
        self.masters.ranges.grad = self.masters.range_gradient
        self.kinds = {site.name: site.kind for site in graph.free if site.role != "index"}

    def sample(self) -> list[Widths]:
        """Widths of the passes of an update, the widest first."""
        middle = [float(self.random.uniform(*BETWEEN)) for _ in range(self.PASSES - 2)]
        return [self.widest, *(self._drawn(mean) for mean in (BETWEEN[0], *middle))]

    def _drawn(self, mean: float) -> Widths:
        """Weights around a common width; activations, which cost no parameter, in the upper half of theirs."""
        widths = dict(self.widest)
        for name, kind in self.kinds.items():
            if kind == "weight":
                widths[name] = min(max(round(self.random.normal(mean, SPREAD)), WEIGHTS[0]), WEIGHTS[-1])
            elif mean > BETWEEN[0]:
                widths[name] = int(self.random.integers(6, 9))
        return widths

    def felt(self, parameters: Mapping[str, Tensor]) -> None:
        """Told the gradients of every pass."""

    def _update(self, batch: Batch, scales: bool) -> tuple[float, Tensor]:
        self.masters.clear()
        plans, total, first = self.sample(), 0.0, None
        for widths in plans:
            self.masters.choose(widths)
            try:
                integers, _ = self._bind()
            except RangeError as error:
                raise self._diverged(str(error)) from None
            loss, real, (parameters, steps) = self._gradients(batch, True, 1 / len(plans))
            self.masters.add(parameters, steps, integers)
            self.felt(parameters)
            total += loss
            first = real if first is None else first
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total:g}")
        norm = float(self.masters.gradient.norm())
        if norm > self.settings.clip:
            self.masters.gradient.mul_(self.settings.clip / norm)
        self.optimizer.step()
        if not bool(torch.isfinite(self.masters.weights).all()):
            raise self._diverged("a weight is no longer finite")
        assert first is not None
        return total, first

    def _worse(self) -> str | None:
        return None  # of many networks in one, there is no one beginning to compare with

    def snapshot(self) -> Calibration:
        """The present weights with their scales: a calibration, whose formats are pinned at all widths trained."""
        network = Network(self.graph, self.masters.parameters())
        seen = calibrate(network, self.train.x, self.train.lengths, self.calibration.settings)
        pinned = {key: self.masters.format(*key) for key in self.masters.begun}
        return Calibration(network, seen.settings, seen.observed, seen.moments, pinned)

    def _result(self) -> Calibration:
        return self.snapshot()


def widest_of(kind: str, role: str | None) -> int:
    """The widest width that is trained; an index has that of its kind."""
    return 16 if role == "index" else ALLOWED[kind][-1]


class Price:
    """What a share of the size of homogeneous 8 bit costs, in units of the loss: rises while the size is above its
    aim, and falls below it, so that it passes through all prices that matter, whatever the task's loss is."""

    FIRST, GAIN, MOST = 0.01, 0.2, 1e3

    def __init__(self) -> None:
        self.value = self.FIRST

    def follow(self, size: float, aim: float) -> None:
        """After an update."""
        self.value = min(max(self.value * math.exp(self.GAIN * (size / aim - 1)), 1e-4), self.MOST)


class WidthRetrainer(ElasticRetrainer):
    """Widths by gradient: loss + price * size, in weights, scales and relaxed widths at once.

    A relaxed width between two integers stands for a mixture of the site at both. A pass draws one of them, with the
    mixture's shares; the gradient is the mixture's, straight-through: what the loss says to the difference of the two
    roundings. Activations stay at their widest, as they cost nothing. The price rises over the training, so that the
    size falls; where it meets one of `aims` sizes, the rounded widths are kept, with the weights.
    """

    PASSES = 1
    FROM, RATE = 0.62, 0.03

    def __init__(self, prepared: Prepared, calibration: Calibration, recipe: bt.Retraining, seed: int,
                 aims: int) -> None:
        super().__init__(prepared, calibration, recipe, seed)
        sites = [site for site in self.graph.free if site.kind != "activation"]
        self.sites = [site.name for site in sites]
        self.counts = np.array([float(site.count) for site in sites])
        whole = bt.homogeneous_widths(self.graph, 8)
        self.eight = float(sum(site.count * whole[site.name] for site in sites))
        self.low = np.array([float(ALLOWED[site.kind][0]) for site in sites])
        self.relaxed = torch.tensor([5.0 if site.kind == "weight" else 8.0 for site in sites])
        self.relaxed.grad = torch.zeros(len(sites))
        self.mover = torch.optim.Adam([self.relaxed], lr=self.RATE, betas=(0.9, 0.99))
        self.price, self.kept = Price(), list[tuple[Widths, Calibration, float]]()
        self.end = max(NARROWEST, NEAR * float(self.counts @ self.low) / self.eight)
        self.aims = np.geomspace(WIDEST, self.end, aims).tolist()
        self.biases = {node.params[1]: node for node in self.graph.nodes() if len(node.params) > 1}
        self.updates, self.all = 0, self.epochs * math.ceil(len(self.train) / recipe.batch)

    def sample(self) -> list[Widths]:
        values = self.relaxed.numpy()
        below = np.clip(np.floor(values), self.low, WEIGHTS[-1] - 1)
        drawn = below + (self.random.random(len(values)) < values - below)
        self.below = below.astype(int)
        return [self.widest | {name: int(bits) for name, bits in zip(self.sites, drawn, strict=True)}]

    def felt(self, parameters: Mapping[str, Tensor]) -> None:
        gradient = self.relaxed.grad
        assert gradient is not None
        for i, (name, low) in enumerate(zip(self.sites, self.below, strict=True)):
            step = torch.from_numpy((self._rounded(name, low + 1) - self._rounded(name, low)).astype(np.float32))
            gradient[i] = (parameters[name] * step).sum() + self.price.value * self.counts[i] / self.eight

    def _rounded(self, name: str, bits: int) -> Floats:
        value = self.masters.view(name).numpy()
        if name not in self.biases:
            fmt = self.masters.format(name, int(bits))
            return fmt.dequantise(fmt.quantise(value))
        node = self.biases[name]
        weight, x = self.masters.formats[node.params[0]], self.network.formats[node.inputs[0]]
        return quantise_bias(value.astype(np.float64), int(bits), weight, x) * (np.asarray(weight.scale) * x.scale[0])

    def _update(self, batch: Batch, scales: bool) -> tuple[float, Tensor]:
        found = super()._update(batch, scales)
        self.mover.step()
        self.relaxed.copy_(torch.from_numpy(np.clip(self.relaxed.numpy(), self.low, 8).astype(np.float32)))
        self.updates += 1
        size = float(self.counts @ self.relaxed.numpy()) / self.eight
        aim = self.FROM * (self.end / self.FROM) ** min(1.0, self.updates / (0.95 * self.all))
        self.price.follow(size, aim)
        if self.aims and size <= NEAR * self.aims[0]:
            self.kept.append((self.rounded(), self.snapshot(), self.price.value))
            self.aims.pop(0)
        return found

    def rounded(self) -> Widths:
        """The relaxed widths as integers."""
        return self.widest | {name: int(bits) for name, bits in zip(
            self.sites, np.floor(self.relaxed.numpy() + 0.5), strict=True)}


def train(retrainer: ElasticRetrainer) -> Calibration:
    """The calibration that comes of it."""
    with _threads():
        return retrainer.run().calibration


def recipe_for(recipe: bt.Retraining, share: float, passes: int, items: int) -> bt.Retraining:
    """As many epochs as take `share` times the passes of the whole recipe."""
    return replace(recipe, epochs=max(2, math.ceil(share * recipe.epochs_for(items) / passes)))
