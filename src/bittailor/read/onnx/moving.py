"""ONNX's operators that choose, move and join axes, steps and states, and shapes computed in the graph, in one table.

Every one is called with the writer of the graph, the node and the values of its inputs, None for one that is not given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.checks import MOST_VALUES
from bittailor.read.arithmetic import ARITHMETIC
from bittailor.read.embedding import embedded
from bittailor.read.onnx.graphs import GraphWriter
from bittailor.read.onnx.loading import Node
from bittailor.read.onnx.sizes import integers, is_sizes, known, sizes_of
from bittailor.read.shapes import SHAPES
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Axis,
    Dim,
    ItemIndex,
    Refusal,
    Shaped,
    StepIndex,
    Tensor,
    Zeros,
)

Operation = Callable[..., Any]
LARGEST = 2**31 - 1
"""From here on an end of a Slice is meant to be "to the end"."""


@dataclass(frozen=True)
class Indices:
    """Several vectors of indices side by side, as GatherND takes them."""

    each: tuple[Any, ...]


@dataclass(frozen=True)
class FirstSteps:
    """Each item's first place where items and steps share an axis: its number times the steps."""


@dataclass(frozen=True)
class LastSteps(StepIndex):
    """Each item's last place where items and steps share an axis."""


def constant(value: Any, what: str) -> np.ndarray[Any, Any]:
    """A constant; Refusal that says what it is otherwise."""
    if isinstance(value, np.ndarray):
        return value
    raise Refusal(f"{what} must be a constant")


def _axes(node: Node, given: Any) -> list[int] | None:
    """The axes of an operator: an attribute up to opset 12, an input since."""
    if given is not None:
        return integers(given)
    return list(node.options["axes"]) if "axes" in node.options else None


def _transpose(r: GraphWriter, node: Node, x: Any) -> Any:
    order = node.options.get("perm")
    if isinstance(x, ItemIndex | Zeros):
        return x
    return SHAPES["permute"](r, x, order if order is not None else list(range(len(_shaped(x).axes)))[::-1])


def _shaped(value: Any) -> Shaped:
    if isinstance(value, Shaped):
        return value
    raise Refusal(f"it is given {type(value).__name__}, not values of the sequence")


def _squeeze(r: GraphWriter, node: Node, x: Any, axes: Any = None) -> Any:
    if is_sizes(x):
        return known(sizes_of(x)[0]) if len(sizes_of(x)) == 1 else x
    if isinstance(x, ItemIndex | Zeros):
        return x
    chosen = _axes(node, axes)
    if chosen is None:
        return SHAPES["squeeze"](r, x)
    for place in sorted((_shaped(x).axis(axis) for axis in chosen), reverse=True):
        x = SHAPES["squeeze"](r, x, place)
    return x


def _unsqueeze(r: GraphWriter, node: Node, x: Any, axes: Any = None) -> Any:
    chosen = _axes(node, axes) or []
    if is_sizes(x):
        return known(sizes_of(x))
    if isinstance(x, ItemIndex | Zeros):
        return x
    rank = len(_shaped(x).axes) + len(chosen)
    for place in sorted(axis % rank for axis in chosen):
        x = SHAPES["unsqueeze"](r, x, place)
    return x


def _reshape(r: GraphWriter, node: Node, x: Any, shape: Any) -> Any:
    if isinstance(x, ItemIndex | Zeros):
        return x
    if is_sizes(x):
        return known(sizes_of(x) if sizes_of(shape) else sizes_of(x)[0])
    given = list(sizes_of(shape))
    if not node.options.get("allowzero"):
        own = _shaped(x).shape()
        given = [own[i] if size == 0 and i < len(own) else size for i, size in enumerate(given)]
    try:
        return SHAPES["reshape"](r, x, given)
    except Refusal as error:
        frozen = [size for size in given if isinstance(size, int) and size > 1 and size != _shaped(x).features]
        raise Refusal(f"{error}\n  if one of {frozen} is the number of items or steps of the example that the file "
                      "was exported with, it is wrong for any other: export it again" if frozen else str(error)
                      ) from None


