"""Recurrent layers as one description, and how they are written: whose cell, which layers, whose parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bittailor.core.arith import Floats
from bittailor.core.cells import CELLS, add_layer
from bittailor.errors import UnsupportedNetwork
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Axes,
    Constant,
    PackedSequence,
    Refusal,
    SiteRef,
    StepIndex,
    Tensor,
    WrongLayout,
    Zeros,
)
from bittailor.read.writer import Writer


@dataclass(frozen=True)
class Layer:
    """One layer.

    directions  per direction the arrays that `Cell.parameters` takes
    projection  a matrix in front of both directions, or None
    options     of the cell's `step`
    backwards   whether its one direction runs from the end
    starts      per direction: state -> its values before the first step; none: all at 0.0
    """

    directions: tuple[Mapping[str, Floats], ...]
    projection: Floats | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    backwards: bool = False
    starts: tuple[Mapping[str, Floats], ...] = ()


@dataclass(frozen=True)
class Layers:
    """Recurrent layers on top of each other.

    kind           its name for people
    cell           a name in `CELLS`
    states         the final states that it returns beside its output; "h" is the output's
    takes_lengths  its second argument are lengths, not an initial state
    """

    kind: str
    cell: str
    input_size: int
    hidden_size: int
    batch_first: bool
    states: tuple[str, ...]
    takes_lengths: bool
    each: tuple[Layer, ...]


def is_zero(w: Writer, state: Any) -> bool:
    """Whether an initial state is zero, as made by torch.zeros and its like or as a tensor of zeros."""
    return isinstance(state, Zeros) or (isinstance(state, Constant) and not w.tensor(state).any())


def begun(w: Writer, layers: Layers, given: Any) -> Layers:
    """The layers with the initial states that they are given: None, zeros, or constants that all items share."""
    states = tuple(given) if isinstance(given, tuple | list) else (given,)
    if len(states) != len(layers.states):
        raise Refusal(f"it is given {len(states)} initial states; expected {' and '.join(layers.states)}")
    held = {kind: w.tensor(state) for kind, state in zip(layers.states, states, strict=True)
            if isinstance(state, Constant) and not is_zero(w, state)}
    each, first = list[Layer](), 0
    count = sum(len(layer.directions) for layer in layers.each)
    for layer in layers.each:
        sizes = {"h": layer.options.get("project") or layers.hidden_size}
        rows = {kind: start_rows(values, count, sizes.get(kind, layers.hidden_size)) for kind, values in held.items()}
        own = range(first, first + len(layer.directions))
        each.append(replace(layer, starts=tuple({kind: values[i] for kind, values in rows.items()} for i in own)))
        first += len(own)
    return replace(layers, each=tuple(each))


def start_rows(values: Floats, count: int, features: int) -> Floats:
    """An initial state that all items share, [count, features], from [count, items, features] or less of it.

    Refusal where items differ, or where it is of another size.
    """
    given, values = values.shape, np.asarray(values, np.float64)
    if values.ndim == 3 and values.shape[1] >= 1:
        if (values != values[:, :1]).any():
            raise Refusal(f"its initial state has values of their own for each of {values.shape[1]} items; one that "
                          "all items share can be read, [layers * directions, 1, features]")
        values = values[:, 0]
    try:
        return np.broadcast_to(values, (count, features))
    except ValueError:
        raise Refusal(f"its initial state has shape {given}; expected {count} of {features} features each") from None


def is_lengths(x: Tensor, given: Any) -> bool:
    """Whether something is the lengths of a sequence's items: those that forward is given, less the steps it lacks."""
    return isinstance(given, StepIndex) and given.offset == -x.late


def lengths_wanted(x: Tensor) -> str:
    """Why others are refused."""
    return f"its lengths must be the lengths that forward is given, {f'less {x.late}' if x.late else 'unchanged'}"


def _initial(given: Any) -> Any:
    """An initial state, or several; a refusal for one that depends on the data."""
    for state in given if isinstance(given, tuple | list) else (given,):
        if not (state is None or isinstance(state, Zeros | Constant)):
            raise Refusal("it is given an initial state that is computed from the data; one that starts at zero or at "
                          "values of the module's own (a parameter, a buffer) can be read. While it runs, a program "
                          "can be given any: module(x, state=…), PREFIX_state in C")
    return given


