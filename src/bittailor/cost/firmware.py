"""What a program takes on a device: flash and RAM to the byte, code and instructions by a model of the core.

Flash and RAM are those of the firmware image that the C exporter writes. Code and instructions are models, one file per
core in `cores/`, made by `benchmarks/cores.py`: the runtime's functions have their compiled sizes, and the dot products
of every width their instruction counts by number of columns, both measured; the rest is linear in what the generated C
holds (so much per loop, per operator by kind and word, per load, per literal), fitted to compiled sizes and emulator
counts of random networks. Each file says how far it is off on networks that were not in the fit. Emulators count
instructions, not cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from bittailor.common.files import formed, load_json, reading, save_json
from bittailor.common.records import LARGEST, shown
from bittailor.common.registry import Table
from bittailor.compile.image import Image, image_of
from bittailor.compile.layouts import CORES, DEFAULT_CORE
from bittailor.core.program import Program
from bittailor.cost.listing import Listing, Work, describe
from bittailor.errors import BittailorError

CORE_KIND, CORE_VERSION = "core model", 1
PERIOD = 32
"""Columns after which the patterns of kernels begin anew."""
ERRORS = ("code", "instructions")
"""What a model states its errors of."""
CORES_FOLDER = Path(__file__).resolve().parent / "cores"

T = TypeVar("T")
Amounts = Mapping[str, float]
"""Feature -> bytes or instructions of one."""


@dataclass(frozen=True)
class Error:
    """How far a model is off on networks that were not in its fit, in percent of the measured value."""

    median: float
    most: float
    networks: int

    def __str__(self) -> str:
        return f"±{self.median:.1f} %, at most {self.most:.0f} %"


@dataclass(frozen=True)
class KernelCost:
    """Instructions of a dot product of matrix rows, mean over the rows.

    few   for 1, 2, … columns
    more  for every column beyond, in steps of `PERIOD` columns, within which kernels have their patterns: added to what
          the last of `few` takes that stands at the same place in the pattern
    """

    few: tuple[float, ...]
    more: float

    def __call__(self, columns: int) -> float:
        beyond = max(0, -(-(columns - len(self.few)) // PERIOD)) * PERIOD
        return self.few[columns - beyond - 1] + beyond * self.more


@dataclass(frozen=True)
class _KernelForm:
    """A kernel in a core's file: `few` as one text."""

    few: str
    more: float

    def cost(self, where: str) -> KernelCost:
        """BittailorError, which names `where`, unless its text is of numbers."""
        try:
            few = tuple(map(float, self.few.split()))
        except ValueError:
            few = ()
        if len(few) < PERIOD or not all(0 <= n < LARGEST for n in few):
            raise BittailorError(f"{where}.few is {shown(self.few)}; expected numbers, 0 or more")
        return KernelCost(few, self.more)


@dataclass(frozen=True)
class _CoreForm:
    """A core's file."""

    title: str
    compiler: str
    errors: Mapping[str, Error]
    code: Mapping[str, float]
    instructions: Mapping[str, float]
    functions: Mapping[str, Mapping[str, int]]
    kernels: Mapping[str, _KernelForm]


