"""The native engine: the C runtime of `runtime/`, which runs any program without a new compilation.

Exports do not use it: they are generated for one network, over `runtime/device/`. The scalar arithmetic there
(`bt_ops.h`) serves both.

A genome per thread: the C code runs without the interpreter's lock, so while one thread computes, another prepares
the next program. Which instruction set is used never shows in a result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.cached import cached_property
from bittailor.common.processors import processors
from bittailor.compile.segments import NotLowered
from bittailor.core.arith import Ints
from bittailor.core.ops.forms import Accumulated
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.core.program import Program
from bittailor.engines import native_build
from bittailor.engines.base import Engine
from bittailor.engines.lowering import Lowering
from bittailor.engines.lowering_numbers import Bytes
from bittailor.engines.reference import Reference, check_integers, expect_program
from bittailor.errors import BittailorError, RangeError

STATUS = {
    1: "a null or unaligned pointer", 2: "a damaged program", 3: "a buffer that is too short",
    4: "a length out of range", 5: "an input integer out of range",
}
"""What the runtime's status codes say (`enum bt_status`)."""

FEW = 4
"""So many sequences, or fewer, are run in the smaller tiles: two of them cost less than one large tile."""


class Native(Engine):
    """The C runtime, compiled at first use.

    variant  an instruction set of `native_build.VARIANTS`; the best one here if not given
    threads  how many to use; all processors of this process if not given
    """

    name = "native"
    threaded = True

    def __init__(self, variant: str | None = None, threads: int | None = None) -> None:
        self._variant = variant
        self._threads = threads
        self._reference = Reference()
        self._scratch = threading.local()

    def available(self) -> str | None:
        if not native_build.can_run():
            return native_build.MISSING
        try:
            self.runtime  # noqa: B018 (builds and loads it)
        except (BittailorError, OSError) as error:
            return str(error)
        return None

    @cached_property
    def runtime(self) -> native_build.Runtime:
        """The loaded variant."""
        names = native_build.runnable()
        if self._variant not in (None, *names):
            raise BittailorError(f"this machine cannot run the runtime's variant '{self._variant}'; it can run "
                                 f"{', '.join(names)}")
        return native_build.load([self._variant] if self._variant else names)

    @property
    def words(self) -> str:
        name = self.runtime.name
        return f"native ({name}, {native_build.ORIGINS.get(name, '')})"

    @cached_property
    def few(self) -> native_build.Runtime | None:
        """The variant for few sequences, loaded; None where the engine is of one that was named, or has none."""
        name = native_build.few_of(self.runtime.name)
        if self._variant is not None or name is None:
            return None
        try:
            return native_build.load([name])
        except (BittailorError, OSError):  # the other serves
            return None

    @cached_property
    def lowering(self) -> Lowering:
        """From programs to bytes, for the loaded variant."""
        return Lowering(self.runtime.layout)

    @cached_property
    def _lowering_few(self) -> Lowering:
        return self.lowering if self.few is None else Lowering(self.few.layout)

    def _for(self, items: int) -> tuple[native_build.Runtime, Lowering]:
        """What runs so many sequences."""
        few = self.few if items <= FEW else None
        return (self.runtime, self.lowering) if few is None else (few, self._lowering_few)

    def run(self, program: Program, q: ArrayLike, lengths: ArrayLike | None = None) -> Ints:
        return self.run_many([program], q, lengths)[0]

    def run_many(self, programs: Sequence[Program], q: ArrayLike, lengths: ArrayLike | None = None) -> list[Ints]:
        return self.run_jobs([(program, q) for program in programs], lengths)

    def run_jobs(self, jobs: Sequence[tuple[Program, ArrayLike]], lengths: ArrayLike | None = None) -> list[Ints]:
        """`run` for pairs of a program and its own input integers (widths of the input may differ), all at once.

        Pass the same array object for the same input: it is checked and packed once.
        """
        threads = self._threads or processors()
        packed: dict[tuple[int, ...], _Input] = {}
        work: list[Callable[[], None]] = []
        results: list[Ints | None] = [None] * len(jobs)
        alive: list[ArrayLike] = []
        for i, (program, q) in enumerate(jobs):
            expect_program(program)
            fmt = program.input_format
            graph = program.graph
            key = (id(q), fmt.bits, *program.input_range, graph.sites[graph.inputs[0]].features, graph.least_steps)
            if key not in packed:
                packed[key] = _Input(program, q, lengths)
                alive.append(q)
            # few programs are split over the items, so that no thread is left waiting for the last one
            self._queue(program, packed[key], i, results, work, 1 if len(jobs) >= 4 * threads else threads)
        _in_threads(work, threads)
        return results  # type: ignore[return-value]

    def _queue(self, program: Program, x: _Input, i: int, results: list[Ints | None],
               work: list[Callable[[], None]], parts: int) -> None:
        """Add the work of one program: one piece, or several over disjoint items."""
        site = program.graph.sites[program.graph.outputs[0]]
        if any(isinstance(c, Accumulated) for c in program.constants.values()) and x.lengths.max() > MEAN_MOST_STEPS:
            raise RangeError(f"a mean or sum over {x.lengths.max()} steps; at most {MEAN_MOST_STEPS} are proved")
        steps = (x.steps - program.graph.late[site.name],) if site.sequence else ()
        shape = (x.items, *steps, site.features)
        runtime, lowering = self._for(x.items)
        block = runtime.layout.items
        step = -(-x.items // (parts * block)) * block
        code: list[Bytes] = []
        lock = threading.Lock()

        def piece(first: int, last: int) -> None:
            with lock:
                if not code:
                    try:
                        code.append(lowering(program))
                        results[i] = np.empty(shape, np.int64)
                    except NotLowered:
                        code.append(np.empty(0, np.uint8))
                        results[i] = self._reference.run(program, x.integers, x.lengths)
            out = results[i]
            if code[0].size and out is not None:
                self._call(runtime, code[0], x, first, last, out)

        for first in range(0, x.items, step):
            work.append(lambda first=first: piece(first, min(first + step, x.items)))  # type: ignore[misc]

    def _call(self, runtime: native_build.Runtime, code: Bytes, x: _Input, first: int, last: int, out: Ints) -> None:
        c = runtime.c
        need = c.bt_scratch(code.ctypes.data, code.nbytes, x.steps)
        scratch = getattr(self._scratch, "room", None)
        if scratch is None or scratch.nbytes < need:
            scratch = self._scratch.room = np.empty(need, np.uint8)
        lengths = x.lengths32.ctypes.data if x.lengths32 is not None else None
        status = c.bt_run(code.ctypes.data, code.nbytes, x.integers.ctypes.data, x.integers.nbytes,
                          x.integers.itemsize, lengths, x.items, x.steps, first, last, out.ctypes.data, out.nbytes,
                          scratch.ctypes.data, scratch.nbytes)
        if status:
            raise BittailorError(f"the native runtime refused a program: {STATUS.get(status, status)}; "
                                 "this is a bug, please report it (the other engines still serve)")


def variant_here() -> str:
    """The variant that this process uses, or why it can use none; what a cluster's workers are asked."""
    engine = Native()
    return engine.available() or engine.runtime.name


class _Input:
    """Input integers, checked, in the type the runtime reads."""

    def __init__(self, program: Program, q: ArrayLike, lengths: ArrayLike | None) -> None:
        kind = np.int8 if program.input_format.bits <= 8 else np.int16
        values, self.lengths = check_integers(program, q, lengths, kind)
        self.items, self.steps = values.shape[:2]
        self.integers: NDArray[Any] = np.ascontiguousarray(values)
        ragged = bool((self.lengths != self.steps).any())
        self.lengths32 = self.lengths.astype(np.int32) if ragged else None


def _in_threads(work: Sequence[Callable[[], None]], threads: int) -> None:
    """Do all pieces of work, in this thread and in as many more as useful; the first error is raised."""
    left = iter(work)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def serve() -> None:
        while not errors:
            with lock:
                task = next(left, None)
            if task is None:
                return
            try:
                task()
            except BaseException as error:  # raised again below, in the caller's thread
                errors.append(error)

    helpers = [threading.Thread(target=serve, daemon=True) for _ in range(min(threads, len(work)) - 1)]
    for helper in helpers:
        helper.start()
    serve()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
