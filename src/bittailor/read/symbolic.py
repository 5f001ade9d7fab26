"""What stands for a tensor while a module is read: sites, and what each axis means.

An axis is a tuple of *atoms*: ("items",), ("steps",), ("features",), and ("layers", "directions") for final
states; several atoms are axes that a reshape has merged, none is an axis of size 1. Transposes, reshapes and
indexing only move atoms, so what they do is known without knowing how many items or steps there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, TypeVar

from bittailor.core.arith import Floats
from bittailor.errors import UnsupportedNetwork

Axis = tuple[str, ...]
Axes = tuple[Axis, ...]

ITEMS: Axis = ("items",)
STEPS: Axis = ("steps",)
FEATURES: Axis = ("features",)

UNROLLED, PROBED_ITEMS = 4, 3
"""How many turns a loop over the steps is traced with, and one over the items."""


class Refusal(UnsupportedNetwork):
    """Why an operation cannot be read; whoever knows its path and name says so around it."""


class WrongLayout(UnsupportedNetwork):
    """A layer is given items and steps the other way round: the input's layout was assumed wrongly."""


@dataclass(frozen=True)
class Dim:
    """A size that only the data knows: that of an axis of these atoms, plus `offset`."""

    atoms: Axis
    offset: int = 0


Size = int | Dim


@dataclass(frozen=True)
class SiteRef:
    """A site, or its `last` or `first` step where `pick` says so (the operator is made when it is needed)."""

    site: str
    pick: str = ""


@dataclass(frozen=True)
class Shaped:
    """Something with axes.

    axes      the meaning of each axis
    features  size of the atom "features"
    fixed     sizes of the atoms "items" and "steps" where the source is written for one number of them
    late      how many of the sequence's first steps it lacks
    """

    axes: Axes
    features: int
    fixed: tuple[tuple[str, int], ...] = field(default=(), kw_only=True)
    late: int = field(default=0, kw_only=True)

    def count(self, atom: str) -> int | None:
        """How many values an atom has; None where only the data knows."""
        sizes = {"features": self.features, **dict(self.fixed)}
        return sizes[atom] - self.late if atom == "steps" and atom in sizes else sizes.get(atom)

    def shape(self) -> tuple[Size, ...]:
        """Size of each axis."""
        return tuple(self.size(axis) for axis in self.axes)

    def size(self, axis: Axis) -> Size:
        """Size of one axis."""
        counts = [count for atom in axis if (count := self.count(atom)) is not None]
        return prod(counts) if len(counts) == len(axis) else Dim(axis, -self.late if axis == STEPS else 0)

    def axis(self, dim: int) -> int:
        """A dimension as 0 .. number of axes - 1."""
        if not isinstance(dim, int) or not -len(self.axes) <= dim < len(self.axes):
            raise Refusal(f"there is no axis {dim} in {self.text()}")
        return dim % len(self.axes)

    def text(self) -> str:
        """The axes for people."""
        return "[" + ", ".join(" * ".join(axis) or "1" for axis in self.axes) + "]"


@dataclass(frozen=True)
class Tensor(Shaped):
    """Real values.

    sites    [layers][directions]; a single one except for final states of a recurrent layer
    softmax  "softmax", "log_softmax" or "argmax" where one was put on top, to be left away at the network's end
    at       which step of its sites it is, inside a loop over the steps; None outside
    """

    sites: tuple[tuple[SiteRef, ...], ...]
    softmax: str = ""
    at: int | None = None

    def count(self, atom: str) -> int | None:
        """How many values an atom has; None where only the data knows."""
        counts = {"layers": len(self.sites), "directions": len(self.sites[0])}
        return counts[atom] if atom in counts else super().count(atom)

    def each(self) -> tuple[SiteRef, ...]:
        """The sites, layer by layer."""
        return tuple(ref for row in self.sites for ref in row)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution that is not yet written: `weight` is [out, in / groups, taps]; `path` where it stands."""

    weight: Floats
    bias: Floats | None
    path: str
    dilation: int
    groups: int

    @property
    def span(self) -> int:
        """Steps from the first to the last tap."""
        return int(self.weight.shape[2] - 1) * self.dilation


@dataclass(frozen=True)
class Framed(Shaped):
    """Values with more steps than the sequence has: padded, or a convolution of what was.

    sites          as of a tensor; of a convolution those of its input
    before, after  steps too many at either end
    """

    sites: tuple[tuple[SiteRef, ...], ...]
    before: int = 0
    after: int = 0
    conv: Convolution | None = None

    def size(self, axis: Axis) -> Size:
        """Size of one axis."""
        return Dim(axis, self.before + self.after - self.late) if axis == STEPS else super().size(axis)


@dataclass(frozen=True)
class StepIndex(Shaped):
    """For every item its length + offset: `lengths` itself, or the index of its last step (offset -1)."""

    offset: int = 0


@dataclass(frozen=True)
class ItemIndex:
    """0 .. items - 1."""


@dataclass(frozen=True)
class PackedSequence:
    """A packed sequence; `tensor` is what pad_packed_sequence(batch_first=True) makes of it."""

    tensor: Tensor


@dataclass(frozen=True)
class Zeros:
    """Zeros of a shape that does not matter: the initial state that a layer has anyway."""


@dataclass(frozen=True)
class Constant:
    """A tensor that the module owns, by its path, or what was computed from such ones alone: `values`."""

    path: str
    values: Any = None


@dataclass(frozen=True)
class Opaque:
    """Something that nothing depends on: a device, a dtype."""

    name: str


def each_of(value: Any) -> Iterator[Any]:
    """What tuples, lists and dictionaries hold, one by one."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from each_of(part)
    else:
        yield value


