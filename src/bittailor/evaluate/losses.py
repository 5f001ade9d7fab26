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
    takes    the targets it takes, in a line
    aligned  whether targets must be per step just where outputs are; a loss of one's own may take a signal of any
             length as its target
    """

    key: str
    scores: ClassVar[bool] = False
    per_step: ClassVar[bool | None] = False
    takes: ClassVar[str] = ""
    aligned: ClassVar[bool] = False

    def of(self, outputs: Values, targets: Targets) -> float:
        """The loss of float outputs [items, (steps,) outputs], in NumPy."""
        raise NotImplementedError

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        """The same in torch, a scalar with gradients. Outputs may have fewer steps than the targets, as many as the
        longest of the items."""
        raise NotImplementedError

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64] | None:
        """The loss item by item, float64 [items], whose mean is `of`; None where it has no such parts."""
        return None

    def amount(self, targets: Targets) -> float:
        """What the mean is over."""
        return len(targets)

    def fits(self, y: Values, outputs: int) -> str | None:
        """What is wrong with targets `y` ([items, …], as in `Data.y`) for a network with so many `outputs`, in a
        sentence; None where they fit."""
        return None


class CrossEntropy(Loss):
    """-ln P(label) of a label for each item, nat."""

    key, scores, aligned = "error", True, True
    takes = "a class for each item, int [items]"

    def of(self, outputs: Values, targets: Targets) -> float:
        return float(np.mean(self.per_item(outputs, targets)))

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(shifted)), classes(targets.y)]
        return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - chosen)

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets.y if targets.y.dim() == 1 else targets.y[:, 0].long())

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.ndim != 1 and not _are_classes(y):
            return (f"it needs class labels, one per item; the targets are {y.dtype} of shape {y.shape}. "
                    "For a regression use metric 'mse'")
        labels = classes(y)
        if outputs == 1 and labels.max() <= 1:
            return "the network has one output for two classes; metric 'binary_error' takes that"
        if labels.max() >= outputs or labels.min() < 0:
            return (f"labels run {labels.min()}..{labels.max()} but the network has {outputs} outputs; "
                    "it needs one output per class, the first for label 0")
        return None


class SquaredError(Loss):
    """Squared difference from real targets: the mean over an item's outputs (and its steps), then over items."""

    key, aligned = "mse", True
    takes = "real values, float [items, outputs] or [items, steps, outputs]"
    per_step: ClassVar[bool | None] = None

    def of(self, outputs: Values, targets: Targets) -> float:
        if outputs.ndim == 2:
            return float(np.mean((outputs.astype(np.float64) - targets.y) ** 2))
        return float(self.per_item(outputs, targets).mean())

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
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
                    "classes. Use metric 'classification_error', or 'frame_error' for a label per step")
        if y.shape[-1] != outputs:
            if outputs > 1 and _are_classes(y):
                return "the targets look like class labels (0.0, 1.0, …); metric 'classification_error' takes them"
            return f"targets have shape {y.shape} but the network has {outputs} outputs per {_WHAT[y.ndim]}"
        return None


class FrameCrossEntropy(Loss):
    """-ln P(label) of every step of all items together, nat."""

    key, scores, per_step, aligned = "per", True, True, True
    takes = "a class for each step, int [items, steps]; negative ones do not count"

    def of(self, outputs: Values, targets: Targets) -> float:
        return decode.frame_cross_entropy(outputs, targets.y)

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64] | None:
        sums = decode.frame_cross_entropies(outputs, targets.y)
        return np.asarray(sums * (len(targets) / self.amount(targets)))

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        from torch.nn.functional import cross_entropy

        labels = decode.per_step(targets.y)[:, : outputs.shape[1]]
        return cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=-1)

    def amount(self, targets: Targets) -> float:
        return decode.frames(targets.y)

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.ndim < 2 or y.dtype.kind != "i":
            return "it needs an integer label per step, [items, steps] or [items, steps, 2]; see bittailor.Data"
        if (most := decode.per_step(y).max()) >= outputs:
            return f"labels run 0..{most} but the network has {outputs} outputs"
        return None


class PhoneCrossEntropy(FrameCrossEntropy):
    """The same for transcripts, which the segments among the targets tell."""

    takes = "a phone and the number of its segment for each step, int [items, steps, 2]"

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.ndim != 3 or y.dtype.kind != "i":
            return "it needs a label and a segment number per step, [items, steps, 2]; see bittailor.Data"
        return super().fits(y, outputs)


