"""The cost models of cores: compiled sizes and emulator counts, measured and fitted.

    python benchmarks/cores.py                    # every core whose tools are here: src/bittailor/cost/cores/*.json
    python benchmarks/cores.py --cores m4         # one core, a minute or two
    python benchmarks/cores.py --add              # only what the files do not know of: new functions and operators

To be run anew when the device runtime or the generated code has changed; tests say so.

Per core: every function of the device runtime is linked alone, for its bytes; every dot product and block of rows is
counted for 1 to 64 columns and beyond; random networks of every cell, shape and width (and some that are nothing but
single operators) are exported, compiled and run, and what the kernels do not account for is fitted by bounded least
squares of relative errors. Every fourth network is kept out of the fit; the recurrent ones among those give the errors
that the file states and docs/tables/firmware.py tabulates.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from command import arguments, as_command
from core_counts import Measured, compile_runtime, count_kernels, count_vectors, link_functions, measure, runtime_names
from random_networks import random_program

from bittailor.core.graph import Recurrence
from bittailor.core.program import Program
from bittailor.cost.firmware import CORES_FOLDER, Core, Error
from bittailor.cost.listing import describe
from bittailor.errors import BittailorError
from bittailor.export.targets import OPTIMISE, TARGETS, Target

HELD_OUT = 4
SMALL = 2000.0
"""Instructions below which a share matters less than what it is a share of."""
RELAXED = 0.01
"""How much of the runtime's bytes may depend on where the linker puts it."""
LARGEST = {"m0": 180_000}
"""Bytes of constants that a core's flash should have room for, beside the runner."""


def fit(rows: Sequence[Mapping[str, int]], values: Sequence[float], weights: Sequence[float]) -> dict[str, float]:
    """Coefficients that minimise the sum of ((A c - values) / weights) squared: none is negative but that of calling a
    dot product, of which the measured counts hold more than generated code takes."""
    from scipy.optimize import lsq_linear

    names = sorted({name for row in rows for name, amount in row.items() if amount})
    A = np.array([[row.get(name, 0) / weight for name in names] for row, weight in zip(rows, weights, strict=True)])
    size = np.abs(A).max(axis=0)
    lowest = [-np.inf if name == "dot" else 0.0 for name in names]
    found = lsq_linear(A / size, np.asarray(values) / np.asarray(weights), (lowest, np.inf), method="bvls").x
    return {name: float(f"{c:.6g}") for name, c in zip(names, found / size, strict=True)}


def error(predicted: Sequence[float], measured: Sequence[float]) -> Error:
    """Relative errors in percent."""
    off = 100 * np.abs(np.asarray(predicted) / np.asarray(measured) - 1)
    return Error(round(float(np.median(off)), 2), round(float(off.max()), 2), len(off))


def model_core(target: Target, programs: Sequence[Program], workers: int, seed: int) -> Core:
    """Measure and fit one core."""
    version = subprocess.run([*target.command(), "-dumpfullversion"], capture_output=True, text=True, check=True)
    flags = (flag for flag in target.flags if not flag.startswith("-DFW"))
    compiler = " ".join((target.compiler, version.stdout.strip(), *flags, OPTIMISE[0]))
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        folder = Path(name)
        runtime = compile_runtime(target, folder)
        dots, public = runtime_names(target)
        kernels = count_kernels(target, runtime, dots, folder)
        functions = link_functions(target, runtime, public, folder)

        def one(i: int) -> Measured | None:
            if describe_bytes(programs[i]) > LARGEST.get(target.name, 1 << 30):
                return None
            return measure(programs[i], target, runtime, np.random.default_rng([seed, i]))

        with ThreadPoolExecutor(workers) as pool:
            found = [m for m in pool.map(one, range(len(programs))) if m is not None]
    core = Core(target.name, target.title, compiler, functions, kernels, {}, {}, {})
    for m in found:
        # RISC-V's linker shortens jumps according to where things lie
        if abs(core.runtime_bytes(describe(m.program, core.name)) - m.runtime) > RELAXED * m.runtime:
            raise BittailorError(f"{target.title}: the runtime's functions do not add up to what the linker kept; was "
                                 "it changed meanwhile?")
    return _fitted(core, found)


def describe_bytes(program: Program) -> int:
    """Bytes of constants."""
    return sum(s.nbytes for s in program.stored())