def recurrent(
    w: Writer, path: str, layers: Layers, source: Any, given: Any = None, names: Sequence[str] = ()
) -> Any:
    """What PyTorch's recurrent modules return, (output, final states), for their arguments.

    names  of the layers, where they are not to be called after the path
    """
    packed = isinstance(source, PackedSequence)
    x = w.single(source.tensor if packed else source)
    lengths = is_lengths(x, given) and layers.takes_lengths
    if given is not None and layers.takes_lengths and not lengths and not is_zero(w, given):
        raise Refusal(lengths_wanted(x))
    if given is not None and not layers.takes_lengths:
        layers = begun(w, layers, _initial(given))
    order: Axes = (ITEMS, STEPS, FEATURES) if layers.batch_first or packed else (STEPS, ITEMS, FEATURES)
    if x.axes != order:
        text = (f"cannot read '{path}' ({layers.kind}): batch_first={layers.batch_first} takes "
                f"{replace(x, axes=order).text()} but is given {x.text()}")
        raise WrongLayout(text) if set(x.axes) == set(order) else UnsupportedNetwork(text)
    w.check_features(x, layers.input_size, f"input_size={layers.input_size}")
    written = stacked(w, names or _layer_names(w, path, layers), layers, w.site(x))
    out = replace(x, axes=order, features=w.builder.features(written.site), sites=((SiteRef(written.site),),))
    axes: Axes = (("layers", "directions"), ITEMS, FEATURES)
    finals = [replace(x, axes=axes, features=w.builder.features(rows[0][0].site), sites=tuple(rows))
              for rows in written.states]
    return (PackedSequence(out) if packed else out), finals[0] if len(finals) == 1 else tuple(finals)


@dataclass(frozen=True)
class Stacked:
    """Layers that are written.

    site        output of the last layer, its directions side by side
    directions  the same, each for itself
    states      for each of `Layers.states` the final one, [layers][directions]
    """

    site: str
    directions: tuple[str, ...]
    states: tuple[tuple[tuple[SiteRef, ...], ...], ...]


def stacked(w: Writer, names: Sequence[str], layers: Layers, site: str) -> Stacked:
    """Write layers, under these names, on top of a site."""
    cell = CELLS[layers.cell]
    states: dict[str, list[tuple[SiteRef, ...]]] = {}
    below: list[str] = []
    for layer, name in zip(layers.each, names, strict=True):
        full = site
        if layer.projection is not None:
            w.parameters[f"{name}.W_proj"] = layer.projection
            site = w.builder.linear(f"{name}.proj", full, f"{name}.W_proj", len(layer.projection))
        outs = []
        for at, arrays in enumerate(layer.directions):
            reverse = layer.backwards or at == 1
            p = f"{name}.rev" if reverse else name
            options = dict(layer.options)
            if options.get("skip") == "input":
                options["source"] = below[at] if below else full
            starts = {kind: values.tolist() for kind, values in (layer.starts[at] if layer.starts else {}).items()}
            outs.append(add_layer(w.builder, cell, p, site, layers.hidden_size, "bias_ih" in arrays,
                                  reverse, states=True, starts=starts, **options))
            w.parameters |= cell.parameters(p, arrays)
        for kind in layers.states:
            sites = [out if kind == "h" else f"{out.removesuffix('.h')}.{kind}" for out in outs]
            steps = ("first",) if layer.backwards else ("last", "first")
            ends = tuple(SiteRef(site, step) for site, step in zip(sites, steps, strict=False))
            states.setdefault(kind, []).append(ends)
        below = outs
        site = outs[0] if len(outs) == 1 else w.concat(outs, w.name(f"{name}.out"))
    return Stacked(site, tuple(below), tuple(tuple(rows) for rows in states.values()))


def _layer_names(w: Writer, path: str, layers: Layers) -> list[str]:
    """What the layers of a module at this path are called."""
    base = w.name(w.layer_name(path, layers.cell))
    between = ".l" if base[-1].isdigit() else ""
    return [w.name(f"{base}{between}{layer}") for layer in range(len(layers.each))]


def numbered(w: Writer, path: str, cell: str) -> str:
    """What one layer is called, where each layer of a stack stands for itself."""
    base = w.layer_name(path, cell)
    return w.numbered(f"{base}.l" if base[-1].isdigit() else base)
