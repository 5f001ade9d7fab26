"""Metrics: how well outputs answer the labels. All are minimised; each says its unit and what it takes.

A metric is of one value per item (outputs [items, outputs]) or of one per step ([items, steps, outputs], labels as in
`Data.y`, decoded in `decode.py`). The losses of float training stand beside, in `train/floats.py`, by the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.registry import Table
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate import decode

Values = NDArray[Any]
Measure = Callable[[Values, Values], float]


@dataclass(frozen=True)
class Metric:
    """A measure of error.

    name        as written on the command line
    unit        as printed behind a value
    title       as printed above a column or beside an axis
    of          (outputs float, labels) -> float; the sum of terms of items, never negative, over `amount`
    as_good     a baseline's value -> the highest value that counts as no worse on data the solution was not chosen by
    loss        likewise, over `loss_amount`; smooth in the outputs: what guides a search
    fits        (labels, outputs of the network) -> what does not fit in a sentence, or None
    per_step    whether outputs are [items, steps, outputs]
    amount      labels -> what `of` is divided by: items, or phones that were said
    loss_amount likewise for `loss`
    fit         (labels of training data, outputs and labels of validation data) -> `of`, for metrics that learn first;
                None for the others
    """

    name: str
    unit: str
    title: str
    of: Measure
    as_good: Callable[[float], float]
    loss: Measure
    fits: Callable[[Values, int], str | None]
    per_step: bool = False
    amount: Callable[[Values], float] = len
    loss_amount: Callable[[Values], float] = len
    fit: Callable[[Values, Values, Values], Measure] | None = None

    def fitted(self, train: Values, outputs: Callable[[], Values], labels: Values) -> Metric:
        """This metric, having learnt what it needs; itself where it needs nothing.

        train    labels of the training data
        outputs  gives the float network's outputs on validation data, where they are needed
        labels   of the validation data
        """
        return self if self.fit is None else replace(self, of=self.fit(train, outputs(), labels), fit=None)

    def check(self, labels: Values, outputs: int, sequence: bool) -> None:
        """DataError unless a network with `outputs` outputs, one per step where `sequence`, can be measured."""
        if sequence and not self.per_step:
            raise DataError("the network gives one output per step; this metric needs one per item: "
                            "end it with the last step or the mean")
        if self.per_step and not sequence:
            raise DataError(f"the network gives one output per item; the metric '{self.name}' needs one per step: "
                            "leave out the last step or the mean")
        if wrong := self.fits(labels, outputs):
            raise DataError(wrong)


# functions by name, so that a metric can be sent to another process
def _a_tenth_more(base: float) -> float:
    return base + 0.1


def _ten_percent_more(base: float) -> float:
    return 1.1 * base


def _error(outputs: Values, labels: Values) -> float:
    # argmax takes the first of equal outputs, in every engine alike
    return float(100.0 * np.mean(outputs.argmax(axis=-1) != labels))


def _cross_entropy(outputs: Values, labels: Values) -> float:
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(shifted)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def _classes(labels: Values, outputs: int) -> str | None:
    if labels.ndim != 1:
        return "the metric 'error' needs integer class labels, one per item; use metric 'mse'"
    if labels.max() >= outputs or labels.min() < 0:
        return f"labels run {labels.min()}..{labels.max()} but the network has {outputs} outputs"
    return None


def _mse(outputs: Values, labels: Values) -> float:
    return float(np.mean((outputs.astype(np.float64) - labels) ** 2))


def _targets(labels: Values, outputs: int) -> str | None:
    if labels.ndim != 2 or labels.shape[1] != outputs:
        return f"targets have shape {labels.shape} but the network has {outputs} outputs per item"
    return None


def _phones(labels: Values, outputs: int) -> str | None:
    if labels.ndim != 3 or labels.dtype.kind != "i":
        return "a phone error rate needs a label and a segment number per step, [items, steps, 2]; see bittailor.Data"
    if labels[:, :, 0].max() >= outputs:
        return f"labels run 0..{labels[:, :, 0].max()} but the network has {outputs} outputs"
    return None


def _not_fitted(outputs: Values, labels: Values) -> float:
    raise BittailorError("the metric 'per_beam' learns a bigram and three weights first: METRICS['per_beam'].fitted(…)")


PER = Metric("per", "%", "phone error rate", decode.greedy_error_rate, _a_tenth_more,
             decode.frame_cross_entropy, _phones, True, decode.phones, decode.frames)

METRICS: Table[Metric] = Table("metric", {m.name: m for m in (
    Metric("error", "%", "classification error", _error, _a_tenth_more, _cross_entropy, _classes),
    Metric("mse", "", "mean squared error", _mse, _ten_percent_more, _mse, _targets),
    PER,
    replace(PER, name="per_ctc", of=decode.ctc_error_rate, loss=decode.ctc, loss_amount=decode.phones),
    replace(PER, name="per_beam", title="phone error rate by beam search with a bigram", of=_not_fitted,
            fit=decode.fit_decoder),
)})
