"""The proof that an exported directory is what was searched: the same integers at every site, the promised bytes.

What is compiled is a copy that is written again from the directory's program: nothing that lies in the directory runs.
For this machine and every emulated core: compile, run the shipped self-test, run random items and compare every output
with the best engine and every site of one item with the reference, take flash and RAM from the linker, look for
floating point and allocation in the machine code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bittailor.compile.order import order_of
from bittailor.core.arith import Ints
from bittailor.core.program import Program
from bittailor.engines import ENGINES, Reference, best_engine
from bittailor.engines.reference import check_integers
from bittailor.errors import FileError
from bittailor.export.artefact import floating, foreign
from bittailor.export.base import PROGRAM_FILE, check_amounts, fingerprint
from bittailor.export.c import CExporter
from bittailor.export.firmware import Counts, Differs, Firmware, Sizes
from bittailor.export.folder import read_export_to
from bittailor.export.targets import TARGETS, TIMEOUT, NoRoom, Target, ToolError
from bittailor.export.writing import write_again

ITEMS, STEPS, COUNTED = 32, 16, 2
"""How many random items, their longest length, and how many of them are counted."""


@dataclass(frozen=True)
class Verdict:
    """What was found on one target.

    problem  the first thing that is wrong, None if all is right
    sizes    bytes from the linker; None where it was not built or its linker keeps no map
    counts   instructions; None on a target that cannot count
    outputs  the integers that it computed
    fits     whether the emulated board has room for it; where not, nothing was tried
    """

    target: Target
    problem: str | None
    sizes: Sizes | None = None
    counts: Counts | None = None
    outputs: Ints | None = None
    fits: bool = True


@dataclass(frozen=True)
class Report:
    """What was found in a directory.

    facts     what its export.json says
    program   the program it holds
    words     what items were run
    verdicts  per target, in order
    absent    why other targets could not be tried
    """

    facts: Mapping[str, Any]
    program: Program
    words: str
    verdicts: Sequence[Verdict]
    absent: Sequence[str]

    @property
    def problem(self) -> str | None:
        """The first problem of any target, None if all is right."""
        return next((f"{v.target.title}: {v.problem}" for v in self.verdicts if v.problem), None)


@dataclass(frozen=True, eq=False)
class Directory:
    """A directory of exported C."""

    folder: Path
    facts: Mapping[str, Any]
    program: Program

    @classmethod
    def open(cls, folder: Path | str) -> Directory:
        """One of one's own, whose files are trusted if they match their checksums. FileError if they do not."""
        facts, place = read_export_to(folder, CExporter.name, CExporter.form), Path(folder)
        program = Program.load(place / PROGRAM_FILE)
        if fingerprint(program) != facts["program"]:
            raise FileError(f"{place / PROGRAM_FILE} is not the program that {folder} was made from; export it again")
        return cls(place, facts, program)

    @classmethod
    def written_again(cls, folder: Path | str, into: Path) -> Directory:
        """One of anybody's: its program is exported once more, into a new folder, which is the one that is returned.
        FileError names the first file that differs from that."""
        given = cls.open(folder)
        facts = write_again(given.folder, given.facts, given.program, into, CExporter())
        return cls(into, facts, given.program)

    @property
    def sources(self) -> list[Path]:
        """The network's own C file, then the runtime's."""
        own = self.folder / "src" / f"{self.facts['prefix']}.c"
        return [own, *sorted(p for p in (self.folder / "src").glob("*.c") if p != own)]

    def firmware(self, target: Target, build: Path, longest: int) -> Firmware:
        """Its code for a target, built in a folder."""
        return Firmware(self.program, self.facts["prefix"], self.sources, target, build, longest)


def verify(
    folder: Path | str, cores: Sequence[str] | None = None, items: int = ITEMS, seed: int = 0,
    x: ArrayLike | None = None, lengths: ArrayLike | None = None, timeout: float = TIMEOUT,
) -> Report:
    """Verify an exported directory.

    cores    names in `TARGETS`; if not given: this machine, and every core whose compiler and emulator are installed
    items    how many are run, beside those of the self-test
    x        real inputs [items, steps, features], with their lengths; random integers from `seed` if not given
    timeout  seconds for one program on one target
    Raises FileError for a directory that is damaged, ToolError for a core that was asked for and cannot be tried.
    """
    check_amounts(items, seed)
    with tempfile.TemporaryDirectory(prefix="bittailor-") as place:
        directory = Directory.written_again(folder, Path(place) / "export")
        return _examined(directory, cores, items, seed, x, lengths, timeout)


def _examined(
    directory: Directory, cores: Sequence[str] | None, items: int, seed: int, x: ArrayLike | None,
    lengths: ArrayLike | None, timeout: float,
) -> Report:
    targets = [TARGETS[name] for name in dict.fromkeys(cores or TARGETS)]
    absent = [reason for t in targets if (reason := t.missing()) is not None]
    if cores and absent:
        raise ToolError(absent[0])
    program, most = directory.program, directory.facts.get("most_steps")
    if x is None:
        q, sizes = random_items(program, items, most, seed)
        words = f"{items} random items, seed {seed}"
    else:
        given = None if lengths is None else np.asarray(lengths)[:items]
        q, sizes = check_integers(program, program.quantise_input(np.asarray(x)[:items]), given)
        if most is not None and q.shape[1] > most:
            q, sizes = q[:, :most], np.minimum(sizes, most)
        words = f"{len(q)} real items"
    expected = run_engine(program, q, sizes)
    verdicts = []
    for target in targets:
        if target.missing() is None:
            try:
                verdicts.append(examine(directory, target, q, sizes, expected, timeout))
            except NoRoom as error:
                if cores:  # asked for; what the others found is told all the same
                    verdicts.append(Verdict(target, str(error), fits=False))
                else:
                    absent.append(str(error))
    return Report(directory.facts, program, words, verdicts, absent)


