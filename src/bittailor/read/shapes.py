"""Operations that choose steps, features or states and move axes; the table at the end lists them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import EllipsisType
from typing import Any

from bittailor.read.convolving import cut, dropped
from bittailor.read.scaling import scaled
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    UNROLLED,
    Axis,
    Constant,
    Dim,
    Framed,
    ItemIndex,
    Opaque,
    Refusal,
    Shaped,
    Size,
    StepIndex,
    Tensor,
    choose,
    permute,
    regroup,
    squeeze,
    unsqueeze,
)
from bittailor.read.writer import Writer

Operation = Callable[..., Any]
FULL = slice(None, None, None)
STATES: tuple[Axis, ...] = (("layers", "directions"), ("layers",), ("directions",))


def shaped(value: Any) -> Shaped:
    """The value as something with axes."""
    if isinstance(value, Shaped):
        return value
    if isinstance(value, Constant):
        raise Refusal(f"'{value.path}' is a tensor of the module; use nn.Linear or functional.linear with it")
    raise Refusal(f"it is given {type(value).__name__}, not a tensor of the sequence")


def _over_steps(
    op: str, w: Writer, x: Any, dim: Any = None, keepdim: bool = False, axis: Any = None, **_: Any
) -> Tensor:
    dim = axis if dim is None else dim
    if isinstance(x, Tensor) and isinstance(dim, int) and x.axes[x.axis(dim)] == ("directions",):
        return _over_directions(op, w, x, x.axis(dim), keepdim)
    value = w.single(x)
    dims = list(dim) if isinstance(dim, list | tuple) else [dim]
    if len(dims) != 1 or dims[0] is None or value.axes[value.axis(dims[0])] != STEPS:
        raise Refusal(f"dim={dim} of {value.text()} is not the steps; the {op} over steps can be read")
    place = value.axis(dims[0])
    ref = w.over_time(op, w.local_name(op), value)
    left: tuple[Axis, ...] = ((),) if keepdim else ()
    return replace(value, sites=((ref,),), axes=(*value.axes[:place], *left, *value.axes[place + 1:]))


def _over_directions(op: str, w: Writer, x: Tensor, place: int, keepdim: bool) -> Tensor:
    """The sum or mean of a layer's directions, feature by feature."""
    if op not in ("sum", "mean") or len(x.sites) != 1:
        raise Refusal(f"of a layer's directions the sum and the mean can be read, and torch.cat; not the {op}")
    left: tuple[Axis, ...] = ((),) if keepdim else ()
    axes = (*x.axes[:place], *left, *x.axes[place + 1:])
    first, *rest = (replace(x, axes=axes, sites=((ref,),)) for ref in x.each())
    for other in rest:
        first = w.pointwise("add", w.local_name("add"), first, other)
    return first if op == "sum" else scaled(w, first, 1 / len(x.each()), 0.0, "mean")


def _max(w: Writer, x: Any, dim: Any = None, keepdim: bool = False, **named: Any) -> tuple[Tensor, Opaque]:
    if isinstance(dim, Shaped | Constant):
        raise Refusal("the larger of two values cannot be read; the maximum over steps can")
    return _over_steps("max", w, x, dim, keepdim, **named), Opaque("the step of a maximum, as argmax gives it")


def _pool(op: str, w: Writer, x: Any, output_size: Any, **_: Any) -> Tensor:
    value = w.single(x)
    size = output_size[0] if isinstance(output_size, tuple | list) and len(output_size) == 1 else output_size
    if size != 1 or value.axes[-1] != STEPS:
        raise Refusal(f"of pooling, that of all steps to one can be read; this makes {size} of the last axis of "
                      f"{value.text()}")
    return _over_steps(op, w, value, -1, True)


def _pick(w: Writer, value: Tensor, place: int, op: str, keep: bool) -> Tensor:
    left: tuple[Axis, ...] = ((),) if keep else ()
    axes = (*value.axes[:place], *left, *value.axes[place + 1:])
    return replace(value, sites=((w.over_time(op, op, value),),), axes=axes)


