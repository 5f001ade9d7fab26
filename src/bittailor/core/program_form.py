"""The form of a program's file: its JSON part, and which arrays stand beside it.

What is read is made into parts here, each of the type, size and width that its numbers say; whether they are those that
their place in the graph asks for is `core.checks`' to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.files import ArrayForm, check_arrays
from bittailor.common.records import make, plain, shown, whole
from bittailor.core.arith import Lookup, Rescale, pack, unpack
from bittailor.core.checks import MOST_VALUES
from bittailor.core.graph import Graph
from bittailor.core.ops import Constants, Packed
from bittailor.core.ops.forms import Part
from bittailor.core.qformat import QFormat
from bittailor.core.rsqrt import Gain
from bittailor.errors import BittailorError

MOST_PACKED_BITS = 63
"""Of weights and offsets in a file; what an operator allows is checked with its place."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ProgramForm:
    """The JSON part of a program's file; `constants` is owner -> role -> the numbers of a part."""

    graph: Mapping[str, Any]
    formats: Mapping[str, QFormat]
    constants: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class PackedForm:
    """Of a `Packed`: its width and shape."""

    bits: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LookupForm:
    """Of a `Lookup`."""

    qmin: int
    step: int
    guard: int
    lo: int
    hi: int


@dataclass(frozen=True)
class RescaleForm:
    """Of a `Rescale`, with the number of its multipliers."""

    shift: int
    offset: int
    wide: bool
    lo: int
    hi: int
    operands: int


def dismantled(part: Part) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The numbers of a part, and its arrays by name."""
    if isinstance(part, Packed):
        return plain(PackedForm(part.bits, part.values.shape)), {"packed": pack(part.values, part.bits)}
    if isinstance(part, Gain):
        return plain(part), {}
    if isinstance(part, Lookup):
        return plain(LookupForm(part.qmin, part.step, part.guard, part.lo, part.hi)), {
            "entries": part.entries.astype(np.int32)}
    return plain(RescaleForm(part.shift, part.offset, part.wide, part.lo, part.hi, len(part.multipliers))), {
        f"m{i}": m.astype(np.int32) for i, m in enumerate(part.multipliers)}


def restored(graph: Graph, form: ProgramForm, tensors: Arrays) -> dict[str, Constants]:
    """Owner -> its constants; BittailorError for parts that are not of its operator, or lack their arrays."""
    ops = {node.output: node.operator for node in graph.nodes()}
    if form.constants.keys() != ops.keys():
        name = min(form.constants.keys() ^ ops.keys())
        raise BittailorError(f"constants.{name} {'is missing' if name in ops else 'is of no operator'}")
    arrays: dict[tuple[str, str], dict[str, NDArray[Any]]] = {
        (owner, role): {} for owner, roles in form.constants.items() for role in roles}
    for name, array in tensors.items():
        place, _, last = name.rpartition("/")
        owner, _, role = place.rpartition("/")
        if (owner, role) not in arrays:
            raise BittailorError(f"the array {shown(name)} is of no constant")
        arrays[owner, role][last] = array
    found: dict[str, Constants] = {}
    for owner, roles in form.constants.items():
        parts = {role: _assembled(item, arrays[owner, role], f"constants.{owner}.{role}")
                 for role, item in roles.items()}
        try:
            found[owner] = ops[owner].restore(parts)
        except (KeyError, TypeError) as error:
            raise BittailorError(f"constants.{owner} are not those of '{ops[owner].name}' ({error})") from None
    return found


def _assembled(item: Mapping[str, Any], arrays: Arrays, where: str) -> Part:
    """The inverse of `dismantled`; BittailorError for numbers or arrays that are not of such a part."""
    if "shape" in item:
        packed = make(PackedForm, item, where)
        whole(packed.bits, f"{where}.bits", 1, MOST_PACKED_BITS)
        count = math.prod(whole(n, f"{where}.shape", 0, MOST_VALUES) for n in packed.shape)
        whole(count, f"{where}.shape", 0, MOST_VALUES)
        check_arrays(arrays, {"packed": ArrayForm(np.uint8, ((count * packed.bits + 7) // 8,))})
        return Packed(unpack(arrays["packed"], packed.bits, packed.shape), packed.bits)
    if "epsilon" in item:
        check_arrays(arrays, {})
        return make(Gain, item, where)
    if "step" in item:
        lookup = make(LookupForm, item, where)
        check_arrays(arrays, {"entries": ArrayForm(np.int32, (_length(arrays, "entries"),))})
        return Lookup(arrays["entries"].astype(np.int64), **vars(lookup))
    form = make(RescaleForm, item, where)
    whole(form.operands, f"{where}.operands", 0, len(arrays))
    names = [f"m{i}" for i in range(form.operands)]
    check_arrays(arrays, {name: ArrayForm(np.int32, (_length(arrays, name),), 0) for name in names})
    multipliers = tuple(arrays[name].astype(np.int64) for name in names)
    return Rescale(multipliers, form.shift, form.offset, form.wide, form.lo, form.hi)


def _length(arrays: Arrays, name: str) -> int:
    """Of an array of one axis whose number of values the place decides."""
    return int(np.size(arrays.get(name, ())))