def _flatten(r: GraphWriter, node: Node, x: Any) -> Any:
    value = _shaped(x)
    axis = node.options.get("axis", 1)
    axis = axis % len(value.axes) if axis < 0 else axis
    merged = [tuple(atom for axis in axes for atom in axis) for axes in (value.axes[:axis], value.axes[axis:])]
    return SHAPES["reshape"](r, value, [value.size(atoms) for atoms in merged])


def _slice(r: GraphWriter, node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None,
           steps: Any = None) -> Any:
    o = node.options
    first, stop = (sizes_of(given) if given is not None else tuple(o.get(name, ()))
                   for given, name in ((starts, "starts"), (ends, "ends")))
    which = integers(axes) if axes is not None else list(o.get("axes", range(len(first))))
    stride = integers(steps) if steps is not None else [1] * len(first)
    if not len(first) == len(stop) == len(which) == len(stride):
        raise Refusal("its starts, ends and axes are of different lengths")
    limits = [(None if a == 0 and s == 1 else a, None if isinstance(b, int) and b >= LARGEST else b, s)
              for a, b, s in zip(first, stop, stride, strict=True)]
    if is_sizes(x):
        (a, b, s), = limits
        return known(sizes_of(x)[slice(*_whole(a, b)) if s == 1 else slice(None, None, s)])
    if isinstance(x, Zeros):
        return x
    value = _shaped(x)
    at = [slice(None)] * len(value.axes)
    for axis, (a, b, s) in zip(which, limits, strict=True):
        at[value.axis(axis)] = slice(a, b, None if s == 1 else s)
    return SHAPES["getitem"](r, value, tuple(at))


def _whole(*limits: Any) -> Sequence[int | None]:
    if any(isinstance(limit, Dim) for limit in limits):
        raise Refusal("it slices a shape at a place that only the data knows")
    return limits


def _gather(r: GraphWriter, node: Node, x: Any, indices: Any) -> Any:
    axis = node.options.get("axis", 0)
    if isinstance(indices, LastSteps):
        value = _shaped(x)
        if axis or value.axes[:1] != (ITEMS + STEPS,):
            raise Refusal(f"it picks from {value.text()}; expected items and steps on one axis")
        apart = replace(value, axes=(ITEMS, STEPS, *value.axes[1:]))
        return SHAPES["getitem"](r, apart, (ItemIndex(), StepIndex((ITEMS,), 1, -1)))
    if isinstance(indices, Tensor) and isinstance(x, np.ndarray):
        if axis or x.ndim != 2 or x.dtype.kind != "f":
            raise Refusal(f"its table has shape {x.shape} of {x.dtype}, axis {axis}; a matrix of floats can be looked "
                          "up")
        return embedded(r, indices, x.astype(np.float64), r.linear_path(node, "embedding"))
    at = constant(indices, "its indices")
    if is_sizes(x):
        return known(sizes_of(x)[int(at)] if at.ndim == 0 else tuple(sizes_of(x)[i] for i in integers(at)))
    if isinstance(x, Zeros):
        return x
    if at.size != 1:
        raise Refusal("it picks several places at once; one can be read, and Slice for several")
    index = int(at.reshape(-1)[0])
    value = SHAPES["select"](r, _shaped(x), axis, index)
    return value if at.ndim == 0 else SHAPES["unsqueeze"](r, value, _shaped(x).axis(axis))


def _gather_elements(r: GraphWriter, node: Node, x: Any, index: Any) -> Any:
    return SHAPES["gather"](r, x, node.options.get("axis", 0), index)


def _gather_nd(r: GraphWriter, node: Node, x: Any, indices: Any) -> Any:
    if not isinstance(indices, Indices) or node.options.get("batch_dims"):
        raise Refusal("only each item's last step, out[arange(items), lengths - 1], can be read")
    return SHAPES["getitem"](r, x, tuple(indices.each))


