"""How networks are retrained: numbers only, so that they can be checked where PyTorch is not installed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from bittailor.common.records import check
from bittailor.errors import BittailorError

RANGES = ("frozen", "learned", "recalibrated")
LEAST_EPOCHS, MOST_EPOCHS = 16, 500
RATE = 1e-2
"""The highest learning rate where none is given, of networks that such steps do not throw off (`usual_rate`)."""
REACH = 32.0
"""How many times its own size an element of a product may move, at most, when all weights of its row move by 1. Of the
networks of digits, mnist, mnist1d, spoken-digits, pendigits and adding, all trained well at RATE, the largest has 18;
that of enhance has 37, one with two layers of 400 hundreds."""


@dataclass(frozen=True)
class Retraining:
    """How a network is retrained. The defaults are meant for every task.

    epochs        passes over the training items, exactly so many; 0: as many as `updates` takes, 16 or more
    updates       steps of the optimiser, at least, where `epochs` is 0; but no more than 500 epochs
    batch         items per step
    rate          highest learning rate of weights and biases (Adam; a cosine down to zero, `floats.one_cycle`);
                  0: `usual_rate` of the network
    scale_rate    the same for the logarithms of scales; 0 keeps them
    ranges        of activations: "learned" with the weights, "recalibrated" from the network every epoch, or "frozen"
    distil        weight of the float network's outputs in the loss, 0 .. 1
    temperature   at which the outputs of a classifier are compared
    hidden_match  weight of the squared difference of the last recurrent layer's outputs from the float network's
    clip          largest norm of the gradient
    noise         standard deviation of Gaussian noise on the input, as a share of the input's own
    mask          share of an item's steps, at most, that are masked in one stretch each time it is met, 0 .. 1
    shift         steps, at most, that an item is moved in time each time it is met; not with targets per step
    weight_decay  decoupled decay of the master weights
    scale_every   the scales of activations move in every n-th step
    memory        GiB that a batch may take, the teacher a quarter of it beside; what needs more is computed in parts
    """

    epochs: int = 0
    updates: int = 2500
    batch: int = 64
    rate: float = 0.0
    scale_rate: float = 3e-4
    ranges: str = "learned"
    distil: float = 0.7
    temperature: float = 1.0
    hidden_match: float = 0.0
    clip: float = 1.0
    noise: float = 0.1
    mask: float = 0.0
    shift: int = 0
    weight_decay: float = 0.0
    scale_every: int = 2
    memory: float = 2.0

    def __post_init__(self) -> None:
        check(self, epochs=0, batch=1, updates=0, scale_every=1, shift=0)
        if self.ranges not in RANGES:
            raise BittailorError(f"ranges '{self.ranges}' are unknown; choose one of {', '.join(RANGES)}")
        for name in ("clip", "temperature", "memory"):
            if not 0 < getattr(self, name) < math.inf:
                raise BittailorError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in ("rate", "scale_rate", "hidden_match", "noise", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BittailorError(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name, what in (("distil", "weight"), ("mask", "share")):
            if not 0 <= getattr(self, name) <= 1:
                raise BittailorError(f"{name} is {getattr(self, name)}; expected a {what} of 0..1")

    def epochs_for(self, items: int) -> int:
        """How many epochs a training set of this size gets."""
        wanted = math.ceil(self.updates / math.ceil(items / self.batch))
        return self.epochs or min(max(LEAST_EPOCHS, wanted), MOST_EPOCHS)

    def shorter(self, share: float, items: int) -> Retraining:
        """The same recipe with this share of its epochs, 2 or more, on a training set of so many items."""
        return replace(self, epochs=max(2, math.ceil(share * self.epochs_for(items))))

    def identity(self) -> dict[str, Any]:
        """What a training depends on; names of beacons are made from it."""
        values = {**asdict(self), "epochs": self.epochs or LEAST_EPOCHS, "updates": 0 if self.epochs else self.updates,
                  "rate": self.rate or RATE}
        for name in ("memory", "mask", "shift"):  # younger than the first beacons' names
            if values[name] == getattr(Retraining, name):
                del values[name]
        return values