def _step(value: Tensor, at: Any) -> tuple[str, bool]:
    """Which step an index means, and whether its axis stays."""
    size = value.size(STEPS)
    last = (-1, size - 1 if isinstance(size, int) else replace(size, offset=size.offset - 1))
    if at in last:
        return "last", False
    if isinstance(at, int) and at == 0:
        return "first", False
    if isinstance(at, slice) and at.step in (None, 1):
        if at.start in last and at.stop in (None, size):
            return "last", True
        if at.start in (None, 0) and at.stop == 1:
            return "first", True
    text = f"{at.start}:{at.stop}" if isinstance(at, slice) else str(at)
    raise Refusal(f"[{text}] on the steps of {value.text()}; only the last step, the first step, all but some of the "
                  "first, and the mean over all of them can be read")


def _drops(value: Tensor, at: Any) -> bool:
    """Whether a slice leaves away some of the first steps, and not all but the last."""
    size = value.size(STEPS)
    whole = isinstance(at, slice) and at.step in (None, 1) and at.stop in (None, size)
    return whole and isinstance(at.start, int) and at.start > 0 and at.start + 1 != size


def _index_axis(w: Writer, value: Tensor, place: int, at: Any) -> Tensor:
    """value[..., at, ...] on one axis; the number of axes goes down by one for an integer."""
    axis = value.axes[place]
    if isinstance(at, slice) and (at == FULL or (at.start in (None, 0) and at.stop == value.size(axis)
                                                 and at.step in (None, 1))):
        return value
    if axis == STEPS and isinstance(at, int) and 0 <= at < w.unrolled:
        return replace(value, axes=(*value.axes[:place], *value.axes[place + 1:]), at=at)
    if axis == STEPS and _drops(value, at):
        return dropped(w, w.single(value), at.start)
    if axis == STEPS:
        return _pick(w, value, place, *_step(value, at))
    if axis in STATES and isinstance(at, int | slice):
        return choose(value, axis, at)
    if axis == FEATURES and isinstance(at, slice) and at.step in (None, 1):
        return _features(w, value, at)
    if at in (0, -1) and value.size(axis) == 1:
        return squeeze(value, place)
    if axis == ITEMS:
        raise Refusal(f"[{at}] picks from the items of {value.text()}; the last step is out[:, -1] with "
                      "batch_first=True and out[-1] without")
    raise Refusal(f"[{at}] on axis {place} of {value.text()} cannot be read")


def _features(w: Writer, value: Tensor, at: slice) -> Tensor:
    start, stop, _ = at.indices(value.features)
    sites = tuple(tuple(w.part(ref, start, stop) for ref in row) for row in value.sites)
    return replace(value, sites=sites, features=stop - start)


def _unbind(w: Writer, x: Any, dim: int = 0) -> tuple[Tensor, ...]:
    value = w.single(x)
    place = value.axis(dim)
    if value.axes[place] != STEPS:
        raise Refusal(f"it takes an axis of {value.text()} apart that is not the steps")
    w.unrolled = UNROLLED
    axes = (*value.axes[:place], *value.axes[place + 1:])
    return tuple(replace(value, axes=axes, at=at) for at in range(UNROLLED))


def _stack(w: Writer, *_: Any, **__: Any) -> Any:
    raise Refusal("it makes a new axis; torch.cat on the features can be read, and a stack of every step of a loop")


def _getitem(w: Writer, value: Any, at: Any) -> Any:
    if isinstance(value, tuple | list | dict):
        return value[at]
    value = shaped(value)
    given = list(at) if isinstance(at, tuple) else [at]
    if isinstance(value, Tensor) and any(isinstance(each, Shaped) for each in given):
        return _advanced(w, value, given)
    dots = [i for i, each in enumerate(given) if isinstance(each, EllipsisType)]
    if dots:
        missing = len(value.axes) - sum(each is not None for each in given) + 1
        given[dots[0]:dots[0] + 1] = [FULL] * missing
    place = 0
    for each in given:
        if each is None:
            value = unsqueeze(value, place)
        elif isinstance(value, Framed) and each != FULL:
            value = cut(w, value, place, each)
        elif isinstance(value, Tensor):
            before = len(value.axes)
            value = _index_axis(w, value, value.axis(place), each)
            place -= before - len(value.axes)
        elif each != FULL:
            raise Refusal(f"[{each}] of lengths")
        place += 1
    return value


