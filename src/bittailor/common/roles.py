"""Roles of items: who may look at which, so that what is said of a solution holds on new data.

    train    fits the float network's weights and those of retrained ones, and calibrates
    select   what a search looks at
    confirm  bounds what a finished search chose; used once, after it
    test     reported once

No item that confirms or tests has another role. A post-training candidate has learnt nothing but ranges from training
items, so for it they are nearly as honest as validation items, and there are many more: it is judged on both. A
retrained one is judged on `held` alone, validation items that no training saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data, Splits
from bittailor.errors import BittailorError, DataError

LEAST_CONFIRM = 600
"""Confirm items below which none are set aside unless a certificate is asked for: with 600 that all agree with 8 bit,
95 % confidence reaches half a point; fewer are worth more to the search."""


@dataclass(frozen=True)
class RoleSettings:
    """Which items do what.

    select_items  sequences that a post-training candidate is judged on: the validation items that do not confirm, and
                  training items up to this number; 0: no training items
    confirm       share of the validation items that confirm, 0 or more, below 1. Where they would be fewer than 600
                  none are set aside, unless `certify` asks
    seed          decides who is who; a search has the same division whatever its own seed
    """

    select_items: int = 10_000
    confirm: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.select_items < 0:
            raise BittailorError(f"select_items is {self.select_items}; expected 0 or more")
        if not 0 <= self.confirm < 1:
            raise BittailorError(f"confirm is {self.confirm:g}; expected a share, 0 or more and below 1")
        if self.seed < 0:
            raise BittailorError(f"seed is {self.seed}; expected 0 or more")


@dataclass(frozen=True, eq=False)
class Roles:
    """The items of a search by role; `Splits` has those that train and test.

    select   what post-training candidates are judged on, held and training items evenly mixed, so that the first ones
             stand for all
    held     validation items that do not confirm
    confirm  None where there are none
    training those of `select` that are training items; None where there are none
    """

    select: Data
    held: Data
    confirm: Data | None
    training: Data | None

    def counts(self) -> dict[str, int]:
        """Role -> items, as run.json and the report have them."""
        parts = {"select": self.select, "select_from_training": self.training, "held": self.held,
                 "confirm": self.confirm}
        return {name: 0 if part is None else len(part) for name, part in parts.items()}


def divide(data: Splits, settings: RoleSettings, certify: bool = False) -> Roles:
    """Give every validation item, and training items up to the budget, a role.

    certify  whether a certificate is asked for: items are set aside for it, however few there are
    Whole groups go one way where the validation data have groups (speakers, writers).
    """
    wanted = round(settings.confirm * len(data.valid))
    held, confirm = data.valid, None
    if data.valid.groups.size and len(np.unique(data.valid.groups)) < 2:
        wanted = 0
    if wanted >= LEAST_CONFIRM or (certify and 0 < wanted < len(data.valid)):
        rest, aside = holdout(data.valid.y, wanted, settings.seed, data.valid.groups)
        held, confirm = data.valid[np.sort(rest)], data.valid[np.sort(aside)]
    more = min(len(data.train), max(0, settings.select_items - len(held)))
    if more and not _fit_together(held, data.train):
        more = 0
    if not more:
        return Roles(held, held, confirm, None)
    rng = np.random.default_rng([settings.seed, 1])
    some = np.arange(more) if more == len(data.train) else holdout(data.train.y, more, settings.seed)[1]
    parts = [rng.permutation(len(held)), rng.permutation(some)]
    training = data.train[parts[1]]
    return Roles(_mixed([held[parts[0]], training]), held, confirm, training)


def _fit_together(a: Data, b: Data) -> bool:
    """Whether two parts can stand in one array: as many extras of the same kinds, targets of one kind."""
    return (a.x.shape[2] == b.x.shape[2] and a.y.dtype == b.y.dtype and a.y.ndim == b.y.ndim
            and a.extras.keys() == b.extras.keys()
            and all(a.extras[name].shape[1:] == b.extras[name].shape[1:] for name in a.extras))


def _mixed(parts: list[Data]) -> Data:
    """All items of some parts, those of each spread evenly over the whole."""
    steps = max(part.x.shape[1] for part in parts)
    x, y = [_longer(part.x, steps, 0) for part in parts], [part.y for part in parts]
    labels = parts[0].y.dtype.kind == "i"
    if y[0].ndim == 3 or (y[0].ndim == 2 and labels):  # per step
        y = [_longer(part.y, steps - part.late, -1 if labels else 0) for part in parts]
    place = np.concatenate([(np.arange(len(part)) + 0.5) / len(part) for part in parts])
    order = np.argsort(place, kind="stable")
    extras = {name: np.concatenate([part.extras[name] for part in parts])[order] for name in parts[0].extras}
    return Data(np.concatenate(x)[order], np.concatenate(y)[order],
                np.concatenate([part.lengths for part in parts])[order], extras=extras, late=parts[0].late)


def _longer(values: NDArray[np.generic], steps: int, fill: int) -> NDArray[np.generic]:
    """Values [items, steps, …] with as many steps as asked for."""
    missing = steps - values.shape[1]
    wider = [(0, 0), (0, missing), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, wider, constant_values=fill) if missing else values


def holdout(
    y: NDArray[np.generic], size: int, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of (the rest, `size` items), both shuffled by `seed`; stratified where `y` holds class labels.

    y       [items] integer labels, or anything else for a plain random split
    groups  [items], whose items they are; then whole groups are set aside, until they have `size` items or more.
            None or empty: every item for itself
    Each class gets its share of the items to within one (not with groups).
    Raises  DataError if one of the two parts would be empty.

    >>> rest, held = holdout(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0)
    >>> sorted(np.array([0, 0, 0, 0, 1, 1])[held].tolist()), len(rest)
    ([0, 0, 1], 3)
    """
    if not 0 < size < len(y):
        raise DataError(f"cannot set {size} of {len(y)} items aside: both parts need at least one item")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    if groups is not None and groups.size:
        names, counts = np.unique(groups, return_counts=True)
        drawn = rng.permutation(len(names))
        before = np.cumsum(counts[drawn]) - counts[drawn]
        held = np.isin(groups[order], names[drawn[before < size]])
        if held.all():
            raise DataError(f"cannot set {size} of {len(y)} items of {len(names)} groups aside: none would be left")
        return order[~held], order[held]
    # An item's place is its rank inside its class, as a share of the class; so every prefix is stratified.
    place = rng.random(len(y))
    if y.ndim == 1 and y.dtype.kind in "iu":
        for label in np.unique(y):
            members = order[y[order] == label]
            place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    chosen = np.zeros(len(y), bool)
    chosen[order[np.argsort(place[order], kind="stable")[:size]]] = True
    return order[~chosen[order]], order[chosen[order]]
