"""Losses: smooth in the outputs, always lowered. With NumPy they guide a search, with torch they train.

A loss says which targets it takes; a metric whose loss it is takes the same. torch loads when something is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Targets
from bittailor.evaluate import decode

if TYPE_CHECKING:
    from torch import Tensor

Values = NDArray[Any]


class Loss:
    """A mean over items, steps or phones. Subclass it for one of your own: `of`, `train` and `fits`.

    key      what names of cached networks say for it: those trained for one loss share their weights
    scores   whether outputs are scores of classes, so that a teacher's are compared as probabilities
    per_step True for [items, steps, outputs], False for [items, outputs], None for both
    least    what no term of the mean is below; None where there is no such bound
    """

    key: ClassVar[str]
    scores: ClassVar[bool] = False
    per_step: ClassVar[bool | None] = False
    least: ClassVar[float | None] = 0.0

    def of(self, outputs: Values, targets: Targets) -> float:
        """The loss of float outputs [items, (steps,) outputs], in NumPy."""
        raise NotImplementedError

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        """The same in torch, a scalar with gradients. Outputs may have fewer steps than the targets, as many as the
        longest of the items."""
        raise NotImplementedError

    def amount(self, targets: Targets) -> float:
        """What the mean is over."""
        return len(targets)

    def fits(self, y: Values, outputs: int) -> str | None:
        """What is wrong with targets for a network with so many outputs, in a sentence; None where they fit."""
        return None


class CrossEntropy(Loss):
    """-ln P(label) of a label for each item, nat."""

    key, scores = "error", True

    def of(self, outputs: Values, targets: Targets) -> float:
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(shifted)), targets.y]
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets.y)

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.ndim != 1:
            if wrong := _floats(y, outputs):
                return wrong
            return (f"it needs integer class labels, one per item; the targets are {y.dtype} of shape {y.shape}. "
                    "For a regression use metric 'mse'")
        if y.max() >= outputs or y.min() < 0:
            return (f"labels run {y.min()}..{y.max()} but the network has {outputs} outputs; "
                    "it needs one output per class, the first for label 0")
        return None


class SquaredError(Loss):
    """Squared difference from real targets: the mean over an item's outputs (and its steps), then over items."""

    key = "mse"
    per_step: ClassVar[bool | None] = None

    def of(self, outputs: Values, targets: Targets) -> float:
        if outputs.ndim == 2:
            return float(np.mean((outputs.astype(np.float64) - targets.y) ** 2))
        return float(self.of_items(outputs, targets).mean())

    def of_items(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
        """The mean of each item, float64 [items]."""
        squares = (outputs.astype(np.float64) - targets.y) ** 2
        if outputs.ndim == 2:
            return np.asarray(squares.mean(axis=1))
        valid = np.arange(outputs.shape[1]) < targets.lengths[:, None]
        return np.asarray((squares.mean(axis=2) * valid).sum(axis=1) / targets.lengths)

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        from torch.nn.functional import mse_loss

        if outputs.dim() == 2:
            return mse_loss(outputs, targets.y)
        import torch

        steps = outputs.shape[1]
        valid = torch.arange(steps) < targets.lengths[:, None]
        squares = ((outputs - targets.y[:, :steps]) ** 2).mean(dim=2) * valid
        mean: Tensor = (squares.sum(dim=1) / targets.lengths).mean()
        return mean

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.dtype.kind != "f":
            return ("it needs real targets, float [items, outputs] or [items, steps, outputs]; these are labels of "
                    "classes. Use metric 'classification_error', or 'per' for a label per step")
        if y.shape[-1] != outputs:
            if wrong := _floats(y, outputs):
                return wrong
            return f"targets have shape {y.shape} but the network has {outputs} outputs per {_WHAT[y.ndim]}"
        return None


class FrameCrossEntropy(Loss):
    """-ln P(label) of every step of all items together, nat."""

    key, scores, per_step = "per", True, True

    def of(self, outputs: Values, targets: Targets) -> float:
        return decode.frame_cross_entropy(outputs, targets.y)

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        from torch.nn.functional import cross_entropy

        labels = targets.y[:, : outputs.shape[1], 0]
        return cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=-1)

    def amount(self, targets: Targets) -> float:
        return decode.frames(targets.y)

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.ndim != 3 or y.dtype.kind != "i":
            return "it needs a label and a segment number per step, [items, steps, 2]; see bittailor.Data"
        if y[:, :, 0].max() >= outputs:
            return f"labels run 0..{y[:, :, 0].max()} but the network has {outputs} outputs"
        return None