def _advanced(w: Writer, value: Tensor, given: Sequence[Any]) -> Tensor:
    """out[torch.arange(items), lengths - 1]."""
    wanted = {ITEMS: ItemIndex, STEPS: StepIndex}
    places = [i for i, axis in enumerate(value.axes) if axis in wanted]
    fits = len(given) >= 2 and places == [0, 1] and all(each == FULL for each in given[2:])
    if not fits or any(not isinstance(each, wanted[value.axes[i]]) for i, each in enumerate(given[:2])):
        raise Refusal("of indices by tensors only out[torch.arange(items), lengths - 1] can be read")
    _check_last(given[places[value.axes.index(STEPS)]], value)
    return _pick(w, permute(value, (value.axes.index(ITEMS), value.axes.index(STEPS), 2)), 1, "last", False)


def _check_last(index: Any, value: Tensor) -> None:
    if not isinstance(index, StepIndex) or index.offset != -1 - value.late:
        raise Refusal(f"only the index lengths - {1 + value.late}, each item's last step, can be read")


def _select(w: Writer, x: Any, dim: int, index: Any) -> Tensor:
    value = shaped(x)
    return _index_axis(w, w.single(x) if not isinstance(value, Tensor) else value, value.axis(dim), index)


def _narrow(w: Writer, x: Any, dim: int, start: int, length: Size) -> Tensor:
    if isinstance(length, Dim):
        return _select(w, x, dim, slice(start, replace(length, offset=length.offset + start)))
    stop = start + length
    return _select(w, x, dim, slice(start, stop if stop or start >= 0 else None))


def _gather(w: Writer, x: Any, dim: int, index: Any, **_: Any) -> Tensor:
    value = w.single(x)
    _check_last(index, value)
    if value.axes[value.axis(dim)] != STEPS:
        raise Refusal(f"it gathers along an axis of {value.text()} that is not the steps")
    return _pick(w, value, value.axis(dim), "last", True)


def _take_along_dim(w: Writer, x: Any, indices: Any, dim: int | None = None) -> Tensor:
    if dim is None:
        raise Refusal("it needs dim")
    return _gather(w, x, dim, indices)


