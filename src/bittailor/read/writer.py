"""Writer: what the operations of a network are written with: names, sites, parameters; refusals say why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bittailor.core.arith import Floats
from bittailor.core.builder import Builder
from bittailor.read.functions import operator_of
from bittailor.read.symbolic import (
    FEATURES,
    STEPS,
    UNROLLED,
    Constant,
    Framed,
    Opaque,
    PackedSequence,
    Refusal,
    SiteRef,
    Tensor,
    WrongLayout,
    Zeros,
)


class Writer:
    """Writes sites, operators and parameters, each when something needs it.

    tensors  path -> parameters and constants of what is read
    path     of the module whose forward is read at the moment
    unrolled  how many turns loops over the steps are traced with; 0 where there are none
    """

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        self.builder = Builder()
        self.parameters: dict[str, Floats] = {}
        self.path = ""
        self._tensors = tensors
        self.unrolled = 0
        self._taken: set[str] = {"input"}
        self._picks: dict[SiteRef, str] = {}
        self._parts: dict[str, tuple[str, ...]] = {}
        self._joins: dict[tuple[str, ...], str] = {}

    def name(self, base: str) -> str:
        """A name that nothing has yet: base, base_1, …"""
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def numbered(self, base: str) -> str:
        """A name that nothing has yet: base0, base1, …"""
        count = 0
        while f"{base}{count}" in self._taken:
            count += 1
        return self.name(f"{base}{count}")

    def layer_name(self, path: str, kind: str) -> str:
        """What to call the layer at a path; a mere number gets its kind added."""
        return f"{path}.{kind}" if path.split(".")[-1].isdigit() else path

    def local_name(self, kind: str) -> str:
        """What to call a function used in the forward of the module at hand."""
        return f"{self.path}.{kind}" if self.path else kind

    def single(self, value: Any) -> Tensor:
        """The value as a tensor of one site; a refusal says what it is instead."""
        if isinstance(value, Tensor):
            found = self.ended_tensor(value)
            if found.softmax:
                raise Refusal(f"it follows a {found.softmax}, which is only read at the end of a network")
            if len(found.each()) > 1:
                raise Refusal(f"it is given {len(found.each())} final states of a layer at once; pick one, "
                              "such as h_n[-1], or join them with torch.cat on the features")
            return found
        if isinstance(value, Framed):
            raise Refusal(f"it is given {value.before + value.after} steps more than the sequence has; cut them off "
                          "behind the convolution: x[..., :-n]")
        if isinstance(value, tuple) and value and isinstance(value[0], Tensor | PackedSequence):
            raise Refusal("it is given the pair (output, final states) of a recurrent layer; take one: "
                          "output, h_n = gru(x)")
        if isinstance(value, PackedSequence):
            raise Refusal("it is given a packed sequence; use pad_packed_sequence first")
        if isinstance(value, Constant):
            raise Refusal(f"'{value.path}' is a tensor of the module; it can be a factor, a divisor or a term")
        if isinstance(value, int | float):
            raise Refusal(f"it is given the number {value:g}; a number can be a factor, a divisor or a term")
        if isinstance(value, Zeros):
            raise Refusal("it is given zeros of the data's size, as a state of a cell of one's own starts with; states "
                          "are those of nn.GRU, nn.LSTM, nn.RNN and their cells")
        if value is None:
            raise Refusal("it is given None: arguments of forward other than the first are at their default "
                          "or None")
        if isinstance(value, Opaque):
            raise Refusal(f"it is given {value.name}, which is no value of the network")
        raise Refusal(f"it is given {type(value).__name__}, not the values of a sequence or a step")

    def ended(self, value: Any) -> Any:
        """A step of a loop, behind it: the last one or the first; anything else as it is."""
        return self.ended_tensor(value) if isinstance(value, Tensor) else value

    def ended_tensor(self, value: Tensor) -> Tensor:
        """The same of a tensor."""
        if value.at is None:
            return value
        if value.at not in (0, UNROLLED - 1):
            raise Refusal("it is given one step of a loop; behind the loop the last and the first can be read")
        pick = "last" if value.at else "first"
        rows = tuple(tuple(replace(ref, pick=pick) for ref in row) for row in value.sites)
        return replace(value, sites=rows, at=None)

    def site(self, value: Any) -> str:
        """The one site of a tensor; makes its last or first step if that is what it stands for."""
        ref = self.single(value).each()[0]
        if not ref.pick:
            return ref.site
        if ref not in self._picks:
            self._picks[ref] = self.builder.op(ref.pick, self.name(ref.pick), ref.site)
        return self._picks[ref]

    def tensor(self, constant: Constant) -> Floats:
        """The values of a tensor that the module owns, or of what was computed from such ones."""
        if constant.values is not None:
            return np.asarray(constant.values)
        if constant.path not in self._tensors:
            raise Refusal(f"'{constant.path}' is not a parameter of the module")
        return self._tensors[constant.path]

    def own(self, path: str) -> dict[str, Floats]:
        """The parameters and buffers of the module at a path, by their own names."""
        inside = f"{path}." if path else ""
        return {name[len(inside):]: values for name, values in self._tensors.items()
                if name.startswith(inside) and "." not in name[len(inside):]}

    def replaced_site(self, x: Tensor, site: str) -> Tensor:
        """A tensor with the axes of x, at another site."""
        return replace(x, sites=((SiteRef(site),),), features=self.builder.features(site))

    def check_features(self, x: Tensor, expected: int, what: str) -> None:
        """Refuse an input of a width that a layer was not made for."""
        if x.features != expected:
            raise Refusal(f"{what}, but its input '{x.each()[0].site}' has {x.features} features")

    def linear(self, source: Any, weight: Floats, bias: Floats | None, path: str) -> Tensor:
        """weight source + bias, at this path."""
        x = self.single(source)
        if x.axes[-1:] != (FEATURES,):
            raise WrongLayout(f"cannot read '{path}' (Linear): it is given {x.text()}; the features must be the last "
                              "axis")
        self.check_features(x, weight.shape[1], f"in_features={weight.shape[1]}")
        p = self.name(self.layer_name(path, "linear"))
        self.parameters |= {f"{p}.W": weight} | ({} if bias is None else {f"{p}.b": bias})
        b = None if bias is None else f"{p}.b"
        out = self.builder.linear(f"{p}.out", self.site(x), f"{p}.W", len(weight), b)
        return replace(x, features=len(weight), sites=((SiteRef(out),),))

    def activation(self, function: str, source: Any, options: Mapping[str, Any], name: str) -> Tensor:
        """A function of `FUNCTIONS` with PyTorch's options; what is not named is at its default."""
        x = self.single(source)
        for option, value in options.items():
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise Refusal(f"{option} is {type(value).__name__}; expected a number")
        op, own = operator_of(function, options)
        return self.replaced_site(x, self.builder.op(op, self.name(name), self.site(x), **own))

    def pointwise(self, op: str, name: str, *sources: Any) -> Tensor:
        """An operator on values with equal axes."""
        values = [self.single(source) for source in sources]
        first = values[0]
        self.check_beginnings(values)
        for other in values[1:]:
            if (other.axes, other.features) != (first.axes, first.features):
                whole = "; a value of the whole sequence cannot meet each step: do it to the data before the network"
                once = (STEPS in first.axes) != (STEPS in other.axes)
                raise Refusal(f"its operands are {first.text()} with {first.features} features and "
                              f"{other.text()} with {other.features}; nothing is broadcast{whole if once else ''}")
        sites = [self.site(value) for value in values]
        return replace(first, sites=((SiteRef(self.builder.op(op, self.name(name), *sites)),),))

    def over_time(self, op: str, name: str, source: Tensor) -> SiteRef:
        """last, first, mean, sum or max of a sequence."""
        if op not in ("last", "first"):
            return SiteRef(self.builder.op(op, self.name(name), self.site(source)))
        return SiteRef(self.site(source), op)

    def softmax(self, source: Any, dim: int | None, kind: str) -> Tensor:
        """Left away at the end of a network, since the largest output stays the largest."""
        x = self.single(source)
        if dim is not None and x.axes[x.axis(dim)] == STEPS:
            raise Refusal("a softmax over the steps is attention, which cannot be read: it needs all steps before the "
                          "first output, an exponential and a division; use the last step, mean or maximum over steps")
        if dim is None or x.axes[x.axis(dim)] != FEATURES:
            raise Refusal(f"dim={dim} of {x.text()} is not the features; a softmax over the features at the end of a "
                          "network can be read")
        return replace(x, softmax=kind)

    def concat(self, sites: Sequence[str], name: str) -> str:
        """Features of several sites side by side; those that stand together already are not joined again."""
        if tuple(sites) in self._joins:
            return self._joins[tuple(sites)]
        out = self._joins[tuple(sites)] = self.builder.op("concat", name, *sites)
        self._parts[out] = tuple(sites)
        return out

    def check_beginnings(self, values: Sequence[Tensor]) -> None:
        """A refusal where sequences lack different numbers of first steps."""
        lacks = sorted({value.late for value in values if STEPS in value.axes})
        if len(lacks) > 1:
            raise Refusal(f"its operands lack {' and '.join(map(str, lacks))} of the sequence's first steps; leave as "
                          f"many away of each, such as x[:, {lacks[1] - lacks[0]}:]")

    def joined(self, values: Sequence[Tensor]) -> SiteRef:
        """The concatenation of tensors of one site each."""
        self.check_beginnings(values)
        return SiteRef(self.concat([self.site(value) for value in values], self.name(self.local_name("concat"))))

    def taken_apart(self, value: Tensor) -> Tensor | None:
        """A layer's directions, or other equal parts that were joined, with an axis of their own; None without them."""
        ref = value.each()[0]
        parts = () if len(value.each()) > 1 or ref.pick else self._parts.get(ref.site, ())
        sizes = {self.builder.features(part) for part in parts}
        if len(sizes) != 1 or FEATURES not in value.axes:
            return None
        sites = (tuple(SiteRef(part) for part in parts),)
        axes = tuple(("directions", *axis) if axis == FEATURES else axis for axis in value.axes)
        return replace(value, axes=axes, sites=sites, features=sizes.pop())

    def part(self, ref: SiteRef, start: int, stop: int) -> SiteRef:
        """Features start .. stop - 1 of a site, where it is a concatenation with an edge there."""
        width = self.builder.features(ref.site)
        if (start, stop) == (0, width):
            return ref
        edge = 0
        for part in self._parts.get(ref.site, ()):
            if (edge, edge + self.builder.features(part)) == (start, stop):
                return replace(ref, site=part)
            edge += self.builder.features(part)
        raise Refusal(f"features {start}..{stop - 1} of '{ref.site}' ({width} features) are no part of its "
                      "own; only the two directions of a layer, or what torch.cat joined, can be taken apart")