def grown(target: Target, programs: Sequence[Program], workers: int, seed: int) -> Core:
    """The model of a core as it is, and what it does not know of: functions of the runtime, and coefficients that are
    fitted to what the known ones leave of the networks that have them."""
    core = Core.load(target.name)
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        folder = Path(name)
        runtime = compile_runtime(target, folder)
        _, public = runtime_names(target)
        functions = link_functions(target, runtime, [n for n in public if n not in core.functions], folder)
        kernels = count_vectors(target, runtime, folder)
        core = replace(core, functions={**core.functions, **functions}, kernels={**core.kernels, **kernels})
        listings = [describe(program, core.name) for program in programs]
        chosen = [i for i, x in enumerate(listings) if set(x.code) - core.code.keys()]

        def one(i: int) -> Measured:
            return measure(programs[i], target, runtime, np.random.default_rng([seed, i]))

        with ThreadPoolExecutor(workers) as pool:
            found = dict(zip(chosen, pool.map(one, chosen), strict=True))
    code = _rest([listings[i].code for i in found], core.code, [m.model for m in found.values()],
                 [m.model + m.runtime for m in found.values()])
    works = [pair for i, m in found.items() for pair in ((listings[i].step, m.step), (listings[i].head, m.head))]
    works = [(work, count) for work, count in works if count > 0 and set(work.amounts) - core.instructions.keys()]
    more = _rest([work.amounts for work, _ in works], core.instructions,
                 [count - core.dots(work) for work, count in works], [count + SMALL for _, count in works])
    return replace(core, code={**core.code, **code}, instructions={**core.instructions, **more})


def _rest(
    rows: Sequence[Mapping[str, int]], known: Mapping[str, float], values: Sequence[float], weights: Sequence[float]
) -> dict[str, float]:
    """Coefficients of what is not known, from what the known leaves."""
    left = [value - sum(known.get(name, 0.0) * amount for name, amount in row.items())
            for row, value in zip(rows, values, strict=True)]
    return fit([{name: n for name, n in row.items() if name not in known} for row in rows], left, weights)


def _fitted(core: Core, found: Sequence[Measured]) -> Core:
    """The core with its coefficients and their errors."""
    listings = [describe(m.program, core.name) for m in found]
    training = [i for i in range(len(found)) if i % HELD_OUT]
    code = fit([listings[i].code for i in training], [found[i].model for i in training],
               [found[i].model + found[i].runtime for i in training])
    rows: list[Mapping[str, int]] = []
    values: list[float] = []
    weights: list[float] = []
    for i in training:
        for work, count in found[i].works(listings[i]):
            if count > 0 and any(work.amounts.values()):
                rows.append(work.amounts)
                values.append(count - core.dots(work))
                weights.append(count + SMALL)
    instructions = fit(rows, values, weights)
    core = Core(core.name, core.title, core.compiler, core.functions, core.kernels, code, instructions, {})
    unknown: Counter[str] = Counter()
    out: dict[str, list[tuple[float, float]]] = {"code": [], "instructions": []}
    for i in range(0, len(found), HELD_OUT):
        x, m = listings[i], found[i]
        if not any(isinstance(step, Recurrence) for step in m.program.graph.steps):
            continue  # there to be learned from; nobody searches them
        missing = (_present(x.code) - code.keys()) | (_present(x.step.amounts) - instructions.keys())
        if missing:
            unknown.update(missing)
            continue
        out["code"].append((core.code_bytes(x), m.model + m.runtime))
        work, count = m.works(x)[0]
        out["instructions"].append((core.work(work), count))
    if unknown:
        print(f"{core.name}: held-out networks use what no other does: {', '.join(unknown)}")
    errors = {k: error([p for p, _ in v], [m for _, m in v]) for k, v in out.items()}
    return Core(core.name, core.title, core.compiler, core.functions, core.kernels, code, instructions, errors)


def _present(counts: Mapping[str, int]) -> set[str]:
    """What is there at least once."""
    return {name for name, count in counts.items() if count > 0}


def main() -> int:
    """Model the cores that were asked for."""
    parser = arguments(__doc__)
    parser.add_argument("--cores", nargs="+", help="names; every emulated core whose tools are here if not given")
    parser.add_argument("--networks", type=int, default=240, help="random networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="compilers and emulators at once")
    parser.add_argument("--add", action="store_true", help="keep what the files say, and add what they lack")
    parser.add_argument("--out", type=Path, default=CORES_FOLDER, help="where to write; the package if not given")
    options = parser.parse_args()
    targets = [TARGETS[name] for name in options.cores or [t.name for t in TARGETS.values() if t.emulated]]
    rng = np.random.default_rng(options.seed)
    programs = [random_program(rng) for _ in range(options.networks)]
    for target in targets:
        reason = target.missing()
        if reason:
            print(reason if not options.cores else f"error: {reason}", file=sys.stderr)
            continue
        make = grown if options.add else model_core
        core = make(target, programs, options.workers, options.seed)
        core.save(options.out)
        print(f"{target.name}: code {core.errors['code']}, instructions {core.errors['instructions']} "
              f"({core.errors['code'].networks} networks not in the fit)", flush=True)
    return 0


if __name__ == "__main__":
    as_command(main)
