"""What an exporter is: it writes a program as files for somewhere else. All that is shipped goes through one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bittailor.common.records import LARGEST_SEED, whole
from bittailor.compile.layouts import DEFAULT_CORE
from bittailor.core.arith import Ints, Lookup, Rescale
from bittailor.core.ops import Packed
from bittailor.core.program import Program
from bittailor.core.rsqrt import Gain
from bittailor.errors import BittailorError
from bittailor.export.folder import ExportForm

PROGRAM_FILE = "program.safetensors"
"""In every exported folder: the program, as bittailor runs it."""


MOST_ITEMS, MOST_STEPS = 1 << 16, 1 << 20
"""Of a self-test or a verification; what is exported is proved by a handful."""


def check_amounts(items: int, seed: int, steps: int | None = None) -> None:
    """BittailorError for a number of items, a seed or a longest sequence that cannot be meant."""
    whole(items, "items", 1, MOST_ITEMS)
    whole(seed, "seed", 0, LARGEST_SEED)
    if steps is not None:
        whole(steps, "steps", 1, MOST_STEPS)


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs that an export's self-test runs.

    q        input integers [items, steps, features]
    lengths  [items], 1..steps
    words    where they come from, one sentence
    """

    q: Ints
    lengths: NDArray[np.int64]
    words: str


@dataclass(frozen=True)
class ExportSettings:
    """What an export is asked for; an exporter ignores what does not concern it.

    prefix  every public name of exported code begins with it
    steps   the longest sequence, for code that must hold one
    core    whose layouts weights have, a name in `compile.layouts.CORES`
    about   what the network is, one line
    facts   more about it, for its README: name -> text
    """

    prefix: str = "model"
    steps: int | None = None
    core: str = DEFAULT_CORE
    about: str = "an integer recurrent network"
    facts: Mapping[str, str] = field(default_factory=dict)


class Exporter(ABC):
    """Writes programs. Stateless; one instance stands in `EXPORTERS`."""

    name: str
    title: str
    form: type[ExportForm]
    """What its export.json says."""

    @abstractmethod
    def check(self, program: Program, settings: ExportSettings) -> None:
        """Raise a BittailorError for what cannot be exported, before anything is written."""

    @abstractmethod
    def write(self, program: Program, folder: Path, settings: ExportSettings, samples: Samples) -> dict[str, Any]:
        """Write the files into an empty folder; returns what `export.json` shall say beside its checksums."""

    @abstractmethod
    def summary(self, folder: Path, facts: Mapping[str, Any]) -> str:
        """A few lines for people: what was written, and what to do next; `facts` are those of `export.json`."""


def check_program(program: Program) -> None:
    """BittailorError unless the formats of a program fit its constants, as binding makes them."""
    formats = program.formats
    for node in program.graph.nodes():
        out = formats[node.output]
        if node.operator.tied and formats[node.inputs[0]] != out:
            _unfit(node.output, "it has another format than what it copies")
        for c in program.constants[node.output].parts().values():
            if isinstance(c, Packed):
                continue
            if c.lo < out.qmin or c.hi > out.qmax:
                _unfit(node.output, f"its operator gives {c.lo}..{c.hi}, "
                                    f"but {out.bits} bits hold {out.qmin}..{out.qmax}")
            if isinstance(c, Lookup) and c.qmin != formats[node.inputs[0]].qmin:
                _unfit(node.output, f"its table begins at {c.qmin}, but its input at {formats[node.inputs[0]].qmin}")


def _unfit(site: str, why: str) -> NoReturn:
    raise BittailorError(f"the plan does not fit the program at {site}: {why}; bind the plan again")


def fingerprint(program: Program) -> str:
    """SHA-256 of a program's graph, formats and integers, 16 hexadecimal digits."""
    import json

    digest = hashlib.sha256(json.dumps(program.graph.to_json(), sort_keys=True).encode())
    digest.update(json.dumps({n: f.to_json() for n, f in program.formats.items()}, sort_keys=True).encode())
    for owner in sorted(program.constants):
        for role, c in sorted(program.constants[owner].parts().items()):
            digest.update(f"{owner} {role}".encode())
            if isinstance(c, Rescale):
                digest.update(f"{c.shift} {c.offset} {c.wide} {c.lo} {c.hi}".encode())
                arrays = list(c.multipliers)
            elif isinstance(c, Lookup):
                digest.update(f"{c.qmin} {c.step} {c.guard} {c.lo} {c.hi}".encode())
                arrays = [c.entries]
            elif isinstance(c, Gain):
                digest.update(f"{c.multiplier} {c.shift} {c.epsilon} {c.lo} {c.hi} {c.zero}".encode())
                arrays = []
            else:
                digest.update(str(c.bits).encode())
                arrays = [c.values]
            for array in arrays:
                digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array, "<i8").tobytes())
    return digest.hexdigest()[:16]