def run_engine(program: Program, q: Ints, lengths: Ints) -> Ints:
    """What the best engine gives, with 0 beyond an item's length."""
    expected = ENGINES[best_engine()].run(program, q, lengths).astype(np.int64)
    if expected.ndim == 3:
        late = program.graph.late[program.graph.outputs[0]]
        expected[np.arange(expected.shape[1]) >= lengths[:, None] - late] = 0
    return expected


def random_items(program: Program, items: int, most: int | None, seed: int) -> tuple[Ints, Ints]:
    """Random input integers [items, steps, features] over their whole range, some at its ends, and lengths."""
    rng, (low, high) = np.random.default_rng(seed), program.input_range
    features = program.graph.sites[program.graph.inputs[0]].features
    least = program.graph.least_steps
    steps = STEPS + least - 1
    steps = min(steps, most or steps)
    q = rng.integers(low, high + 1, (items, steps, features))
    extreme = rng.random(items) < 0.2
    q[extreme] = rng.choice([low, high], q[extreme].shape)
    return q, np.append(steps, rng.integers(least, steps + 1, items - 1))


def examine(
    directory: Directory, target: Target, q: Ints, lengths: Ints, expected: Ints, timeout: float = TIMEOUT
) -> Verdict:
    """Everything about one target; the first thing that is wrong ends it. NoRoom if the board is too small for it."""
    sizes: Sizes | None = None
    counts: Counts | None = None
    outputs: Ints | None = None
    with tempfile.TemporaryDirectory(prefix="bittailor-") as build:
        try:
            firmware = directory.firmware(target, Path(build), q.shape[1])
            for wrong in (*foreign(target, firmware.objects), *floating(target, firmware.objects)):
                return Verdict(target, wrong)
            ran = firmware.selftest(directory.folder / "selftest" / "selftest.c", timeout)
            if ran.status:
                return Verdict(target, f"self-test: {ran.output.strip() or f'ended with status {ran.status}'}")
            _, counts = firmware.run(q[:COUNTED], lengths[:COUNTED], COUNTED, timeout)
            outputs, _ = firmware.run(q, lengths, 0, timeout)
            if firmware.mapped:
                sizes = firmware.sizes
            problem = (first_difference(firmware, q, lengths, outputs, expected, timeout)
                       or wrong_bytes(directory.facts, sizes))
        except NoRoom:
            raise
        except (ToolError, Differs) as error:
            problem = str(error)
    return Verdict(target, problem, sizes, counts, outputs)


def wrong_bytes(facts: Mapping[str, Any], sizes: Sizes | None) -> str | None:
    """Where the linker's figures are not the promised ones."""
    if sizes is not None:
        for what, got in (("flash", sizes.flash), ("ram", sizes.ram)):
            if got != facts[what]:
                return f"{what} is {got} bytes; {facts[what]} were promised"
    return None


def first_difference(
    firmware: Firmware, q: Ints, lengths: Ints, outputs: Ints, expected: Ints, timeout: float = TIMEOUT
) -> str | None:
    """The first differing site of the first item that differs, None if nothing does.

    Every output is compared, and every site of the first item (or of the first whose output differs).
    """
    wrong = np.flatnonzero((outputs != expected).reshape(len(outputs), -1).any(axis=1))
    item = int(wrong[0]) if len(wrong) else 0
    part = q[item : item + 1, : lengths[item]]
    found = next(differences(firmware.program, firmware.trace(part, timeout), part), None)
    if found is None and len(wrong):
        at = tuple(int(i) for i in np.argwhere(outputs[item] != expected[item])[0])
        found = (f"{firmware.program.graph.outputs[0]}, output {at}: got {outputs[item][at]}, expected "
                 f"{expected[item][at]}, though every site of a traced run is right")
    return None if found is None else f"item {item}: {found}"


def differences(program: Program, traced: Mapping[str, Ints], q: Ints) -> Iterator[str]:
    """What differs from the reference in one traced item: per site the first value, in the order of computation."""
    reference = ENGINES["reference"]
    assert isinstance(reference, Reference)
    expected = reference.trace(program, q)
    found: list[tuple[int, int, str]] = []
    for number, site in enumerate(order_of(program.graph).traced):
        want, got = np.atleast_2d(expected[site][0]), traced.get(site)
        if got is None:
            found.append((0, number, f"{site} was not computed"))
        elif np.atleast_2d(got).shape != want.shape:
            found.append((0, number, f"{site} has values {np.atleast_2d(got).shape}, expected {want.shape}"))
        elif (np.atleast_2d(got) != want).any():
            step, feature = (int(i) for i in np.argwhere(np.atleast_2d(got) != want)[0])
            words = f"step {step}, " if program.graph.sites[site].sequence else ""
            at = step if words else q.shape[1]
            found.append((at, number, f"{site}, {words}feature {feature}: got {np.atleast_2d(got)[step, feature]}, "
                                      f"expected {want[step, feature]}"))
    yield from (text for _, _, text in sorted(found))


