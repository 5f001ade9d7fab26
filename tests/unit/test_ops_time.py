"""last, first and mean over ragged sequences."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from bittailor.core.ops import OPS, Bound
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError

FMT = QFormat("activation", 8, (1.0,), -5)
Q = np.arange(24).reshape(2, 4, 3)
LENGTHS = np.array([4, 2])


def test_last_and_first() -> None:
    last, first = OPS["last"], OPS["first"]
    assert np.array_equal(last.integers({}, [FMT], [Q], LENGTHS), [Q[0, 3], Q[1, 1]])
    assert np.array_equal(first.integers({}, [FMT], [Q], LENGTHS), Q[:, 0])


def test_mean_reads_only_the_items_steps_and_ties_go_up() -> None:
    mean = OPS["mean"]
    constants = mean.bind(Bound((FMT,), FMT))
    got = mean.integers(constants, [FMT], [Q], LENGTHS)
    wanted = [[math.floor(Fraction(int(sum(Q[i, :n, f])), n) + Fraction(1, 2)) for f in range(3)]
              for i, n in enumerate(LENGTHS)]
    assert got.tolist() == wanted
    changed = Q.copy()
    changed[1, 2:] = 99
    assert np.array_equal(mean.integers(constants, [FMT], [changed], LENGTHS), got)


@pytest.mark.parametrize("value", ["qmin", "qmax"])
@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("ratio", [1.0, 2.0**-6, 2.0**-20])
def test_the_longest_mean_of_the_largest_values_does_not_wrap(ratio: float, bits: int, value: str) -> None:
    fmt = QFormat("activation", bits, (0.3,), -1 if bits <= 8 else 0)
    out = QFormat("activation", 16, (0.3 / ratio,))
    mean = OPS["mean"]
    constants = mean.bind(Bound((fmt,), out))
    rescale = constants.rescale
    steps = MEAN_MOST_STEPS
    assert steps << rescale.shift < 2**63
    assert steps * (fmt.reach * int(rescale.multipliers[0][0]) + abs(rescale.offset)) < 2**62
    q = np.full((1, steps, 1), getattr(fmt, value))
    wanted = math.floor(Fraction(getattr(fmt, value) - fmt.zero_point) * Fraction(ratio) + Fraction(1, 2))
    assert mean.integers(constants, [fmt], [q], np.array([steps])).item() == wanted


def test_more_steps_than_proved_are_refused() -> None:
    mean = OPS["mean"]
    with pytest.raises(RangeError, match="at most 65535"):
        mean.integers(mean.bind(Bound((FMT,), FMT)), [FMT], [np.zeros((1, 65536, 1), np.int64)], np.array([65536]))