def _concat(r: GraphWriter, node: Node, *values: Any) -> Any:
    axis = node.options.get("axis", 0)
    if any(is_sizes(value) for value in values):
        return known(tuple(size for value in values for size in sizes_of(value)))
    if any(isinstance(value, ItemIndex | StepIndex) for value in values):
        return Indices(tuple(_counted(r, value) for value in values))
    if all(isinstance(value, Zeros) for value in values):
        return values[0]
    first = _shaped(values[0])
    place = first.axes[first.axis(axis)]
    if place in (("directions",), ("layers",), ("layers", "directions")):
        return _states(values, place)
    return ARITHMETIC["cat"](r, values, axis)


def _counted(r: GraphWriter, value: Any) -> Any:
    """0 .. items - 1 written out, where the file is for one number of items."""
    items = r.input.size(ITEMS)
    if isinstance(value, np.ndarray) and isinstance(items, int) and (value.reshape(-1) == range(items)).all():
        return ItemIndex()
    return value


def _states(values: Sequence[Any], axis: Axis) -> Any:
    """Final states of several layers, one behind the other."""
    first = values[0]
    if any(not isinstance(v, Tensor) or v.axes != first.axes or v.features != first.features for v in values):
        raise Refusal("it joins final states of different layouts or widths")
    rows = tuple(row for value in values for row in value.sites)
    joined: Axis = ("layers", "directions") if axis == ("directions",) else axis
    if axis == ("directions",) and any(len(row) != len(rows[0]) for row in rows):
        raise Refusal("it joins final states of layers with one and with two directions")
    return replace(first, sites=rows, axes=tuple(joined if each == axis else each for each in first.axes))


def _split(r: GraphWriter, node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.options.get("axis", 0)
    parts = integers(sizes) if sizes is not None else node.options.get("split")
    if parts is None:
        return SHAPES["chunk"](r, x, node.options.get("num_outputs", len(node.outputs)), axis)
    return SHAPES["split"](r, x, list(parts), axis)


def _over(name: str) -> Operation:
    """A mean, sum or maximum over the steps, or over the directions of a layer."""

    def read(r: GraphWriter, node: Node, x: Any, axes: Any = None) -> Any:
        which = _axes(node, axes)
        one = which[0] if which is not None and len(which) == 1 else which
        return SHAPES[name](r, x, one, bool(node.options.get("keepdims", 1)))

    return read


def _pooled(name: str) -> Operation:
    """Of all values on the last axis, the steps, one."""

    def read(r: GraphWriter, node: Node, x: Any) -> Any:
        value = r.single(x)
        if value.axes != (ITEMS, FEATURES, STEPS):
            raise Refusal(f"it pools {value.text()}; expected [items, features, steps]")
        return SHAPES[name](r, value, 2, True)

    return read


# -- shapes and what changes nothing ------------------------------------------------------------


def _shape(r: GraphWriter, node: Node, x: Any) -> Any:
    if isinstance(x, ItemIndex):
        return (Dim(ITEMS),)
    if isinstance(x, tuple) and is_sizes(x):
        return np.array([len(x)])
    start, end = node.options.get("start", 0), node.options.get("end")
    return known(_shaped(x).shape()[start:end])


def _constant_of_shape(r: GraphWriter, node: Node, shape: Any) -> Any:
    value = node.options.get("value")
    filled = 0 if value is None else r.number(value)
    return np.full(_known(shape), filled, np.float32) if filled != 0 else Zeros()


def _known(shape: Any) -> list[int]:
    """Sizes of an array that is the same all along the axes whose sizes only the data know: 1 of those."""
    sizes = [size if isinstance(size, int) else 1 for size in sizes_of(shape)]
    if math.prod(sizes) > MOST_VALUES:
        raise Refusal(f"it makes a constant of more than {MOST_VALUES:,} values")
    return sizes


def _expand(r: GraphWriter, node: Node, x: Any, shape: Any) -> Any:
    if isinstance(x, ItemIndex | Zeros | StepIndex) or (isinstance(x, np.ndarray) and not x.any()):
        return Zeros() if isinstance(x, np.ndarray) else x
    if isinstance(x, Shaped) and all(size == 1 for size in sizes_of(shape)):
        return x
    if isinstance(x, np.ndarray):
        return _along(x, sizes_of(shape))
    raise Refusal("nothing is broadcast here, except constants and an index")


def _along(x: NDArray[Any], sizes: Sequence[Any]) -> NDArray[Any]:
    """A constant, the same for all items: they keep an axis of 1."""
    x = x.reshape((1,) * (len(sizes) - x.ndim) + x.shape)
    if x.ndim > len(sizes) or any(isinstance(size, Dim) and n != 1 for n, size in zip(x.shape, sizes, strict=True)):
        raise Refusal("it spreads a constant over sizes of the data, which it has some of already")
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_known(tuple(sizes)))))


