"""Blocks of rows: which matrices of a program lie in a core's layouts; which vectors are made ready for them, and when.

A vector is made ready before the first loop of a pass that reads it whole, and stays so until the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bittailor.common.cached import cached_property
from bittailor.compile.bound import BoundInstruction, BoundMatrix, bind_instructions
from bittailor.compile.layouts import Laid, Part, Preparation, laid_out
from bittailor.compile.memory import Interval
from bittailor.compile.order import Order
from bittailor.compile.segments import Instruction, Phase
from bittailor.core.arith import signed_bits
from bittailor.core.ops.forms import Packed
from bittailor.core.program import Program


@dataclass(frozen=True)
class Ready:
    """Columns start..stop of a site, made ready for kernels; in use from phase to phase."""

    site: str
    start: int
    stop: int
    preparation: Preparation
    span: Interval

    @property
    def name(self) -> str:
        """Of its vector in scratch memory; no site is called so."""
        return f"{self.site} ready {self.preparation.function} {self.start} {self.span[0]}"

    @property
    def size(self) -> int:
        """Elements of that vector."""
        return self.preparation.size(self.stop - self.start)


@dataclass(frozen=True, eq=False)
class Blocks:
    """What lies in blocks.

    laid   operator's output site -> how its matrix lies; not those that are `bits`
    bound  operator's output site -> its bound instruction, with what kernels leave out in its offsets
    ready  the vectors that are made ready
    """

    laid: Mapping[str, Laid]
    bound: Mapping[str, BoundMatrix]
    ready: tuple[Ready, ...]

    def find(self, phase: int, site: str, part: Part, preparation: Preparation) -> Ready:
        """The vector that a matrix reads in a phase."""
        return next(r for r in self.ready if (r.site, r.start, r.stop) == (site, part.start, part.stop)
                    and r.preparation is preparation and r.span[0] <= phase <= r.span[1])

    @cached_property
    def begins(self) -> Mapping[int, list[Ready]]:
        """Phase -> what is made ready before it."""
        found: dict[int, list[Ready]] = {}
        for ready in self.ready:
            found.setdefault(ready.span[0], []).append(ready)
        return found


def blocks_of(program: Program, order: Order, core: str) -> Blocks:
    """The blocks of a program for a core."""
    laid: dict[str, Laid] = {}
    bound: dict[str, BoundMatrix] = {}
    for phase in order.phases:
        for ins in phase.body:
            if ins.matrix is not None:
                one = bind_instructions(program.constants[ins.output], [program.formats[ins.matrix]])[0]
                found = laid_out(one, core) if type(one) is BoundMatrix else None
                if found is not None and isinstance(one, BoundMatrix):
                    laid[ins.output], bound[ins.output] = found, _folded(one, found)
    parts = (*(run.phases for run in order.passes), order.head)
    return Blocks(laid, bound, tuple(ready for phases in parts for ready in _ready(laid, phases)))


def bound_of(program: Program, ins: Instruction, blocks: Blocks) -> BoundInstruction:
    """The bound instruction of an instruction, as it is computed."""
    known = blocks.bound.get(ins.output)
    if known is not None:
        return known
    return bind_instructions(program.constants[ins.output], [program.formats[n] for n in ins.node.inputs])[ins.part]


def _folded(bound: BoundMatrix, laid: Laid) -> BoundMatrix:
    """With what the kernel leaves out in the offsets."""
    if laid.constants is None:
        return bound
    values = laid.constants if bound.offsets is None else bound.offsets.values + laid.constants
    return replace(bound, offsets=Packed(values, signed_bits(values)) if values.any() else None)


def _ready(laid: Mapping[str, Laid], phases: tuple[Phase, ...]) -> Iterator[Ready]:
    """The vectors that the phases of a pass want."""
    wanted: dict[tuple[str, int, int, Preparation], list[int]] = {}
    for phase in phases:
        for ins in phase.body:
            here = laid.get(ins.output)
            if here is not None and ins.whole is not None and here.layout.preparation is not None:
                for part in here.parts:
                    key = ins.whole, part.start, part.stop, here.layout.preparation
                    wanted.setdefault(key, []).append(phase.number)
    for (site, start, stop, preparation), numbers in wanted.items():
        yield Ready(site, start, stop, preparation, (numbers[0], numbers[-1]))
