"""Data: labelled sequences, and their split into training, validation and test.

Calibration and training see `train`, the search sees `valid`, `test` is used once, for a finished front
(architecture, "two honest rules").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.records import expect, whole
from bittailor.errors import DataError


@dataclass(frozen=True, eq=False)
class Targets:
    """What outputs are measured against: NumPy arrays, or torch tensors while something is trained.

    y        as in `Data.y`
    lengths  int64 [items]: of those steps that have targets
    extras   as in `Data.extras`
    """

    y: Any
    lengths: Any
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def per_step(self) -> bool:
        """Whether they say something of every step, rather than one thing of an item."""
        return bool(self.y.ndim == 3 or (self.y.ndim == 2 and self.y.dtype.kind == "i"))

    def __getitem__(self, items: Any) -> Targets:
        """Those of the items chosen by a slice, an index array or a mask."""
        return Targets(self.y[items], self.lengths[items], {name: v[items] for name, v in self.extras.items()})


@dataclass(frozen=True, eq=False)
class Data:
    """Sequences and what they should give.

    x        float32 [items, steps, features]; steps beyond an item's length are zero
    y        one of
             int64 [items]            class labels
             int64 [items, steps]     class labels of the steps; what is negative or beyond an item's length counts
                                      nothing
             float32 [items, outputs] targets of a regression, or 0 and 1 for every output
             float32 [items, steps, outputs]  the same for each step; those beyond an item's length count nothing
             int64 [items, steps, 2]  a label for each step and the number of the segment (a phone) it belongs to,
                                      from 0 upwards by at most one a step; both -1 beyond an item's length. Label 0
                                      is silence, which no transcript counts. The segments tell equal labels apart
                                      that follow each other
    lengths  int64 [items], 1..steps; all steps where not given
    groups   int64 [items], whose item it is (a speaker's, a writer's): a group is not split between training and
             validation. Empty where there are none; not a part of the fingerprint
    extras   name -> numbers [items, …] that a metric or a loss is given beside `y`, such as the noisy signal that a
             mask is applied to
    late     for a network that gives no output for the first so many steps (`Graph.late`; a convolution without
             padding): targets for each step begin behind those, `steps - late` of them, and items are longer
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    groups: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    late: int = 0

    def __post_init__(self) -> None:
        x = real_numbers(self.x, "x", np.float32)
        if x.ndim != 3:
            raise DataError(f"x has shape {x.shape}; expected [items, steps, features]")
        if 0 in x.shape:
            raise DataError(f"x has shape {x.shape}: the split is empty; give it at least one item and step")
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))[0])
            raise DataError(f"x holds NaN or infinity (first in item {bad}); clean the data first")
        y = np.asarray(self.y)
        steps = x.shape[1] - whole(self.late, "late", 0, x.shape[1] - 1)
        shapes = ((), (steps, 2), (steps,) if x.shape[1] > 1 else None)
        if y.dtype.kind in "iub" and y.ndim and y.shape[1:] in shapes:
            y = y.astype(np.int64)
        else:
            y = real_numbers(y, "y", np.float32)
            y = y[:, None] if y.ndim == 1 else y
            if not np.isfinite(y).all():
                raise DataError("y holds NaN or infinity; clean the data first")
        if len(y) != len(x):
            raise DataError(f"x has {len(x)} items but y has {len(y)}")
        lengths = whole_numbers(self.lengths, "lengths")
        lengths = np.full(len(x), x.shape[1]) if lengths.size == 0 else lengths
        if lengths.shape != (len(x),) or lengths.min() <= self.late or lengths.max() > x.shape[1]:
            raise DataError(f"lengths must be {len(x)} values in {1 + self.late}..{x.shape[1]}; got shape "
                            f"{lengths.shape}, {lengths.min()}..{lengths.max()}")
        lengths = lengths.astype(np.int64)
        beyond = np.arange(x.shape[1])[None, :] >= lengths[:, None]
        if beyond.any() and x[beyond].any():
            x = np.where(beyond[:, :, None], np.float32(0), x)
        beyond = beyond[:, self.late :]
        if y.ndim == 3 and y.dtype == np.int64:
            _check_steps(y, beyond)
        if y.ndim == 2 and y.dtype == np.int64:
            y = np.where(beyond | (y < 0), -1, y)
            if (unlabelled := np.flatnonzero((y < 0).all(axis=1))).size:
                raise DataError(f"no step of item {unlabelled[0]} has a label; leave the item out")
        groups = whole_numbers(self.groups, "groups")
        if groups.size and groups.shape != (len(x),):
            raise DataError(f"groups must be {len(x)} numbers, one an item; got shape {groups.shape}")
        if y.ndim == 3 and y.dtype == np.float32 and y.shape[1] != steps:
            raise DataError(f"x has {x.shape[1]} steps but y has {y.shape[1]}" + (
                f"; with late={self.late} it has {steps}" if self.late else ""))
        extras = {name: np.ascontiguousarray(values) for name, values in self.extras.items()}
        for name, values in extras.items():
            if values.shape[:1] != (len(x),) or values.dtype.kind not in "biufc":
                raise DataError(f"extras: '{name}' must be numbers, one array an item, for {len(x)} items; "
                                f"got {values.dtype} {values.shape}")
        for name, value in (("x", x), ("y", y), ("lengths", lengths), ("groups", groups)):
            object.__setattr__(self, name, np.ascontiguousarray(value))
        object.__setattr__(self, "extras", extras)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        steps = f"{self.lengths.min()}-{self.lengths.max()}" if len(self) and self.lengths.min() < self.lengths.max() \
            else str(self.x.shape[1])
        return (f"Data({len(self):,} items of {steps} steps of {self.x.shape[2]} features; targets {self.y.dtype} "
                f"{self.y.shape[1:] or 'one an item'})")

    def __getitem__(self, items: Any) -> Data:
        """The items chosen by a slice, an index array or a mask."""
        return Data(self.x[items], self.y[items], self.lengths[items],
                    self.groups[items] if self.groups.size else self.groups,
                    {name: values[items] for name, values in self.extras.items()}, self.late)

    @property
    def targets(self) -> Targets:
        """What outputs are measured against."""
        return Targets(self.y, self.lengths - self.late, self.extras)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shapes, types and bytes, shortened to 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, value in (("", self.x), ("", self.y), ("", self.lengths), *sorted(self.extras.items())):
            digest.update(f"{name}{value.dtype.str}{value.shape}".encode())
            digest.update(value.tobytes())
        if self.late:
            digest.update(f"late{self.late}".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; no item stands in two of them.

    train   weights and ranges come from it, and part of it helps to select post-training candidates
    valid   selects and confirms, see docs/search.md
    test    used once, at the end
    Raises  BittailorError where a part is no `Data`.
    """

    train: Data
    valid: Data
    test: Data

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            expect(getattr(self, name), Data, name, "bittailor.Data(x, y)")

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(getattr(self, name)):,}" for name in ("train", "valid", "test"))
        return f"Splits({counts} items of {self.train.x.shape[2]} features)"

    @property
    def fingerprint(self) -> str:
        """One fingerprint for all three."""
        text = "".join(part.fingerprint for part in (self.train, self.valid, self.test))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_steps(y: NDArray[np.int64], beyond: NDArray[np.bool_]) -> None:
    """DataError unless labels per step are as `Data.y` says."""
    if ((y < 0) != beyond[:, :, None]).any() or (y < -1).any():
        raise DataError("labels per step must be 0 or more up to an item's length, and -1 beyond it")
    growth = np.diff(y[:, :, 1], axis=1)[~beyond[:, 1:]]
    if y[:, 0, 1].any() or ((growth != 0) & (growth != 1)).any():
        raise DataError("segment numbers must begin at 0 and grow by 0 or 1 from a step to the next")
    same = (np.diff(y[:, :, 1], axis=1) == 0) & (np.diff(y[:, :, 0], axis=1) != 0) & ~beyond[:, 1:]
    if same.any():
        raise DataError(f"item {np.argwhere(same)[0, 0]} has two labels in one segment")


def real_numbers(value: ArrayLike, name: str, dtype: Any = np.float64) -> NDArray[Any]:
    """An array of real numbers, as they are where `dtype` is None; DataError for complex numbers, texts or anything
    that is no array."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}") from None
    if found.dtype.kind not in "biuf":
        raise DataError(f"{name} cannot be read as numbers: it is of type {found.dtype}")
    return found if dtype is None else found.astype(dtype, copy=False)


def whole_numbers(value: ArrayLike, name: str) -> NDArray[np.int64]:
    """An int64 array of whole numbers; DataError for others, and for NaN."""
    found = real_numbers(value, name, None)
    if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found == np.floor(found)).all()):
        raise DataError(f"{name} must be whole numbers")
    return found.astype(np.int64)
