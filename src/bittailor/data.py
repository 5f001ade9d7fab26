"""Data: labelled sequences, and their split into training, validation and test.

Calibration and training see `train`, the search sees `valid`, `test` is used once, for a finished front
(architecture, "two honest rules").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.errors import DataError


@dataclass(frozen=True, eq=False)
class Data:
    """Sequences and what they should give.

    x        float32 [items, steps, features]; steps beyond an item's length are zero
    y        int64 [items] class labels, or float32 [items, outputs] for regression
    lengths  int64 [items], 1..steps; all steps where not given
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        x = _array(self.x, "x", np.float32)
        if x.ndim != 3:
            raise DataError(f"x has shape {x.shape}; expected [items, steps, features]")
        if 0 in x.shape:
            raise DataError(f"x has shape {x.shape}: the split is empty; give it at least one item and step")
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))[0])
            raise DataError(f"x holds NaN or infinity (first in item {bad}); clean the data first")
        y = np.asarray(self.y)
        if y.dtype.kind in "iub" and y.ndim == 1:
            y = y.astype(np.int64)
        else:
            y = _array(y, "y", np.float32)
            y = y[:, None] if y.ndim == 1 else y
            if not np.isfinite(y).all():
                raise DataError("y holds NaN or infinity; clean the data first")
        if len(y) != len(x):
            raise DataError(f"x has {len(x)} items but y has {len(y)}")
        lengths = np.asarray(self.lengths)
        lengths = np.full(len(x), x.shape[1]) if lengths.size == 0 else lengths
        if lengths.shape != (len(x),) or lengths.min() < 1 or lengths.max() > x.shape[1]:
            raise DataError(f"lengths must be {len(x)} values in 1..{x.shape[1]}; got shape {lengths.shape}, "
                            f"{lengths.min()}..{lengths.max()}")
        lengths = lengths.astype(np.int64)
        beyond = np.arange(x.shape[1])[None, :] >= lengths[:, None]
        if beyond.any() and x[beyond].any():
            x = np.where(beyond[:, :, None], np.float32(0), x)
        for name, value in (("x", x), ("y", y), ("lengths", lengths)):
            object.__setattr__(self, name, np.ascontiguousarray(value))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, items: Any) -> Data:
        """The items chosen by a slice, an index array or a mask."""
        return Data(self.x[items], self.y[items], self.lengths[items])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shapes, types and bytes, shortened to 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for value in (self.x, self.y, self.lengths):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; no item stands in two of them."""

    train: Data
    valid: Data
    test: Data

    @property
    def fingerprint(self) -> str:
        """One fingerprint for all three."""
        text = "".join(part.fingerprint for part in (self.train, self.valid, self.test))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _array(value: ArrayLike, name: str, dtype: Any) -> NDArray[Any]:
    try:
        return np.asarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}") from None