class Ctc(FrameCrossEntropy):
    """-ln of the probability of the transcripts, by phone, label 0 being the blank; nat."""

    key = "per_ctc"

    def of(self, outputs: Values, targets: Targets) -> float:
        return decode.ctc(outputs, targets.y)

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        import torch
        from torch.nn.functional import ctc_loss

        # an item too short for its transcript counts nothing
        texts = decode.transcripts(targets.y.cpu().numpy())
        sizes = torch.tensor([len(text) for text in texts])
        labels = torch.tensor([ord(c) - decode.FIRST for text in texts for c in text], dtype=torch.long)
        total = ctc_loss(outputs.log_softmax(2).transpose(0, 1), labels, targets.lengths, sizes,
                         blank=0, reduction="sum", zero_infinity=True)
        return total / max(1, int(sizes.sum()))

    def amount(self, targets: Targets) -> float:
        return decode.phones(targets.y)


class NegativeSiSdr(SquaredError):
    """The negative of the scale-invariant signal-to-distortion ratio, mean over items, dB (see `metrics.SiSdr`)."""

    key, per_step, least = "si_sdr", True, None

    def of(self, outputs: Values, targets: Targets) -> float:
        return float(self.of_items(outputs, targets).mean())

    def of_items(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
        valid = (np.arange(outputs.shape[1]) < targets.lengths[:, None])[:, :, None]
        guess, wanted = (np.where(valid, v, 0).reshape(len(v), -1).astype(np.float64) for v in (outputs, targets.y))
        part = (guess * wanted).sum(axis=1, keepdims=True) / (wanted**2).sum(axis=1, keepdims=True) * wanted
        signal, noise = ((v**2).sum(axis=1) for v in (part, part - guess))
        floor = FLOOR * (signal + noise + SILENCE)
        return np.asarray(-10 * np.log10((signal + floor) / (noise + floor + SILENCE)))

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        import torch

        steps = outputs.shape[1]
        valid = (torch.arange(steps) < targets.lengths[:, None])[:, :, None]
        guess, wanted = (torch.where(valid, v, 0.0).flatten(1) for v in (outputs, targets.y[:, :steps]))
        part = (guess * wanted).sum(dim=1, keepdim=True) / (wanted**2).sum(dim=1, keepdim=True) * wanted
        signal, noise = ((v**2).sum(dim=1) for v in (part, part - guess))
        floor = FLOOR * (signal + noise + SILENCE)
        return -10 * torch.log10((signal + floor) / (noise + floor + SILENCE)).mean()

    def fits(self, y: Values, outputs: int) -> str | None:
        silent = np.flatnonzero(~y.reshape(len(y), -1).any(axis=1))
        if silent.size:
            return f"the target of item {silent[0]} is silent, all zeros: no ratio to it is defined; leave it out"
        return super().fits(y, outputs)


FLOOR, SILENCE = 1e-10, 1e-20
"""Shares of an output's energy that are added to signal and distortion, so that a ratio stays within ±100 dB; and the
energy below which an output is silence, which is as bad as can be."""

CROSS_ENTROPY, SQUARED_ERROR, NEGATIVE_SI_SDR = CrossEntropy(), SquaredError(), NegativeSiSdr()
FRAME_CROSS_ENTROPY, CTC = FrameCrossEntropy(), Ctc()

_WHAT = {2: "item", 3: "step"}


def _floats(y: Values, outputs: int) -> str | None:
    """What to do about class labels that came as floats; None where these are none."""
    if y.ndim == 2 and y.shape[1] == 1 and outputs > 1 and not (y % 1).any() and (y >= 0).all():
        return "the class labels are floats (0.0, 1.0, …); give whole numbers, one per item: y.astype(int)"
    return None


def loss_for(targets: Targets) -> Loss:
    """The loss of a metric that names none: by what the targets are."""
    if targets.y.dtype.kind == "f":
        return SQUARED_ERROR
    return CROSS_ENTROPY if targets.y.ndim == 1 else FRAME_CROSS_ENTROPY
