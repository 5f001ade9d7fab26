"""Data: what is accepted, what is refused with which words."""

from __future__ import annotations

import numpy as np
import pytest

from bittailor.common.data import Data, Splits
from bittailor.errors import BittailorError, DataError

X = np.ones((3, 4, 2))
Y = [0, 1, 2]


def test_defaults_and_types() -> None:
    data = Data(X, Y)
    assert (data.x.dtype, data.y.dtype, data.lengths.tolist()) == (np.float32, np.int64, [4, 4, 4])
    assert len(data) == 3
    assert Data(X, [0.5, 1.0, 2.0]).y.shape == (3, 1)


def test_steps_beyond_a_length_become_zero_and_the_input_is_left_alone() -> None:
    x = X.copy()
    data = Data(x, Y, [4, 1, 2])
    assert data.x.sum(axis=(1, 2)).tolist() == [8, 2, 4]
    assert x.sum() == 24


@pytest.mark.parametrize(("x", "y", "lengths", "message"), [
    (X[0], Y, None, r"expected \[items, steps, features\]"),
    (X[:0], [], None, "the split is empty"),
    (np.full_like(X, np.nan), Y, None, r"NaN or infinity \(first in item 0\)"),
    (np.where(np.arange(3)[:, None, None] == 2, np.inf, X), Y, None, "first in item 2"),
    (X, [0, 1], None, "3 items but y has 2"),
    (X, [0.0, np.nan, 1.0], None, "y holds NaN"),
    (X, Y, [1, 2], "lengths must be 3 values"),
    (X, Y, [0, 1, 2], "lengths must be 3 values in 1..4"),
    (X, Y, [1, 2, 5], "lengths must be 3 values in 1..4"),
    ([["a"]], Y, None, "cannot be read as numbers"),
])
def test_what_is_refused(x: object, y: object, lengths: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Data(x, y) if lengths is None else Data(x, y, lengths)


@pytest.mark.parametrize("y", [np.ones((3, 2, 5), np.float32), np.ones((3, 2), np.int64),
                               np.stack([np.ones((3, 2)), np.zeros((3, 2))], 2).astype(np.int64)])
def test_targets_that_begin_later(y: np.ndarray) -> None:
    """A network that gives no output for the first steps has no targets for them."""
    if y.ndim == 3 and y.dtype == np.int64:
        y[1, 1] = -1
    data = Data(X, y, [4, 3, 4], late=2)
    assert (data.targets.lengths.tolist(), data.lengths.tolist()) == ([2, 1, 2], [4, 3, 4])
    assert data[[1]].late == 2
    assert data.targets.y.shape == y.shape
    for lengths, late, message in (([4, 2, 4], 2, "3 values in 3"), ([4, 3, 4], 4, "late"), ([4, 3, 4], -1, "late")):
        with pytest.raises(BittailorError, match=message):
            Data(X, y, lengths, late=late)
    if y.ndim == 3 and y.dtype == np.float32:
        with pytest.raises(DataError, match=r"x has 4 steps but y has 2$"):
            Data(X, y)
        with pytest.raises(DataError, match="x has 4 steps but y has 2; with late=1 it has 3"):
            Data(X, y, late=1)


def test_choosing_items() -> None:
    data = Data(np.arange(24).reshape(3, 4, 2), Y, [4, 3, 2])
    part = data[[2, 0]]
    assert part.y.tolist() == [2, 0]
    assert part.lengths.tolist() == [2, 4]
    with pytest.raises(DataError, match="empty"):
        data[:0]


def test_fingerprints_see_every_part() -> None:
    base = Data(X, Y)
    others = [Data(2 * X, Y), Data(X, [0, 1, 1]), Data(X, Y, [4, 4, 3]), Data(X, Y, late=1)]
    prints = {d.fingerprint for d in (base, *others)}
    assert len(prints) == 5
    assert Data(X.copy(), list(Y)).fingerprint == base.fingerprint
    a, b = Splits(base, base, others[0]), Splits(base, others[0], base)
    assert a.fingerprint != b.fingerprint
