"""Metrics: how well outputs answer the targets, and the losses that guide a search and train for them.

A metric knows its name, title, unit and direction. Values stand everywhere as its users know them (an accuracy of 97 %
is 97.0 in the store, in result.json and on every page): where something is minimised, `Metric.cost` turns the sign.
Outputs are float [items, outputs], or [items, steps, outputs] where the network has one per step.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Targets
from bittailor.common.own_files import LOADED, load_file
from bittailor.common.records import make, shown
from bittailor.common.registry import Table
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate import decode, losses, masks
from bittailor.evaluate.losses import Loss

Values = NDArray[Any]
ItemValues = NDArray[np.float64]
Measure: TypeAlias = Callable[[Any, Any], float]
"""(an item's output [outputs] or [steps, outputs], its target) -> its value."""


class Metric:
    """A measure of outputs against targets. Subclass it for one of your own: a name, and `per_item` or `value`.

    name      as written on the command line
    title     as printed above a column or beside an axis
    unit      as printed behind a value
    maximise  whether more is better
    loss      what guides the search and trains; None takes one by the targets (`losses.loss_for`)
    binary    whether an item is right or wrong, so that a value in % counts items
    learns    whether `fitted` has something to learn
    """

    name: str
    title: str = ""
    unit: str = ""
    maximise: bool = False
    loss: Loss | None = None
    binary: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def value(self, outputs: Values, targets: Targets) -> float:
        """The metric of all items, of outputs [items, (steps,) outputs]; the mean of `per_item` unless a subclass says
        otherwise."""
        found = self.per_item(outputs, targets)
        if found is None:
            raise BittailorError(f"the metric '{self.name}' has neither `value` nor `per_item`; write one of them")
        return float(np.mean(found))

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues | None:
        """The metric item by item, float64 [items], whose mean is `value`; None where it has no such parts."""
        return None

    def with_loss(self, outputs: Values, targets: Targets) -> tuple[float, float]:
        """`value` and the loss of outputs [items, outputs] or [items, steps, outputs]; a subclass may compute at once
        what both need."""
        return self.value(outputs, targets), self.loss_for(targets).of(outputs, targets)

    def amount(self, targets: Targets) -> float:
        """What `value` is a mean over: items, or phones that were said."""
        return len(targets)

    def references(self, targets: Targets) -> Mapping[str, Values]:
        """What `heard` may be compared with by ear: name -> signals [items, samples]. Empty where outputs make no
        signals."""
        return {}

    def heard(self, outputs: Values, targets: Targets) -> Values:
        """The signals that outputs make, [items, samples]; asked for where there are `references`."""
        raise BittailorError(f"the metric '{self.name}' has `references` to listen to, but no `heard`; write it")

    def of_sum(self, total: float, amount: float) -> float:
        """`value`, from what all items add up to and their `amount`."""
        return total / amount

    def loss_for(self, targets: Targets) -> Loss:
        """`loss`, or the usual one for such targets."""
        return self.loss or losses.loss_for(targets)

    def fitted(self, train: Targets, outputs: Callable[[], Values], valid: Targets) -> Metric:
        """This metric, having learnt what it needs; itself where it needs nothing.

        train    training targets
        outputs  gives the float network's outputs on validation data, [items, (steps,) outputs]
        valid    validation targets
        """
        return self

    @property
    def key(self) -> str:
        """What digests of trainings and stores say for it."""
        return self.name

    @property
    def noun(self) -> str:
        """What prose calls it: an error, or its title where more is better."""
        return self.title if self.maximise else "error"

    @property
    def label(self) -> str:
        """Title, unit and direction, as above a column."""
        text = f"{self.title} [{self.unit}]" if self.unit else self.title
        return f"{text}, more is better" if self.maximise else text

    def cost(self, value: float) -> float:
        """A value as something to minimise."""
        return -value if self.maximise else value

    def as_good(self, base: float) -> float:
        """The worst value that counts as no worse than `base`, on data that the solution was not chosen by: 0.1 points
        of a metric in % or dB, a tenth of others."""
        if self.unit in ("%", "dB"):
            return base - 0.1 if self.maximise else base + 0.1
        return 1.1 * base if (base >= 0) != self.maximise else base / 1.1

    def no_worse(self, values: Mapping[str, float], base: Mapping[str, float]) -> bool:
        """Whether a solution is at least as good as another in this metric (`error`) and in loss."""
        return self.cost(values["error"]) <= self.cost(base["error"]) and values["loss"] <= base["loss"]

    def stands(self, values: Mapping[str, float], base: Mapping[str, float]) -> bool:
        """Whether a solution that was not chosen by these items is as good as another: in this metric (`as_good`), and
        in loss. Where the loss is the metric itself (an SI-SDR, a squared error) it has the same to spare: two
        solutions are never equal in a continuous measure."""
        same = all(v["loss"] == self.cost(v["error"]) for v in (values, base))
        worst = self.cost(self.as_good(base["error"]))
        return self.cost(values["error"]) <= worst and values["loss"] <= (worst if same else base["loss"])

    def check(self, targets: Targets, outputs: int, sequence: bool) -> None:
        """DataError unless a network with `outputs` outputs, one per step where `sequence`, can be measured."""
        loss = self.loss_for(targets)
        if sequence and loss.per_step is False:
            if self.name in ("classification_error", "accuracy") and targets.per_step:
                raise DataError(f"the metric '{self.name}' needs one label per item; for a label per step there is "
                                "'frame_error'")
            raise DataError(f"the network gives one output per step; the metric '{self.name}' needs one per item: "
                            "end the network with the last step or the mean")
        if not sequence and loss.per_step:
            raise DataError(f"the network gives one output per item; the metric '{self.name}' needs one per step: "
                            "leave out the last step or the mean")
        if loss.aligned and sequence != targets.per_step:
            given, wanted, do = ("step", "item", "end the network with") if sequence else ("item", "step", "leave out")
            raise DataError(f"the network gives one output per {given}, but the targets of shape {targets.y.shape} are "
                            f"one per {wanted}: {do} the last step or the mean")
        if wrong := loss.fits(targets.y, outputs):
            raise DataError(f"metric '{self.name}': {wrong}")
        if self.name not in METRICS:
            self._try(targets[:2], (targets.y.shape[1], outputs) if sequence else (outputs,))

    def _try(self, targets: Targets, shape: tuple[int, ...]) -> None:
        """Measure random outputs once, before anything long begins: what a user wrote may fail."""
        outputs = np.random.default_rng(0).normal(size=(len(targets), *shape))
        try:
            parts = self.per_item(outputs, targets)
            float(self.value(outputs, targets)), float(self.loss_for(targets).of(outputs, targets))
            if self.references(targets):
                self.heard(outputs, targets)
        except BittailorError:
            raise
        except Exception as error:
            raise BittailorError(f"the metric '{self.name}' failed on outputs {outputs.shape} and targets "
                                 f"{targets.y.shape}: {type(error).__name__}: {error}") from error
        if parts is not None and np.shape(parts) != (len(targets),):
            raise BittailorError(f"the metric '{self.name}' gives values of shape {np.shape(parts)} for "
                                 f"{len(targets)} items; expected one an item")

    def to_json(self) -> str | dict[str, Any]:
        """What run.json keeps of it: the name of one of the package; of another, all that it takes to show values."""
        if self.name in METRICS:
            return self.name
        return {"name": self.name, "title": self.title, "unit": self.unit, "maximise": self.maximise}

    def __repr__(self) -> str:
        return f"<metric {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """With the path of the user's file that it is from, so that a worker process finds it."""
        try:
            blob = pickle.dumps((type(self), self.__dict__))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise BittailorError(f"the metric '{self.name}' cannot be sent to a worker process ({error}); define it at "
                                 "the top of a file, not as a lambda, or use one worker") from None
        return _restored, ([file for name, file in LOADED.items() if name.encode() in blob], blob)


def _restored(files: Sequence[str], blob: bytes) -> Metric:
    for file in files:
        load_file(file)
    kind, state = pickle.loads(blob)
    made: Metric = kind.__new__(kind)
    made.__dict__.update(state)
    return made


class ItemMetric(Metric):
    """A function of one item, see `metric`."""

    def __init__(self, function: Measure, name: str, title: str, unit: str, maximise: bool, loss: Loss | None) -> None:
        self.function, self.name, self.title, self.unit = function, name, title, unit
        self.maximise, self.loss = maximise, loss

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        found = np.empty(len(targets))
        for i, (output, target, length) in enumerate(zip(outputs, targets.y, targets.lengths, strict=True)):
            if output.ndim == 2:
                output, target = output[:length], target[:length]
            try:
                found[i] = self.function(output, target)
            except Exception as error:
                raise BittailorError(f"the metric '{self.name}' failed on an output {np.shape(output)} and a target "
                                     f"{np.shape(target)}: {type(error).__name__}: {error}") from error
        return found


def metric(
    function: Measure, *, name: str = "", title: str = "", unit: str = "", maximise: bool = False,
    loss: Loss | None = None,
) -> Metric:
    """A metric of one's own: the mean over items of a function of an item's output and target.

    function  of (output float [outputs], target: a label, or float [outputs]); where the network has an output per
              step, of (output [steps, outputs], target [steps, …]) with as many steps as the item has
    name      the function's if not given: letters, digits and _
    title     as printed above a column; the name if not given
    unit      as printed behind a value, such as "%"
    maximise  whether more is better
    loss      what trains and guides the search: cross-entropy for class labels, squared error for real targets if not
              given
    Raises    BittailorError for a name that is no name, or that a metric of the package has.
    """
    name = name or getattr(function, "__name__", "")
    return metric_of(ItemMetric(function, name, title, unit, maximise, loss))


@dataclass(eq=False, repr=False)
class ForeignMetric(Metric):
    """What a run knows of a metric that is not the package's: enough to show its values."""

    name: str
    title: str
    unit: str
    maximise: bool

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise BittailorError(f"name is {shown(self.name)}; expected letters, digits and _")

    def value(self, outputs: Values, targets: Targets) -> float:
        raise BittailorError(f"the metric '{self.name}' is not one of bittailor's; give it as it was given to the "
                             "search: metric=…")


def metric_of(what: str | Mapping[str, Any] | Metric | type[Metric] | Measure) -> Metric:
    """A metric, from its name, from what `Metric.to_json` gave, or from one of a user's own: an object, a subclass, or
    a function of one item (`metric`)."""
    if isinstance(what, str):
        return METRICS[FORMER.get(what, what)]
    if isinstance(what, Mapping):
        return make(ForeignMetric, what, "metric")
    made = what() if isinstance(what, type) and issubclass(what, Metric) else what
    if not isinstance(made, Metric):
        if isinstance(made, type) or not callable(made):
            raise BittailorError(f"a metric is a name, a bittailor.Metric or a function of an item's output and "
                                 f"target; got {made!r}")
        return metric(made)
    name = getattr(made, "name", "")
    if not (isinstance(name, str) and name.isidentifier()):
        raise BittailorError(f"a metric needs a name of letters, digits and _, such as top3_accuracy; got {name!r}")
    if type(made) is not type(METRICS.get(name, made)):
        raise BittailorError(f"there is a metric called '{name}' already; give yours another name")
    made.title = made.title or name.replace("_", " ")
    return made


class ClassificationError(Metric):
    """The share of items whose largest output is not their label, in %."""

    name, title, unit, loss = "classification_error", "classification error", "%", losses.CROSS_ENTROPY
    binary = True

    @property
    def key(self) -> str:
        return "error"  # what it was called when the first networks were trained for it

    def value(self, outputs: Values, targets: Targets) -> float:
        # argmax takes the first of equal outputs, in every engine alike
        return float(100.0 * np.mean(outputs.argmax(axis=-1) != losses.classes(targets.y)))

    def of_sum(self, total: float, amount: float) -> float:
        return 100.0 * (total / 100.0 / amount)  # to the last bit as `value`

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        return np.asarray(100.0 * (outputs.argmax(axis=-1) != losses.classes(targets.y)))


class Accuracy(Metric):
    """The share of items whose largest output is their label, in %."""

    name, title, unit, maximise, loss = "accuracy", "accuracy", "%", True, losses.CROSS_ENTROPY
    binary = True

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        return np.asarray(100.0 * (outputs.argmax(axis=-1) == losses.classes(targets.y)))


class BinaryError(Metric):
    """The share of outputs that are on the wrong side of 1/2, for targets of 0 and 1, in %: the mean over an item's
    outputs and steps, then over items. Outputs are probabilities, of a network that ends in a sigmoid."""

    name, title, unit, loss = "binary_error", "binary classification error", "%", losses.BINARY_CROSS_ENTROPY

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        if outputs.min() < 0 or outputs.max() > 1:
            raise DataError(f"the outputs run {outputs.min():.3g}..{outputs.max():.3g}; the metric '{self.name}' needs "
                            "probabilities: end the network with a sigmoid")
        counted = losses.counting(targets, outputs)
        wrong = ((outputs > 0.5) != (losses.truths(targets.y, outputs) > 0)) & counted
        rows = len(outputs)
        return np.asarray(100.0 * wrong.reshape(rows, -1).sum(axis=1) / counted.reshape(rows, -1).sum(axis=1))


class FrameError(Metric):
    """The share of steps whose largest output is not their label, of all items together, in %.

    An item's value is its wrong steps as a share of the mean item's, so that the mean of all is the share.
    """

    name, title, unit = "frame_error", "frame classification error", "%"
    loss = losses.FRAME_CROSS_ENTROPY

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        # beyond the labels a path is -1, as the labels are
        wrong = decode.greedy(outputs, targets.y) != np.maximum(decode.per_step(targets.y), -1)
        return np.asarray(100.0 * wrong.sum(axis=1) * len(targets) / decode.frames(targets.y))

    def amount(self, targets: Targets) -> float:
        return decode.frames(targets.y)


class MeanSquaredError(Metric):
    """Squared difference from real targets, mean over outputs, over an item's steps, over items."""

    name, title, loss = "mse", "mean squared error", losses.SQUARED_ERROR

    def value(self, outputs: Values, targets: Targets) -> float:
        return losses.SQUARED_ERROR.of(outputs, targets)

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        return losses.SQUARED_ERROR.per_item(outputs, targets)


class _OfLoss(Metric):
    """The negative of its loss, item by item."""

    loss: Loss
    maximise = True

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        found = self.loss.per_item(outputs, targets)
        assert found is not None
        return -found

    def with_loss(self, outputs: Values, targets: Targets) -> tuple[float, float]:
        loss = self.loss.of(outputs, targets)
        return -loss, loss


class SiSdr(_OfLoss):
    """Scale-invariant signal-to-distortion ratio, mean over items, in dB; within ±100.

    Of an item's output e and target s, its steps and their features in one row: 10 log10(|as|² / |as - e|²) with
    a = <e, s> / |s|². Signals are taken as they are; take a mean out of them before, if they have one.
    Source  Le Roux, Wisdom, Erdogan, Hershey: SDR - half-baked or well done? (ICASSP 2019, arXiv 1811.02508).
    """

    name, title, unit = "si_sdr", "SI-SDR", "dB"
    loss = losses.NEGATIVE_SI_SDR


class MaskedSiSdr(_OfLoss):
    """The scale-invariant signal-to-distortion ratio of the signal that a mask makes of a noisy one, mean over items,
    in dB: see `masks.MaskedSiSdr`."""

    name, title, unit = "masked_si_sdr", "SI-SDR of the masked signal", "dB"
    loss = masks.MASKED_SI_SDR

    def references(self, targets: Targets) -> Mapping[str, Values]:
        noisy = masks.signals(targets.extras[masks.NOISY])
        half = targets.extras[masks.NOISY].shape[2] - 1
        return {"noisy": noisy, "clean": targets.y[:, half : half + noisy.shape[1]]}

    def heard(self, outputs: Values, targets: Targets) -> Values:
        return masks.signals(outputs * targets.extras[masks.NOISY])

    def check(self, targets: Targets, outputs: int, sequence: bool) -> None:
        super().check(targets, outputs, sequence)
        noisy = targets.extras.get(masks.NOISY)
        if noisy is None or noisy.dtype.kind != "c" or noisy.ndim != 3 or noisy.shape[2] != outputs:
            got = "none" if noisy is None else f"{noisy.dtype} {noisy.shape}"
            raise DataError(f"metric '{self.name}': it needs the noisy spectra that the mask is applied to, complex "
                            f"[items, steps, {outputs}], as extras['{masks.NOISY}'] of the data; got {got}")


class PhoneErrorRate(Metric):
    """Edit distances over phones that were said, all items together, in %: of the largest output at each step; what
    lasts a single step is no phone.

    An item's value is its distance as a share of the mean transcript, so that the mean of all is the rate.
    """

    name, title, unit, loss = "per", "phone error rate", "%", losses.PHONE_CROSS_ENTROPY

    def path(self, outputs: Values, targets: Targets) -> NDArray[np.int64]:
        """A label for each step [items, steps], -1 beyond the end."""
        return decode.steady(decode.greedy(outputs, targets.y))

    def value(self, outputs: Values, targets: Targets) -> float:
        return decode.error_rate(self.path(outputs, targets), targets.y)

    def per_item(self, outputs: Values, targets: Targets) -> ItemValues:
        said = decode.collapsed(self.path(outputs, targets))
        found = decode.distances(said, decode.transcripts(targets.y))
        return 100.0 * found * len(targets) / max(1, decode.phones(targets.y))

    def amount(self, targets: Targets) -> float:
        return decode.phones(targets.y)


class CtcPhoneErrorRate(PhoneErrorRate):
    """The same where phones are peaks between blanks, trained for by CTC."""

    name, loss = "per_ctc", losses.CTC

    def path(self, outputs: Values, targets: Targets) -> NDArray[np.int64]:
        return decode.greedy(outputs, targets.y)


class BeamPhoneErrorRate(PhoneErrorRate):
    """The same of the best path under the outputs and a phone bigram, which it learns first."""

    name, title, learns = "per_beam", "phone error rate by beam search with a bigram", True

    def __init__(self, decoder: decode.Decoder | None = None) -> None:
        self.decoder = decoder

    def fitted(self, train: Targets, outputs: Callable[[], Values], valid: Targets) -> Metric:
        return BeamPhoneErrorRate(decode.fit_decoder(train.y, outputs(), valid.y)) if self.decoder is None else self

    def path(self, outputs: Values, targets: Targets) -> NDArray[np.int64]:
        if self.decoder is None:
            raise BittailorError("the metric 'per_beam' learns a bigram and three weights first: "
                                 "METRICS['per_beam'].fitted(…)")
        return self.decoder.path(outputs, targets.lengths)


METRICS: Table[Metric] = Table("metric", {m.name: m for m in (
    ClassificationError(), Accuracy(), BinaryError(), FrameError(), MeanSquaredError(), SiSdr(), MaskedSiSdr(),
    PhoneErrorRate(), CtcPhoneErrorRate(), BeamPhoneErrorRate(),
)})

FORMER = {"error": "classification_error"}
"""What a metric was called in earlier runs -> its name."""