def replaced(value: Any, by: Callable[[Any], Any]) -> Any:
    """The same with everything that tuples, lists and dictionaries hold replaced."""
    if isinstance(value, Mapping):
        return {name: replaced(part, by) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(replaced(part, by) for part in value) if type(value) in (tuple, list) else tuple(
            replaced(part, by) for part in value)
    return by(value)


A = TypeVar("A", bound=Shaped)


def permute(value: A, order: Sequence[int]) -> A:
    """The axes in another order."""
    places = [value.axis(dim) for dim in order]
    if sorted(places) != list(range(len(value.axes))):
        raise Refusal(f"{tuple(order)} is no order of the axes {value.text()}")
    return replace(value, axes=tuple(value.axes[place] for place in places))


def unsqueeze(value: A, dim: int) -> A:
    """An axis of size 1 more."""
    place = dim if dim >= 0 else dim + len(value.axes) + 1
    if not 0 <= place <= len(value.axes):
        raise Refusal(f"there is no place {dim} for an axis in {value.text()}")
    return featured(replace(value, axes=(*value.axes[:place], (), *value.axes[place:])))


def featured(value: A) -> A:
    """A tensor that had no axis for its one feature: the axis of size 1 that it got is it."""
    if not isinstance(value, Tensor) or value.features > 1 or any("features" in axis for axis in value.axes):
        return value
    places = [i for i, axis in enumerate(value.axes) if axis == ()]
    return value if not places else replace(value, axes=tuple(
        FEATURES if i == places[-1] else axis for i, axis in enumerate(value.axes)))


def squeeze(value: A, dim: int) -> A:
    """One axis of size 1 less; an axis of another size stays."""
    place = value.axis(dim)
    if value.size(value.axes[place]) == 1:
        return replace(value, axes=(*value.axes[:place], *value.axes[place + 1:]))
    if isinstance(value.size(value.axes[place]), Dim):
        raise Refusal(f"squeezing axis {dim} of {value.text()} depends on the data")
    return value


def regroup(value: A, shape: Sequence[Size]) -> A:
    """reshape: the same atoms in the same order, grouped to axes of the given sizes (one may be -1)."""
    atoms = [atom for axis in value.axes for atom in axis]
    refusal = Refusal(f"{value.text()} cannot be brought to the shape {_shape_text(shape)} without taking an "
                      "axis apart or mixing steps, items or features")

    def take(size: Size, end: int) -> Axis:
        """Atoms of this size from the front (end 0) or the back (end -1)."""
        if size == 1 and atoms and value.count(atoms[end]) == 1:
            return (atoms.pop(end),)
        taken: list[str] = []
        while value.size(tuple(taken)) != size:
            if not atoms or len(taken) > 4:
                raise refusal
            taken.insert(len(taken) if end == 0 else 0, atoms.pop(end))
        return tuple(taken)

    sizes = list(shape)
    hole = sizes.index(-1) if -1 in sizes else len(sizes)
    front = [take(size, 0) for size in sizes[:hole]]
    back = [take(size, -1) for size in reversed(sizes[hole + 1:])][::-1]
    if hole < len(sizes):
        front.append(tuple(atoms))
    elif atoms:
        if not front or any(value.count(atom) != 1 for atom in atoms):
            raise refusal
        front[-1] = (*front[-1], *atoms)
    return featured(replace(value, axes=(*front, *back)))


def _shape_text(shape: Sequence[Size]) -> str:
    return "(" + ", ".join(" * ".join(s.atoms) if isinstance(s, Dim) else str(s) for s in shape) + ")"


def choose(value: Tensor, axis: Axis, at: int | slice) -> Tensor:
    """Some of the final states: index or slice an axis of layers, directions or both.

    The axis leaves the value's axes with an index and stays, as "layers", with a slice.
    """
    place = value.axes.index(axis)
    rows = value.sites
    if axis == ("directions",):
        columns = tuple(zip(*rows, strict=True))
        chosen = _take(columns, at)
        rows = tuple(zip(*chosen, strict=True))
        left: Axes = () if isinstance(at, int) else (axis,)
    else:
        if axis == ("layers", "directions"):
            rows = tuple((ref,) for ref in value.each())
        rows = _take(rows, at)
        left = () if isinstance(at, int) else (("layers",),)
    return replace(value, sites=rows, axes=(*value.axes[:place], *left, *value.axes[place + 1:]))


def _take(rows: tuple[tuple[SiteRef, ...], ...], at: int | slice) -> tuple[tuple[SiteRef, ...], ...]:
    if isinstance(at, int):
        if not -len(rows) <= at < len(rows):
            raise Refusal(f"index {at} of {len(rows)} final state(s)")
        return (rows[at],)
    if not rows[at]:
        raise Refusal(f"an empty choice of {len(rows)} final states")
    return rows[at]