def _equal(r: GraphWriter, node: Node, a: Any, b: Any) -> NDArray[np.bool_]:
    """Of sizes, as Expand is prepared with: one that only the data know is no -1."""
    pairs = zip(sizes_of(a), sizes_of(b), strict=True)
    return np.array([isinstance(one, int) and one == other for one, other in pairs])


def _where(r: GraphWriter, node: Node, condition: Any, a: Any, b: Any) -> Any:
    """A choice between sizes."""
    if not isinstance(condition, np.ndarray):
        raise Refusal("conditions on values or sizes cannot be read")
    picks = zip(condition.tolist(), sizes_of(a), sizes_of(b), strict=True)
    return known(tuple(one if yes else other for yes, one, other in picks))


def _tile(r: GraphWriter, node: Node, x: Any, repeats: Any) -> Any:
    times = sizes_of(repeats)
    if isinstance(x, Zeros):
        return x
    if not isinstance(x, np.ndarray) or x.ndim != len(times):
        raise Refusal("nothing is repeated here, except constants")
    return np.tile(_along(x, [t if isinstance(t, Dim) else n for n, t in zip(x.shape, times, strict=True)]),
                   _known(times))


def _range(r: GraphWriter, node: Node, start: Any, limit: Any, delta: Any) -> ItemIndex:
    first, last, step = (sizes_of(value)[0] for value in (start, limit, delta))
    if (first, step) == (0, 1) and last == r.input.size(ITEMS):
        return ItemIndex()
    raise Refusal("only 0 .. items - 1, to pick each item's last step, can be made")


def _cast(r: GraphWriter, node: Node, x: Any) -> Any:
    kind = node.options.get("to")
    index = isinstance(x, Tensor) and r.builder.role(x.each()[0].site) == "index"
    if isinstance(x, Tensor) and x.softmax != "argmax" and not index and kind not in (1, 11):
        raise Refusal("a conversion of values to another type than float or double rounds inside the network")
    return x


def _same(r: GraphWriter, node: Node, x: Any, *_: Any) -> Any:
    return x


def _dropout(r: GraphWriter, node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if training is not None and (not isinstance(training, np.ndarray) or training.any()):
        raise Refusal("it drops values in use too; export the network in evaluation mode")
    return (x, None)


MOVING: dict[str, Operation] = {
    "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Reshape": _reshape, "Flatten": _flatten,
    "Slice": _slice, "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd, "Concat": _concat,
    "Split": _split, "ReduceMean": _over("mean"), "ReduceSum": _over("sum"), "ReduceMax": _over("amax"),
    "GlobalAveragePool": _pooled("mean"), "GlobalMaxPool": _pooled("amax"), "Shape": _shape,
    "ConstantOfShape": _constant_of_shape, "Expand": _expand, "Tile": _tile, "Equal": _equal, "Where": _where,
    "Range": _range, "Cast": _cast,
    "Identity": _same, "Dropout": _dropout,
}
"""By the name of the operator."""