def _split(w: Writer, x: Any, size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    value = w.single(x)
    if value.axes[value.axis(dim)] == STEPS and size == 1:
        return tuple(unsqueeze(step, value.axis(dim)) for step in _unbind(w, value, dim))
    if value.axes[value.axis(dim)] != FEATURES:
        raise Refusal(f"it takes an axis of {value.text()} apart that is not the features")
    sizes = [size] * math.ceil(value.features / size) if isinstance(size, int) else list(size)
    ends = [sum(sizes[:i + 1]) for i in range(len(sizes))]
    return tuple(_features(w, value, slice(end - n, end)) for n, end in zip(sizes, ends, strict=True))


def _chunk(w: Writer, x: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    return _split(w, x, math.ceil(shaped(x).features / chunks), dim)


# -- axes ------------------------------------------------------------


def _size(w: Writer, x: Any, dim: int | None = None) -> Any:
    value = shaped(x)
    return value.shape() if dim is None else value.shape()[value.axis(dim)]


def _dim(w: Writer, x: Any) -> int:
    return len(shaped(x).axes)


def _getattr(w: Writer, x: Any, name: str) -> Any:
    if isinstance(x, tuple) and name in ("values", "indices"):
        return x[name == "indices"]
    if name in ("device", "dtype"):
        return Opaque(name)
    if name in ("T", "mT"):
        return permute(shaped(x), range(len(shaped(x).axes))[::-1]) if name == "T" else _transpose(w, x, -2, -1)
    if name == "data":
        return x
    if name not in ("shape", "ndim"):
        raise Refusal(f"the attribute '{name}' of a tensor cannot be read")
    return _size(w, x) if name == "shape" else _dim(w, x)


def _transpose(w: Writer, x: Any, a: int, b: int) -> Any:
    value = shaped(x)
    order = list(range(len(value.axes)))
    order[value.axis(a)], order[value.axis(b)] = order[value.axis(b)], order[value.axis(a)]
    return permute(value, order)


def _t(w: Writer, x: Any) -> Any:
    return _transpose(w, x, 0, 1)


def _permute(w: Writer, x: Any, *dims: Any) -> Any:
    return permute(shaped(x), _flat(dims))


def _flat(sizes: Sequence[Any]) -> list[Any]:
    return list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else list(sizes)


def _reshape(w: Writer, x: Any, *shape: Any, **named: Any) -> Any:
    sizes: list[Size] = _flat(shape or tuple(named.values()))
    if not all(isinstance(size, int | Dim) for size in sizes):
        raise Refusal("only reshapes to given sizes can be read")
    try:
        return _tidy(w, regroup(shaped(x), sizes))
    except Refusal:
        apart = w.taken_apart(x) if isinstance(x, Tensor) else None
        if apart is None:
            raise
        return _tidy(w, regroup(apart, sizes))


def _tidy(w: Writer, value: Any) -> Any:
    """Final states side by side on the features are a concatenation; steps there are refused."""
    if not isinstance(value, Tensor):
        return value
    alone = [atom for atom in ("layers", "directions") if value.count(atom) == 1]
    axes = [tuple(a for a in axis if a not in alone) or axis for axis in value.axes]
    value = replace(value, axes=tuple(axes))
    place = next((i for i, axis in enumerate(axes) if "features" in axis), 0)
    before = axes[place][:-1]
    if not before or (value.features == 1 and before not in STATES):
        return value
    parts = tuple(replace(value, sites=((ref,),)) for ref in value.each())
    if axes[place][-1] != "features" or before not in STATES or len(parts) != value.size(before):
        raise Refusal(f"it makes {value.text()}; take the last step or the mean over the steps before they "
                      "share an axis with the features")
    axes[place] = FEATURES
    ref = w.joined(parts)
    return replace(value, axes=tuple(axes), sites=((ref,),), features=len(parts) * value.features)


def _flatten(w: Writer, x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    value = shaped(x)
    start, end = value.axis(start_dim), value.axis(end_dim)
    merged = tuple(atom for axis in value.axes[start:end + 1] for atom in axis)
    return _tidy(w, replace(value, axes=(*value.axes[:start], merged, *value.axes[end + 1:])))


def _squeeze(w: Writer, x: Any, dim: int | None = None) -> Any:
    value = shaped(x)
    if dim is not None:
        return squeeze(value, dim)
    return replace(value, axes=tuple(axis for axis in value.axes if value.size(axis) != 1))


def _unsqueeze(w: Writer, x: Any, dim: int) -> Any:
    return unsqueeze(shaped(x), dim)


def _expand(w: Writer, x: Any, *_: Any) -> Any:
    if isinstance(x, StepIndex | Constant):
        return x  # for a tensor of the module: one for each item
    raise Refusal("nothing is broadcast here, except an index for gather")


def _repeat(w: Writer, x: Any, *_: Any, **__: Any) -> Any:
    if isinstance(x, Constant):
        return x
    raise Refusal("values of one step are not copied to others; give the decoder its own input, or keep the encoder "
                  "alone")


SHAPES: dict[str, Operation] = {
    "mean": partial(_over_steps, "mean"), "sum": partial(_over_steps, "sum"), "amax": partial(_over_steps, "max"),
    "max": _max, "adaptive_avg_pool1d": partial(_pool, "mean"), "adaptive_max_pool1d": partial(_pool, "max"),
    "select": _select, "narrow": _narrow, "gather": _gather, "take_along_dim": _take_along_dim,
    "getitem": _getitem, "split": _split, "chunk": _chunk, "size": _size, "dim": _dim, "getattr": _getattr,
    "transpose": _transpose, "swapaxes": _transpose, "t": _t, "permute": _permute,
    "reshape": _reshape, "view": _reshape, "flatten": _flatten, "squeeze": _squeeze, "unsqueeze": _unsqueeze,
    "expand": _expand, "repeat": _repeat, "unbind": _unbind, "stack": _stack,
}
"""By the name of a function or method."""
