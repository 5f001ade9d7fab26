"""from_arrays: a network from layers given as arrays, in torch's convention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bittailor.common.data import real_numbers
from bittailor.core.arith import Floats
from bittailor.core.network import Network
from bittailor.errors import DataError, UnsupportedNetwork
from bittailor.read.arithmetic import activation
from bittailor.read.finishing import pruned
from bittailor.read.folding import fold
from bittailor.read.functions import FUNCTIONS
from bittailor.read.recurrence import Layer, Layers, numbered, recurrent
from bittailor.read.shapes import SHAPES
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, SiteRef, Tensor
from bittailor.read.writer import Writer

_GATES = {"rnn": 1, "gru": 3, "gru_cho": 3, "lstm": 4}
_ARRAYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
START = "start of "
_STEPS = ("last", "first", "mean", "final")
_FORMS = ("('gru' | 'gru_cho' | 'lstm', weight_ih, weight_hh, bias_ih, bias_hh), the same with a tuple of arrays for "
          "each direction, at the end {'h': [units]} for what states start at, ('linear', weight, bias), or a name: "
          + ", ".join([*_STEPS, *FUNCTIONS]))


def read(layers: Sequence[Any]) -> Network:
    """See `bittailor.read.from_arrays`."""
    if isinstance(layers, str | Mapping) or not isinstance(layers, Sequence) or not layers:
        raise UnsupportedNetwork(f"expected a list of layers, each {_FORMS}")
    forms = [_form(layer, i) for i, layer in enumerate(layers)]
    first = next((arrays[0]["weight_ih" if kind in _GATES else "weight"] for kind, arrays in forms if arrays), None)
    if first is None:
        raise UnsupportedNetwork("no layer has arrays, so nothing says how wide the input is")
    w = Writer({})
    features = first.shape[1]
    value = Tensor((ITEMS, STEPS, FEATURES), features, ((SiteRef(w.builder.input("input", features)),),))
    states: Any = None
    for i, (kind, arrays) in enumerate(forms):
        try:
            if kind in _GATES:
                value, found = recurrent(w, kind, _layers(kind, arrays), value, None, [numbered(w, kind, kind)])
                states = found[0] if isinstance(found, tuple) else found
            else:
                value = _other(w, kind, arrays, value, states)
                states = None
        except UnsupportedNetwork as error:
            raise UnsupportedNetwork(f"cannot read layer {i} ({kind}): {error}") from None
    return Network(*fold(*pruned(w.builder.graph(w.site(value)), w.parameters)))


def _form(layer: Any, i: int) -> tuple[str, list[dict[str, Floats]]]:
    """The kind of a layer, and its arrays by name, a table for each direction."""
    kind, *given = (layer,) if isinstance(layer, str) else layer if isinstance(layer, list | tuple) else (None,)
    if isinstance(kind, str) and not given and (kind in _STEPS or kind in FUNCTIONS):
        return kind, []
    if kind == "linear" and 1 <= len(given) <= 2:
        return kind, [_named(("weight", "bias"), given, f"layer {i} (linear)")]
    if kind in _GATES and given:
        directions = given if isinstance(given[0], list | tuple) and not _is_numbers(given[0]) else [given]
        if len(directions) <= 2 and all(isinstance(each, list | tuple) and 2 <= len(each) <= 6 for each in directions):
            return kind, [_direction(each, f"layer {i} ({kind})") for each in directions]
    raise UnsupportedNetwork(f"cannot read layer {i}: expected {_FORMS}")


def _direction(given: Sequence[Any], what: str) -> dict[str, Floats]:
    """The arrays of one direction; what its states start at as START and the state."""
    starts = given[-1] if isinstance(given[-1], Mapping) else {}
    found = _named(_ARRAYS, given[:-1] if isinstance(given[-1], Mapping) else given, what)
    try:
        return found | {f"{START}{state}": real_numbers(values, f"the start of {state}")
                        for state, values in starts.items()}
    except DataError as error:
        raise UnsupportedNetwork(f"{what}: {error}") from None


def _is_numbers(value: Any) -> bool:
    """Whether nested lists are one array of numbers."""
    return bool(value) and isinstance(value[0], list | tuple) and not hasattr(value[0], "shape") and all(
        isinstance(number, int | float) for number in value[0])


def _named(names: Sequence[str], given: Sequence[Any], what: str) -> dict[str, Floats]:
    held = {name: value for name, value in zip(names, given, strict=False) if value is not None}
    try:
        found = {name: real_numbers(value, name) for name, value in held.items()}
    except DataError as error:
        raise UnsupportedNetwork(f"{what}: {error}") from None
    for name, value in found.items():
        axes = "[rows, columns]" if name.startswith("weight") else "[rows]"
        if value.ndim != 1 + axes.count(",") or 0 in value.shape:
            raise UnsupportedNetwork(f"{what}: {name} has shape {value.shape}; expected {axes}")
    return found


def _layers(kind: str, arrays: Sequence[dict[str, Floats]]) -> Layers:
    """One recurrent layer, its shapes checked."""
    starts = tuple({name.removeprefix(START): values for name, values in each.items() if name.startswith(START)}
                   for each in arrays)
    arrays = [{name: values for name, values in each.items() if not name.startswith(START)} for each in arrays]
    gates, first = _GATES[kind], arrays[0]
    if "weight_ih" not in first or "weight_hh" not in first:
        raise UnsupportedNetwork("it needs weight_ih and weight_hh")
    rows, width = first["weight_ih"].shape
    hidden = rows // gates
    out = first["weight_hr"].shape[0] if "weight_hr" in first else hidden
    shapes = {"weight_ih": (gates * hidden, width), "weight_hh": (gates * hidden, out), "bias_ih": (gates * hidden,),
              "bias_hh": (gates * hidden,), "weight_hr": (out, hidden)}
    for each in arrays:
        if each.keys() != first.keys():
            raise UnsupportedNetwork("its two directions have different arrays")
        for name, value in each.items():
            if value.shape != shapes[name]:
                raise UnsupportedNetwork(f"{name} has shape {value.shape}; expected {shapes[name]} for {hidden} units: "
                                         "torch's convention, gates stacked along the first axis")
    if kind != "lstm" and "weight_hr" in first:
        raise UnsupportedNetwork("only an lstm has a projection, weight_hr")
    if kind == "gru_cho" and "bias_hh" in first:
        raise UnsupportedNetwork("a gru_cho has one bias, since more only ever occur as a sum: give bias_ih + bias_hh")
    if kind != "gru_cho" and "bias_ih" in first and "bias_hh" not in first:
        arrays = [{**each, "bias_hh": np.zeros_like(each["bias_ih"])} for each in arrays]
    options = {"project": out} if "weight_hr" in first else {}
    states = ("h", "c") if kind == "lstm" else ("h",)
    for each in starts:
        for state, values in each.items():
            size = {"h": out}.get(state, hidden)
            if state not in states or values.shape != (size,):
                raise UnsupportedNetwork(f"the start of {state} has shape {values.shape}; a {kind} has "
                                         f"{' and '.join(states)}, here of shape ({size},)")
    return Layers(kind, kind, width, hidden, True, states, False, (Layer(tuple(arrays), None, options, False, starts),))


def _other(w: Writer, kind: str, arrays: Sequence[dict[str, Floats]], value: Tensor, states: Any) -> Tensor:
    """A layer without a state."""
    if kind == "linear":
        return w.linear(value, arrays[0]["weight"], arrays[0].get("bias"), kind)
    if kind in FUNCTIONS:
        function: Tensor = activation(kind, w, value)
        return function
    if STEPS not in value.axes:
        raise UnsupportedNetwork("there are no steps left to choose from")
    if kind == "final":
        if not isinstance(states, Tensor):
            raise UnsupportedNetwork("it is about the layer in front of it, which is not recurrent")
        refs = [replace(states, axes=(ITEMS, FEATURES), sites=((ref,),)) for ref in states.each()]
        ref = refs[0].each()[0] if len(refs) == 1 else w.joined(refs)
        return replace(refs[0], sites=((ref,),), features=len(refs) * refs[0].features)
    if kind == "mean":
        found: Tensor = SHAPES["mean"](w, value, 1)
    else:
        found = SHAPES["select"](w, value, 1, -1 if kind == "last" else 0)
    return found