class BinaryCrossEntropy(Loss):
    """-ln of the probability of 0 or 1 that an output in 0 .. 1 gives, nat: the mean over an item's outputs and
    steps, then over items. `LEAST_PROBABILITY` is added to either probability, so that a loss is finite."""

    key, aligned = "binary", True
    takes = "0 or 1 for every output: int [items] or [items, steps] for one output, float [items, (steps,) outputs]"
    per_step: ClassVar[bool | None] = None

    def of(self, outputs: Values, targets: Targets) -> float:
        return float(self.per_item(outputs, targets).mean())

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
        """The mean of each item, float64 [items]."""
        wanted, counted = truths(targets.y, outputs), counting(targets, outputs)
        chosen = np.where(wanted > 0, outputs, 1 - outputs.astype(np.float64))
        found = -np.log((chosen + LEAST_PROBABILITY) / (1 + 2 * LEAST_PROBABILITY)) * counted
        rows = len(outputs)
        return np.asarray(found.reshape(rows, -1).sum(axis=1) / counted.reshape(rows, -1).sum(axis=1))

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        import torch

        if outputs.dim() == 3:
            targets = Targets(targets.y[:, : outputs.shape[1]], targets.lengths)
        wanted, counted = truths(targets.y, outputs), torch.as_tensor(counting(targets, outputs))
        chosen = torch.where(wanted > 0, outputs, 1 - outputs)
        found = -torch.log((chosen + LEAST_PROBABILITY) / (1 + 2 * LEAST_PROBABILITY)) * counted
        mean: Tensor = (found.flatten(1).sum(dim=1) / counted.flatten(1).sum(dim=1)).mean()
        return mean

    def fits(self, y: Values, outputs: int) -> str | None:
        wide = y.shape[-1] if y.dtype.kind == "f" else 1
        whole = y.dtype.kind == "i" and y.ndim < 3
        if y.max() > 1 or not (whole or (y.dtype.kind == "f" and np.isin(y, (0, 1)).all())):
            return "it needs targets of 0 and 1, one for each output; for more classes use 'classification_error'"
        if wide != outputs:
            return f"targets have shape {y.shape} but the network has {outputs} outputs"
        return None


class Ctc(PhoneCrossEntropy):
    """-ln of the probability of the transcripts, by phone, label 0 being the blank; nat."""

    key = "per_ctc"

    def of(self, outputs: Values, targets: Targets) -> float:
        return decode.ctc(outputs, targets.y)

    def per_item(self, outputs: Values, targets: Targets) -> None:
        return None

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

    key, per_step = "si_sdr", True
    takes = "signals, float [items, steps, outputs]"

    def of(self, outputs: Values, targets: Targets) -> float:
        return float(self.per_item(outputs, targets).mean())

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
        valid = (np.arange(outputs.shape[1]) < targets.lengths[:, None])[:, :, None]
        guess, wanted = (np.where(valid, v, 0).reshape(len(v), -1).astype(np.float64) for v in (outputs, targets.y))
        return -np.asarray(decibels(guess, wanted, np))

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        import torch

        steps = outputs.shape[1]
        valid = (torch.arange(steps) < targets.lengths[:, None])[:, :, None]
        guess, wanted = (torch.where(valid, v, 0.0).flatten(1) for v in (outputs, targets.y[:, :steps]))
        ratio: Tensor = decibels(guess, wanted, torch)
        return -ratio.mean()

    def fits(self, y: Values, outputs: int) -> str | None:
        silent = np.flatnonzero(~y.reshape(len(y), -1).any(axis=1))
        if silent.size:
            return f"the target of item {silent[0]} is silent, all zeros: no ratio to it is defined; leave it out"
        return super().fits(y, outputs)


FLOOR, SILENCE = 1e-10, 1e-20
"""Shares of an output's energy that are added to signal and distortion, so that a ratio stays within ±100 dB; and the
energy below which an output is silence, which is as bad as can be."""

LEAST_PROBABILITY = 2.0**-9
"""Half a step of a sigmoid of 8 bits, which can say 0."""

CROSS_ENTROPY, BINARY_CROSS_ENTROPY = CrossEntropy(), BinaryCrossEntropy()
SQUARED_ERROR, NEGATIVE_SI_SDR = SquaredError(), NegativeSiSdr()
FRAME_CROSS_ENTROPY, PHONE_CROSS_ENTROPY, CTC = FrameCrossEntropy(), PhoneCrossEntropy(), Ctc()

_WHAT = {2: "item", 3: "step"}


def decibels(guess: Any, wanted: Any, library: Any) -> Any:
    """The scale-invariant signal-to-distortion ratio of signals [items, samples], dB [items]; of NumPy or torch."""
    part = (guess * wanted).sum(axis=1, keepdims=True) / (wanted**2).sum(axis=1, keepdims=True) * wanted
    signal, noise = ((v**2).sum(axis=1) for v in (part, part - guess))
    floor = FLOOR * (signal + noise + SILENCE)
    return 10 * library.log10((signal + floor) / (noise + floor + SILENCE))


def classes(y: Values) -> NDArray[np.int64]:
    """Class labels int64 [items], which may have come as whole floats [items, 1]."""
    return np.asarray(y if y.ndim == 1 else y[:, 0], np.int64)


def _are_classes(y: Values) -> bool:
    """Whether floats may be class labels."""
    return bool(y.dtype.kind == "f" and y.ndim == 2 and y.shape[1] == 1 and not (y % 1).any() and (y >= 0).all())


def truths(y: Any, outputs: Any) -> Any:
    """Targets of 0 and 1 in the shape of the outputs [items, (steps,) outputs]; NumPy or torch."""
    return y if y.ndim == outputs.ndim else y[..., None]


def counting(targets: Targets, outputs: Any) -> NDArray[np.bool_]:
    """Which outputs [items, (steps,) outputs] count: not those beyond an item's length, nor of negative targets."""
    counted = np.asarray(truths(targets.y, outputs)) >= 0
    if outputs.ndim == 3:
        counted = counted & (np.arange(outputs.shape[1]) < np.asarray(targets.lengths)[:, None])[:, :, None]
    return counted


def loss_for(targets: Targets) -> Loss:
    """The loss of a metric that names none: by what the targets are."""
    if targets.y.dtype.kind == "f":
        return SQUARED_ERROR
    return CROSS_ENTROPY if targets.y.ndim == 1 else FRAME_CROSS_ENTROPY
