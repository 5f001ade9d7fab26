"""Shapes that a graph computes for itself: vectors of sizes, some of which only the data knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.read.symbolic import Dim, Refusal, Size

Sizes = tuple[Size, ...]
MOST_SIZES = 64
"""Of one vector; a shape has a handful."""


def sizes_of(value: Any) -> Sizes:
    """A vector of sizes: a constant, a single size, or one already."""
    if isinstance(value, tuple) and all(isinstance(size, int | Dim) for size in value):
        return value
    if isinstance(value, int | Dim):
        return (value,)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iub" and value.ndim <= 1 and value.size <= MOST_SIZES:
        return tuple(int(size) for size in value.reshape(-1))
    raise Refusal("only shapes of constants and of the sequence's own sizes can be read")


def is_sizes(value: Any) -> bool:
    """Whether a value is a size, or a vector of sizes that is no constant."""
    return isinstance(value, int | Dim) or (isinstance(value, tuple)
                                            and all(isinstance(size, int | Dim) for size in value))


def known(value: Any, rank: int = 1) -> Any:
    """A value with no size left that only the data knows becomes a constant."""
    sizes = value if isinstance(value, tuple) else (value,)
    if any(isinstance(size, Dim) for size in sizes):
        return value
    return np.array(value if isinstance(value, tuple) else int(value), np.int64)


def each(f: Callable[[Size, Size], Size], a: Any, b: Any) -> Any:
    """f of two vectors of sizes, size by size; one of a single size goes with every other."""
    left, right = sizes_of(a), sizes_of(b)
    if 1 not in (len(left), len(right)) and len(left) != len(right):
        raise Refusal("its vectors of sizes have different lengths")
    count = max(len(left), len(right))
    left, right = left * (count // len(left)), right * (count // len(right))
    found = tuple(f(x, y) for x, y in zip(left, right, strict=True))
    alone = all(isinstance(v, int | Dim) or (isinstance(v, np.ndarray) and v.ndim == 0) for v in (a, b))
    return known(found[0] if alone else found)


def times(a: Size, b: Size) -> Size:
    """The product of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if a == 1 or b == 1:
        return b if a == 1 else a
    if isinstance(a, Dim) and isinstance(b, Dim) and a.offset == b.offset == 0:
        return Dim(a.atoms + b.atoms)
    raise Refusal("a product of sizes that only the data knows cannot be read")


def plus(a: Size, b: Size) -> Size:
    """The sum of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if isinstance(a, Dim) and isinstance(b, int):
        return Dim(a.atoms, a.offset + b)
    if isinstance(b, Dim) and isinstance(a, int):
        return Dim(b.atoms, b.offset + a)
    raise Refusal("a sum of sizes that only the data knows cannot be read")


def minus(a: Size, b: Size) -> Size:
    """The difference of two sizes."""
    if isinstance(a, Dim) and isinstance(b, Dim) and a.atoms == b.atoms:
        return a.offset - b.offset
    if isinstance(b, Dim):
        raise Refusal("a difference of sizes that only the data knows cannot be read")
    return plus(a, -b)


def divided(a: Size, b: Size) -> Size:
    """The quotient of two sizes, towards zero."""
    if isinstance(a, int) and isinstance(b, int) and b:
        return int(a / b)
    if b == 1:
        return a
    if isinstance(a, Dim) and isinstance(b, Dim) and a.offset == b.offset == 0 and b.atoms == a.atoms[-len(b.atoms):]:
        return Dim(a.atoms[:-len(b.atoms)]) if len(a.atoms) > len(b.atoms) else 1
    raise Refusal("a quotient of sizes that only the data knows cannot be read")


def integers(value: NDArray[Any] | Any) -> list[int]:
    """A constant vector of whole numbers; Refusal for anything else."""
    found = sizes_of(value)
    if any(isinstance(size, Dim) for size in found):
        raise Refusal("an argument that must be a constant depends on the data's sizes")
    return [size for size in found if isinstance(size, int)]
