"""Loops over the steps of a sequence, as they are written with nn.GRUCell, nn.LSTMCell and nn.RNNCell.

A trace of such a loop shows it unrolled, over so many steps as the reader says there are. The first turn is read as
what it does to every step; the others must do the same. That it holds for any number of steps is compared at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from bittailor.core.arith import Floats
from bittailor.read.recurrence import Layer, Layers, begun, stacked
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    PROBED_ITEMS,
    STEPS,
    UNROLLED,
    Constant,
    Dim,
    Refusal,
    SiteRef,
    Tensor,
    WrongLayout,
    Zeros,
    each_of,
    replaced,
)
from bittailor.read.writer import Writer

CELLS: dict[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    nn.GRUCell: ("gru", ("h",)), nn.LSTMCell: ("lstm", ("h", "c")), nn.RNNCell: ("rnn", ("h",)),
}
"""PyTorch's cells of one step: the cell, and its states."""


def counted(w: Writer, size: Any) -> int:
    """How often a loop is traced whose number of turns the data know; TypeError for what is no number."""
    if isinstance(size, Dim) and not size.offset and size.atoms in (STEPS, ITEMS):
        w.unrolled = UNROLLED
        return UNROLLED if size.atoms == STEPS else PROBED_ITEMS
    if isinstance(size, int):
        return size
    raise TypeError(f"{type(size).__name__} is no number of turns")


@dataclass
class Loops:
    """What the loops of a trace have done at their first step."""

    w: Writer

    def __post_init__(self) -> None:
        self._done: dict[Any, Any] = {}
        self._cells: dict[Any, tuple[Tensor, ...]] = {}

    def read(self, what: Any, args: Sequence[Any], kwargs: Mapping[str, Any], apply: Callable[..., Any]) -> Any:
        """An operation that is given values of a step.

        what   the operation
        apply  reads it, given arguments that have no step
        """
        parts = [part for part in each_of((args, kwargs)) if isinstance(part, Tensor)]
        turns = {part.at for part in parts}
        if len(turns) > 1:
            return self._gathered(what, args, kwargs, apply)
        (at,) = turns
        key = (what, _key(args), _key(tuple(sorted(kwargs.items()))))
        if at == 0 and key not in self._done:
            self._done[key] = apply(*_at(args, None), **_at(kwargs, None))
        if key in self._done:
            return _at(self._done[key], at)
        return apply(*replaced(args, self.w.ended), **replaced(kwargs, self.w.ended))

    def _gathered(self, what: Any, args: Sequence[Any], kwargs: Mapping[str, Any], apply: Callable[..., Any]) -> Any:
        """torch.stack or torch.cat of one value of every step, in order; anything else has ends of loops to join."""
        first = args[0] if args else None
        name = what[0] if isinstance(what, tuple) else what
        if isinstance(first, tuple | list) and name in ("stack", "cat", "concat") and all(
                isinstance(part, Tensor) and part.at == i for i, part in enumerate(first)):
            if len(first) != UNROLLED or len({replace(part, at=None) for part in first}) > 1:
                raise Refusal("it joins steps of a loop that are not all of them, or were not all computed alike")
            value: Tensor = replace(first[0], at=None)
            dim = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
            size = len(value.axes) + (name == "stack")
            if not isinstance(dim, int) or not -size <= dim < size:
                raise Refusal(f"there is no axis {dim} in {value.text()}")
            place = dim % size
            single = value.axes[place:place + 1] == (FEATURES,) and value.features == 1
            if name != "stack" and value.axes[place] != () and not single:
                raise Refusal("it joins the steps of a loop on the features; use torch.stack")
            return replace(value, axes=(*value.axes[:place], STEPS, *value.axes[place + (name != "stack"):]))
        if any(isinstance(part, Tensor) and part.at is None for part in each_of((args, kwargs))):
            return apply(*replaced(args, self.w.ended), **replaced(kwargs, self.w.ended))
        raise Refusal("it joins different steps of a sequence; what is done in a loop over the steps must be the same "
                      "at every step, and see the step before only through the state of a cell")

    def cell(self, path: str, module: nn.Module, own: Mapping[str, Floats], args: Sequence[Any]) -> Any:
        """A cell at one step of its loop."""
        name, kinds = CELLS[type(module)]
        x, given = args[0], args[1] if len(args) > 1 else None
        if not isinstance(x, Tensor) or x.at is None:
            raise Refusal("its input must be a step of a sequence: x[:, t] in a loop, for t in range(x.size(1))")
        if x.axes != (ITEMS, FEATURES):
            raise WrongLayout(f"cannot read '{path}' ({type(module).__name__}): it takes [items, features] but is "
                              f"given {x.text()}")
        states = given if isinstance(given, tuple | list) else (given,) * len(kinds)
        key = (path, replace(x, at=None))
        if x.at == 0:
            if not all(state is None or isinstance(state, Zeros | Constant) for state in states):
                raise Refusal("its first state must not depend on the data: leave it away, make it with torch.zeros, "
                              "or have it as a parameter or buffer of the module")
            self._cells[key] = self._layer(path, module, name, kinds, own, x, tuple(states))
        else:
            before = tuple(replace(state, at=x.at - 1) for state in self._cells.get(key, ()))
            if tuple(states) != before:
                raise Refusal("its state must be what it gave at the step before, unchanged")
        found = tuple(replace(state, at=x.at) for state in self._cells[key])
        return found if len(found) > 1 else found[0]

    def _layer(
        self, path: str, module: nn.Module, name: str, kinds: tuple[str, ...], own: Mapping[str, Floats], x: Tensor,
        states: tuple[Any, ...],
    ) -> tuple[Tensor, ...]:
        """The cell as a layer over all steps: its states, as sequences."""
        nonlinearity = getattr(module, "nonlinearity", "tanh")
        options = {"activation": nonlinearity} if nonlinearity != "tanh" else {}
        inputs, hidden = own["weight_ih"].shape[1], own["weight_hh"].shape[1]
        self.w.check_features(x, inputs, f"input_size={inputs}")
        layer = Layer((own,), None, options)
        layers = Layers(type(module).__name__, name, inputs, hidden, True, kinds, False, (layer,))
        layers = begun(self.w, layers, states)
        called = self.w.name(self.w.layer_name(path, name))
        written = stacked(self.w, (called,), layers, self.w.site(replace(x, at=None)))
        return tuple(Tensor((ITEMS, FEATURES), hidden, ((SiteRef(rows[0][0].site),),)) for rows in written.states)


def _at(value: Any, at: int | None) -> Any:
    """The same with every tensor of a step moved to another."""
    return replaced(value, lambda part: replace(part, at=at) if isinstance(part, Tensor) else part)


def _key(value: Any) -> Any:
    """Something that is equal for equal arguments, whatever the step."""
    if isinstance(value, tuple | list):
        return tuple(map(_key, value))
    if isinstance(value, Tensor):
        return replace(value, at=None)
    if isinstance(value, Constant):
        return (value.path, id(value.values))
    return repr(value)
