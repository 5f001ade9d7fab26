"""A network as C sees it: names, places and figures of everything that `c_text` writes about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bittailor.compile.image import Image, image_of, position_of
from bittailor.compile.layouts import DEFAULT_CORE
from bittailor.compile.liveness import Liveness, liveness_of
from bittailor.compile.order import Order
from bittailor.core.ops.forms import Copied, Normalised
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.core.program import Program
from bittailor.errors import UnsupportedNetwork
from bittailor.export.c_fixed import Fixed
from bittailor.export.c_names import identifier, identifiers
from bittailor.export.c_ops import missing

ARRAY_WORDS = {"tables": "table", "multipliers": "rows", "starts": "start"}
"""What arrays are called after their operator; weights have a name of their own."""


@dataclass(frozen=True)
class Sums:
    """Where a matrix's sums of a block of rows are: in an array that all blocks of so many rows of a loop share."""

    array: str
    rows: int
    at: int

    @property
    def block(self) -> str:
        """The C expression of the block."""
        return f"{self.array} + {self.at}" if self.at else self.array

    @property
    def row(self) -> str:
        """The C expression of the sum of the loop's row."""
        return f"{self.array}_row[{self.at}]"


@dataclass(frozen=True, eq=False)
class Model:
    """A program with a name.

    steps  the longest sequence, for networks that cannot stream; None where it does not matter
    core   whose layouts the matrices have
    Raises UnsupportedNetwork for operators that exported C has no form for.
    """

    program: Program
    prefix: str
    steps: int | None = None
    core: str = DEFAULT_CORE

    def __post_init__(self) -> None:
        unknown = missing(node.op for node in self.program.graph.nodes())
        if unknown:
            raise UnsupportedNetwork(f"exported C has no form for operator {', '.join(unknown)}; "
                                     "write one in export/c_ops.py")

    @property
    def order(self) -> Order:
        """When."""
        return self.live.order

    @cached_property
    def live(self) -> Liveness:
        """Where, and until when."""
        return liveness_of(self.program.graph)

    @cached_property
    def image(self) -> Image:
        """Bytes."""
        return image_of(self.program, self.steps, self.core)

    @cached_property
    def fixed(self) -> Fixed:
        """The fixed-point formats of the two ends."""
        return Fixed.of(self.program)

    @property
    def macro(self) -> str:
        """The prefix of macros."""
        return self.prefix.upper()

    @property
    def features(self) -> int:
        """Inputs per frame."""
        return self.program.graph.sites[self.order.input].features

    @property
    def outputs(self) -> int:
        """Outputs, per frame or in all."""
        return self.program.graph.sites[self.order.output].features

    @property
    def per_step(self) -> bool:
        """Whether there is an output for every step."""
        return self.program.graph.sites[self.order.output].sequence

    @property
    def late(self) -> int:
        """How many of the first frames give no output."""
        return self.program.graph.late[self.order.output] if self.per_step else self.program.graph.least_steps - 1

    @property
    def limit(self) -> int | None:
        """The longest sequence that `run` takes, if there is one."""
        most = MEAN_MOST_STEPS if self.order.sums else None
        return self.steps if self.live.sequences else most

    # --- names and places ---

    @cached_property
    def names(self) -> dict[str, str]:
        """Site -> C identifier, of its local variable and its member of the state; also of the places in rings."""
        return identifiers([*self.program.graph.sites, *map(position_of, self.order.windows)])

    @cached_property
    def arrays(self) -> list[str]:
        """The members of the structure of constants, in the image's order."""
        used = set[str]()
        return [identifier(self._called(*a.owners[0]), used) for a in self.image.arrays]

    def _called(self, owner: str, role: str) -> str:
        """The name of an array."""
        item, _, part = role.partition(" ")
        if item != "weights":
            return f"{owner}.{ARRAY_WORDS.get(item, item)}"
        name = self.program.graph.producer[owner].params[0]
        if owner not in self.image.blocks.laid:
            return name
        return f"{name}.rest" if not part else name if part == "0" else f"{name}.part{part}"

    @cached_property
    def roms(self) -> dict[tuple[str, str], str]:
        """(operator's output site, item) -> the C expression of its array."""
        return {owner: f"rom.{self.arrays[i]}" for i, a in enumerate(self.image.arrays) for owner in a.owners}

    @cached_property
    def sums(self) -> dict[tuple[str, int], Sums]:
        """(operator's output site, part of its columns) -> where the sums of its blocks of rows are."""
        used, found = set(self.names.values()), dict[tuple[str, int], Sums]()
        for phase in self.order.phases:
            counts = dict[int, tuple[str, int]]()
            for ins in phase.body:
                laid = self.image.blocks.laid.get(ins.output)
                for i in range(0 if laid is None else len(laid.parts)):
                    rows = 1 if laid is None else laid.layout.rows
                    name, at = counts.get(rows) or (identifier(f"rows.{phase.number}", used), 0)
                    found[ins.output, i] = Sums(name, rows, at)
                    counts[rows] = name, at + rows
        return found

    @cached_property
    def norms(self) -> dict[str, str]:
        """Site of a normalised vector -> the variable that holds what its features share."""
        used = {*self.names.values(), *(sums.array for sums in self.sums.values())}
        return {site: identifier(f"{site}.norm", used) for site, constants in self.program.constants.items()
                if isinstance(constants, Normalised)}

    @cached_property
    def members(self) -> dict[tuple[str, bool], str]:
        """(site, whether all its steps) -> the name of its member in scratch memory."""
        used = set[str]()
        return {(v.site, v.steps > 0): identifier(v.site + ".steps" * (v.steps > 0), used)
                for slot in self.image.scratch for v in slot.vectors}

    @cached_property
    def scratch(self) -> dict[tuple[str, bool], str]:
        """(site, whether all its steps) -> the C expression of its vector in scratch memory."""
        return {(v.site, v.steps > 0):
                f"scratch->{f'share{i}.' * (len(slot.vectors) > 1)}{self.members[v.site, v.steps > 0]}"
                for i, slot in enumerate(self.image.scratch) for v in slot.vectors}

    @cached_property
    def _previous(self) -> dict[str, str]:
        return {previous: update for update, previous in self.order.states.items()}

    def _is_last(self, site: str) -> bool:
        constants = self.program.constants[site]
        return isinstance(constants, Copied) and constants.step == -1

    def sequence(self, site: str) -> str:
        """The C expression of the first of all steps of a site."""
        site = self.order.home(site)
        return "x" if site == self.order.input else f"{self.scratch[site, True]}[0]"

    def vector(self, site: str, phase: int, at: int | None) -> str:
        """The C expression of a site's values of the current step, read in a phase of pass `at` (None: the head)."""
        order, live = self.order, self.live
        home = order.home(site)
        last = at is None and site in order.alias and self._is_last(site)
        late = self.program.graph.late[order.alias[site]] if site in order.alias else 0
        if home == order.input:
            if order.streaming:
                return "x"
            first = f"(x + {late}u * FEATURES)" if late else "x"
            return "frame" if at is not None else "(x + (steps - 1u) * FEATURES)" if last else first
        if home in self._previous:
            return f"state->{self.names[self._previous[home]]}"
        if home in order.states and at in (order.pass_of[home], None):
            old = home not in live.in_place and at is not None and phase <= live.commits[home]
            return self.scratch[home, False] if old else f"state->{self.names[home]}"
        if home in live.sequences:
            return f"{self.scratch[home, True]}[{'t' if at is not None else 'steps - 1u' if last else late}]"
        return f"state->{self.names[home]}" if home in order.kept else self.scratch[home, False]