@dataclass(frozen=True)
class Core:
    """The cost model of one core.

    title         for people
    compiler      what its sizes were compiled with: version and flags
    functions     function of the runtime -> its sections with their bytes, those of what it calls included
    kernels       instructions of the dot products
    code          bytes per feature
    instructions  instructions per feature
    errors        "code", "instructions" -> on held-out networks
    """

    name: str
    title: str
    compiler: str
    functions: Mapping[str, Mapping[str, int]]
    kernels: Mapping[str, KernelCost]
    code: Amounts
    instructions: Amounts
    errors: Mapping[str, Error]

    @classmethod
    def load(cls, name: str, folder: Path = CORES_FOLDER) -> Core:
        """Read a core's file; FileError if it is damaged."""
        file = folder / f"{name}.json"
        form = formed(file, _CoreForm, load_json(file, CORE_KIND, CORE_VERSION))
        with reading(file):
            kernels = {name: kernel.cost(f"kernels.{name}") for name, kernel in form.kernels.items()}
            for what in ERRORS:
                if what not in form.errors:
                    raise BittailorError(f"errors.{what} is missing")
        return cls(name, form.title, form.compiler, form.functions, kernels, form.code, form.instructions, form.errors)

    def save(self, folder: Path = CORES_FOLDER) -> None:
        """Write its file."""
        body = {
            "title": self.title, "compiler": self.compiler,
            "errors": {what: vars(error) for what, error in self.errors.items()},
            "code": dict(self.code), "instructions": dict(self.instructions),
            "functions": {name: dict(sections) for name, sections in self.functions.items()},
            # one line each: there are 64, of 32 numbers
            "kernels": {name: {"more": kernel.more, "few": " ".join(f"{n:.12g}" for n in kernel.few)}
                        for name, kernel in self.kernels.items()},
        }
        save_json(folder / f"{self.name}.json", CORE_KIND, CORE_VERSION, body)

    def runtime_bytes(self, listing: Listing) -> int:
        """Bytes of the runtime's functions that a program needs, each section once. Exact on Arm; on RISC-V the linker
        shortens jumps by a few bytes according to where things lie."""
        sections: dict[str, int] = {}
        for name in listing.runtime:
            sections |= self._known(self.functions, name)
        return sum(sections.values())

    def code_bytes(self, listing: Listing) -> float:
        """Bytes of machine code: the network's object and the functions of the runtime it needs."""
        return self._sum(self.code, listing.code) + self.runtime_bytes(listing)

    def work(self, work: Work) -> float:
        """Instructions of some work."""
        return self._sum(self.instructions, work.amounts) + self.dots(work)

    def dots(self, work: Work) -> float:
        """Instructions of its dot products."""
        return sum(self._known(self.kernels, name)(columns) * n for (name, columns), n in work.dots.items())

    def _sum(self, coefficients: Amounts, amounts: Mapping[str, int]) -> float:
        return sum(self._known(coefficients, name) * amount for name, amount in amounts.items() if amount)

    def _known(self, table: Mapping[str, T], name: str) -> T:
        try:
            return table[name]
        except KeyError:
            raise BittailorError(f"the cost model of {self.title} knows nothing of {name}: make it anew with "
                                 f"python benchmarks/cores.py --cores {self.name}") from None


@cache
def cores() -> Table[Core]:
    """The cores with a cost model, one file each, the default first."""
    names = sorted((path.stem for path in CORES_FOLDER.glob("*.json")), key=lambda name: (name != DEFAULT_CORE, name))
    return Table("core", {name: Core.load(name) for name in names})


class Costs:
    """What one program takes; each figure computed when it is asked for."""

    def __init__(self, program: Program, steps: int) -> None:
        """`steps` is the longest sequence, which a network with reversed layers must hold."""
        self._program, self._steps = program, steps
        self._images: dict[str, Image] = {}
        self._listings: dict[str, Listing] = {}

    def image(self, core: str = DEFAULT_CORE) -> Image:
        """Constants, state and scratch memory, with the layouts of a core."""
        family = CORES[core].name
        if family not in self._images:
            self._images[family] = image_of(self._program, self._steps, core)
        return self._images[family]

    def listing(self, core: str = DEFAULT_CORE) -> Listing:
        """What its C is made of, with the layouts of a core."""
        family = CORES[core].name
        if family not in self._listings:
            self._listings[family] = describe(self._program, core)
        return self._listings[family]

    def code(self, core: Core) -> int:
        """Bytes of machine code on a core, rounded."""
        return round(core.code_bytes(self.listing(core.name)))

    def instructions(self, core: Core) -> int:
        """Instructions per step on a core, rounded."""
        return round(core.work(self.listing(core.name).step))
