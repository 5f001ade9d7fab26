"""The firmware image of a program: every constant array, every byte of state and scratch, before any C is written.

The C text is made from this description, so its sizes are the linker's: constants are one `struct` with the widest
members first (nothing inside is padded; its end may be, and is counted), and so are state and scratch. It costs about
a tenth of a millisecond for a GRU, so that a search can ask for every candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bittailor.common.cached import cached_property
from bittailor.compile.blocks import Blocks, Ready, blocks_of
from bittailor.compile.layouts import DEFAULT_CORE, Laid
from bittailor.compile.liveness import Liveness, liveness_of
from bittailor.compile.memory import first_fit
from bittailor.compile.offsets import stored_offsets
from bittailor.core.arith import Ints
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.errors import BittailorError

SIZES = {"int32_t": 4, "uint32_t": 4, "uint16_t": 2, "int16_t": 2, "int8_t": 1, "uint8_t": 1}
"""Bytes of the C types in use; each is aligned to its size."""
ITEMS = ("weights", "offsets", "multipliers", "tables", "starts", "padding")
COUNTER = "steps"
SUMS = "int32_t"
"""The sum of a mean or sum: 65,535 steps of at most 2**15 each."""


@dataclass(frozen=True, eq=False)
class Array:
    """A constant array in flash.

    owners  (operator's output site, role) of everything that uses it; identical arrays are one. The role is the item;
            of a matrix in blocks "weights 0", "weights 1" … for the parts of its columns, "weights" for rows left over
    item    weights, offsets, multipliers, tables or starts (of states)
    values  the integers, packed at `bits`; words of a layout as they are
    layout  of a matrix in blocks; empty: no layout but `bits`
    """

    owners: tuple[tuple[str, str], ...]
    item: str
    ctype: str
    values: Ints
    bits: int
    layout: str = ""

    @property
    def count(self) -> int:
        """Elements of the C array."""
        return self.nbytes // SIZES[self.ctype]

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return (self.values.size * self.bits + 7) // 8


@dataclass(frozen=True)
class Vector:
    """A vector in RAM: a site's values, a state, sums over steps, or (`steps` > 0) a whole sequence."""

    site: str
    ctype: str
    features: int
    steps: int = 0

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return SIZES[self.ctype] * self.features * max(self.steps, 1)


@dataclass(frozen=True)
class Slot:
    """A member of the scratch structure: vectors that are never in use at the same time."""

    vectors: tuple[Vector, ...]

    @property
    def align(self) -> int:
        """Of its widest vector."""
        return max(SIZES[v.ctype] for v in self.vectors)

    @property
    def nbytes(self) -> int:
        """As a C union."""
        return _round(max(v.nbytes for v in self.vectors), self.align)


@dataclass(frozen=True)
class Image:
    """What a network takes on a device, to the byte.

    arrays   constants, in the order of the structure that holds them
    state    members of the state, in order
    scratch  members of the scratch memory, in order
    frame    bytes of one input frame and one output, which belong to the caller
    blocks   the matrices that lie in blocks of rows
    """

    arrays: tuple[Array, ...]
    state: tuple[Vector, ...]
    scratch: tuple[Slot, ...]
    frame: int
    blocks: Blocks

    @cached_property
    def items(self) -> Mapping[str, int]:
        """Flash by item; `padding` is the end of the structure."""
        found = dict.fromkeys(ITEMS, 0)
        for array in self.arrays:
            found[array.item] += array.nbytes
        total = sum(found.values())
        found["padding"] = _round(total, max((SIZES[a.ctype] for a in self.arrays), default=1)) - total
        return found

    @property
    def flash(self) -> int:
        """Bytes of constants: the read-only data of the network's object file."""
        return sum(self.items.values())

    @property
    def state_bytes(self) -> int:
        """sizeof of the state."""
        return max(1, _round(sum(v.nbytes for v in self.state), max((SIZES[v.ctype] for v in self.state), default=1)))

    @property
    def scratch_bytes(self) -> int:
        """sizeof of the scratch memory."""
        return max(1, _round(sum(s.nbytes for s in self.scratch), max((s.align for s in self.scratch), default=1)))

    @property
    def ram(self) -> int:
        """State and scratch. Several networks can share one scratch, but not their states."""
        return self.state_bytes + self.scratch_bytes

    @property
    def peak(self) -> int:
        """State, scratch, an input frame and an output; the stack is not in it."""
        return self.ram + self.frame


FIGURES: Mapping[str, Callable[[Image], int]] = {
    "flash": lambda image: image.flash,
    "ram": lambda image: image.ram,
}
"""Figures of an image by name, in bytes."""


def _round(n: int, to: int) -> int:
    return -(-n // to) * to


def ctype_of(fmt: QFormat) -> str:
    """The C type of a vector of this format."""
    return f"{fmt.storage}_t"


def position_of(window: str) -> str:
    """What the place of the oldest frame of a window's ring is called, as a site is."""
    return f"{window}.at"


def image_of(program: Program, steps: int | None = None, core: str = DEFAULT_CORE) -> Image:
    """Describe what a program takes on a device.

    steps  the longest sequence; needed by networks with reversed layers, which cannot stream
    core   whose layouts the matrices have, a name in `layouts.CORES`
    Raises BittailorError where it is needed and missing, NotLowered for what phases have no form for.
    """
    live, formats, sites = liveness_of(program.graph), program.formats, program.graph.sites
    order = live.order
    if not order.streaming and steps is None and live.sequences:
        raise BittailorError("this network reads its sequence in both directions, so its memory depends on the "
                             "longest one: give the number of steps (--steps)")
    if not order.streaming and order.sums and steps is not None and steps > MEAN_MOST_STEPS:
        raise BittailorError(f"a mean or sum over {steps} steps; at most {MEAN_MOST_STEPS} are proved")
    state = [Vector(update, ctype_of(formats[update]), sites[update].features) for update in order.states]
    state += [Vector(site, SUMS, sites[site].features) for site in order.sums]
    state += [Vector(site, ctype_of(formats[site]), sites[site].features) for site in order.kept]
    for site, window in order.windows.items():
        if not window.of.ahead:
            state.append(Vector(site, ctype_of(formats[site]), window.of.span * sites[window.source].features))
            state.append(Vector(position_of(site), "uint16_t", 1))
    if order.counts_steps:
        state.append(Vector(COUNTER, "uint16_t", 1))
    frame = sum(SIZES[ctype_of(formats[site])] * sites[site].features for site in (order.input, order.output))
    blocks = blocks_of(program, order, core)
    return Image(_merged(_arrays(program, blocks)), tuple(sorted(state, key=lambda v: -SIZES[v.ctype])),
                 _packed(live, formats, steps or 0, blocks.ready), frame, blocks)


def _arrays(program: Program, blocks: Blocks) -> Iterator[Array]:
    """Every array, owner by owner."""
    for s in program.stored():
        laid = blocks.laid.get(s.owner)
        if laid is not None and s.item == "weights":
            yield from _laid_arrays(s.owner, laid, s.values, s.bits)
            offsets = blocks.bound[s.owner].offsets
            if offsets is not None:
                yield _offsets_array(s.owner, offsets.values)
        elif s.item != "offsets":
            whole = f"int{s.bits}_t"
            ctype = {"multipliers": whole, "tables": whole, "starts": whole}.get(s.item, "uint8_t")
            yield Array(((s.owner, s.item),), s.item, ctype, s.values.ravel(), s.bits)
        elif laid is None:
            yield _offsets_array(s.owner, s.values)


def _offsets_array(owner: str, values: Ints) -> Array:
    stored = stored_offsets(values)
    return Array(((owner, "offsets"),), "offsets", stored.ctype, stored.values, stored.bits)


def _laid_arrays(owner: str, laid: Laid, W: Ints, bits: int) -> Iterator[Array]:
    """A matrix in blocks of rows, and the rows left over."""
    for i, part in enumerate(laid.parts):
        yield Array(((owner, f"weights {i}"),), "weights", laid.layout.ctype, part.words, part.words.itemsize * 8,
                    laid.layout.name)
    if laid.rows < len(W):
        yield Array(((owner, "weights"),), "weights", "uint8_t", W[laid.rows:].ravel(), bits)


def _merged(arrays: Iterable[Array]) -> tuple[Array, ...]:
    """The arrays, identical ones once, the most aligned first."""
    found: list[Array] = []
    places: dict[tuple[str, int, int, str], list[int]] = {}
    for array in arrays:
        alike = places.setdefault((array.ctype, array.bits, array.values.size, array.layout), [])
        for i in alike:
            other = found[i].values
            if array.values[0] == other[0] and np.array_equal(array.values, other):
                found[i] = replace(found[i], owners=found[i].owners + array.owners)
                break
        else:
            alike.append(len(found))
            found.append(array)
    return tuple(sorted(found, key=lambda a: -SIZES[a.ctype]))


def _packed(
    live: Liveness, formats: Mapping[str, QFormat], steps: int, ready: Sequence[Ready]
) -> tuple[Slot, ...]:
    """Scratch memory: the largest vectors first, each into a slot that is free while it is in use."""
    sites = live.order.graph.sites
    used = [(Vector(s, ctype_of(formats[s]), sites[s].features), t) for s, t in live.vectors.items()]
    used += [(Vector(s, ctype_of(formats[s]), sites[s].features, steps), t) for s, t in live.sequences.items()]
    used += [(Vector(r.name, r.preparation.ctype, r.size), r.span) for r in ready]
    used.sort(key=lambda item: -item[0].nbytes)
    vectors = [vector for vector, _ in used]

    def aligned(value: int, members: Sequence[int]) -> bool:
        return max(SIZES[vectors[i].ctype] for i in members) >= SIZES[vectors[value].ctype]

    slots = (Slot(tuple(vectors[i] for i in slot)) for slot in first_fit([span for _, span in used], aligned))
    return tuple(sorted(slots, key=lambda s: -s.align))
