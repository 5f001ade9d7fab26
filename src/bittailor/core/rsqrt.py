"""The reciprocal square root in integers, and what a normalisation makes of it (docs/arithmetic.md, section 3).

Exact and the same everywhere: a shift to the left, an integer square root, one division. What NumPy takes from a float
square root is put right by whole numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bittailor.core.arith import Ints, round_half_up
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError

POWER_BITS = 62
"""N < 2**62."""
GAIN_BITS = 31
"""G < 2**31."""
ROOT_BITS, DROPPED_BITS = 60, 30
"""r = floor(2**60 / w); 30 bits of G r are dropped."""
DEVIATION_BITS = 31
"""|d| < 2**31."""
MOST_GAIN_SHIFT = 32
LEAST_GAIN = 1 << 15
"""Gains of fewer bits are refused: they would be off by more than a part in 2**16."""


def normal_shift(power: Ints) -> tuple[Ints, Ints]:
    """(v, h): v = N 4**h with 2**60 <= v < 2**62, of N in 1 .. 2**62 - 1."""
    v, h = np.array(power, np.int64), np.zeros_like(power)
    for digits in (16, 8, 4, 2, 1):
        low = v < 1 << (POWER_BITS - 2 * digits)
        v = np.where(low, v << 2 * digits, v)
        h = h + np.where(low, digits, 0)
    return v, h


def integer_root(v: Ints) -> Ints:
    """floor(sqrt(v)) of v < 2**62."""
    w = np.sqrt(v.astype(np.float64)).astype(np.int64)
    w = w - (w * w > v)
    return np.asarray(w + ((w + 1) * (w + 1) <= v))


@dataclass(frozen=True)
class Gain:
    """y = clamp(((d P + half) >> T) + zero, lo, hi), about d G / (2**t sqrt(N)).

    multiplier  G, 2**15 .. 2**31 - 1
    shift       t, 0..32
    epsilon     E: N = max(V + E, 1)
    lo, hi, zero  of the output
    """

    multiplier: int
    shift: int
    epsilon: int
    lo: int
    hi: int
    zero: int

    def of(self, power: Ints) -> tuple[Ints, Ints]:
        """(P, T) of V: P < 2**31, T 0..62."""
        v, h = normal_shift(np.maximum(power + self.epsilon, 1))
        inverse = (1 << ROOT_BITS) // integer_root(v)
        return (self.multiplier * inverse) >> DROPPED_BITS, self.shift + DROPPED_BITS - h

    def __call__(self, deviations: Ints, power: Ints) -> Ints:
        """From d [..., features] and V [...]."""
        multiplier, shift = (a[..., None] for a in self.of(power))
        half = (np.int64(1) << shift) >> 1
        return np.asarray(np.clip(((deviations * multiplier + half) >> shift) + self.zero, self.lo, self.hi))


def make_gain(gain: float, epsilon: float, most_power: int, out: QFormat) -> Gain:
    """The integers of a gain.

    gain        what 1 / sqrt(N) is multiplied by, in output steps
    epsilon     what is added to V, real
    most_power  a bound on V
    Raises RangeError where the scales leave no such integers.
    """
    fine = math.isfinite(gain) and math.isfinite(epsilon)
    shift = min(MOST_GAIN_SHIFT, GAIN_BITS - math.frexp(gain)[1]) if fine else -1
    multiplier = math.floor(math.ldexp(gain, shift) + 0.5) if shift >= 0 else 0
    if multiplier >= 1 << GAIN_BITS:  # rounded up to the next power of two
        shift, multiplier = shift - 1, 1 << (GAIN_BITS - 1)
    rounded = int(round_half_up(epsilon)) if fine and epsilon < 2.0**POWER_BITS else 1 << POWER_BITS
    if shift < 0 or multiplier < LEAST_GAIN or most_power + rounded >= 1 << POWER_BITS:
        raise RangeError(f"scales differ too much for an integer normalisation: a gain of {gain:.3g} output steps, an "
                         f"epsilon of {epsilon:.3g} squared input steps; recalibrate with data that excites this site")
    return Gain(multiplier, shift, rounded, out.qmin, out.qmax, out.zero_point)


__all__ = ["Gain", "integer_root", "make_gain", "normal_shift"]
