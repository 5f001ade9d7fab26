"""Constants in arithmetic: a tensor times a number or a vector, plus another. What can be folded is folded later."""

from __future__ import annotations

from typing import Any

import numpy as np

from bittailor.core.arith import Floats
from bittailor.read.symbolic import FEATURES, Constant, Refusal, Tensor
from bittailor.read.writer import Writer


def is_constant(value: Any) -> bool:
    """Whether it is a number or a tensor that the module owns."""
    return isinstance(value, Constant | int | float) and not isinstance(value, bool)


def scaled(w: Writer, source: Any, factor: Any, shift: Any, kind: str) -> Tensor:
    """factor * source + shift: an `affine` of two numbers, a `diagonal` where either differs from feature to feature.

    factor, shift  numbers, or tensors that the module owns: for each feature, or for all
    kind           what the function is called
    """
    x = w.single(source)
    by, plus = _vector(w, x, factor), _vector(w, x, shift)
    if isinstance(by, float) and isinstance(plus, float):
        if (by, plus) == (1.0, 0.0):
            return x
        if by == 0:
            raise Refusal("a factor of 0 leaves a constant, whatever the data")
        return w.replaced_site(x, w.builder.op("affine", w.name(w.local_name(kind)), w.site(x), factor=by, shift=plus))
    return weighted(w, x, np.broadcast_to(by, x.features), np.broadcast_to(plus, x.features), w.local_name(kind))


def weighted(w: Writer, x: Tensor, factor: Floats, shift: Floats, path: str) -> Tensor:
    """factor * x + shift, feature by feature, both [features]."""
    p = w.name(path)
    w.parameters[f"{p}.W"] = np.array(factor, np.float64)[:, None]
    bias = f"{p}.b" if np.any(shift) else None
    if bias:
        w.parameters[bias] = np.array(shift, np.float64)
    return w.replaced_site(x, w.builder.diagonal(f"{p}.out", w.site(x), f"{p}.W", bias))


def _vector(w: Writer, x: Tensor, value: Any) -> float | Floats:
    """A number for all features, or [features]."""
    if not isinstance(value, Constant):
        return float(value)
    values = w.tensor(value)
    if values.size == 1:
        return float(values.reshape(()))
    sizes = (1,) * (len(x.axes) - values.ndim) + values.shape
    along = [axis for axis, size in zip(x.axes, sizes[-len(x.axes):], strict=True) if size > 1]
    if along != [FEATURES] or values.size != x.features:
        raise Refusal(f"'{value.path}' has the shape {list(values.shape)} and meets {x.text()} of {x.features} "
                      "features; a constant tensor can have a value for each feature, or one for all")
    return values.reshape(-1)


def prelu(w: Writer, source: Any, slope: Any, path: str) -> Tensor:
    """x where it is positive, slope * x elsewhere; of a slope for each feature max(x, 0) + slope * (x - max(x, 0))."""
    x = w.single(source)
    if not isinstance(slope, Constant):
        raise Refusal("its slope must be a parameter of the module")
    slopes = w.tensor(slope).reshape(-1)
    if slopes.size == 1:
        out = w.builder.op("leaky_relu", w.name(path), w.site(x), slope=float(slopes[0]))
        return w.replaced_site(x, out)
    if len(x.axes) < 2 or x.axes[1] != FEATURES or slopes.size != x.features:
        raise Refusal(f"it has {slopes.size} slopes, for axis 1 of {x.text()}; they can be of the features, or one")
    p = w.name(path)
    positive = w.builder.op("relu", w.name(f"{p}.positive"), w.site(x))
    negative = w.replaced_site(x, w.builder.op("sub", w.name(f"{p}.negative"), w.site(x), positive))
    sloped = weighted(w, negative, slopes, np.zeros(x.features), f"{p}.slope")
    return w.replaced_site(x, w.builder.op("add", w.name(f"{p}.out"), positive, w.site(sloped)))

