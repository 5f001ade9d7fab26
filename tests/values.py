"""Edge values by construction: zero, one, powers of two and their neighbours, the extremes."""

from __future__ import annotations

import random


def edges(low: int, high: int) -> list[int]:
    """0, ±1, ±2^k and ±2^k ± 1, and both ends, as far as they lie in low..high.

    >>> edges(-4, 5)
    [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5]
    """
    found = {0, low, low + 1, high - 1, high}
    for k in range(max(abs(low), abs(high)).bit_length() + 1):
        found |= {sign * 2**k + near for sign in (-1, 1) for near in (-1, 0, 1)}
    return sorted(v for v in found if low <= v <= high)


def edges_and_random(low: int, high: int, rng: random.Random, count: int) -> list[int]:
    """`edges`, then `count` random values."""
    return edges(low, high) + [rng.randint(low, high) for _ in range(count)]
