"""The torch engine: the forward pass of training, without gradients. Many programs of one graph run at once.

On a GPU where PyTorch finds one, otherwise on the CPU. No GPU could be tried where this was written: that its integers
are equal there too follows from integer arithmetic and exactly representable sums, and no speed is claimed. PyTorch is
loaded when the engine first runs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.core.arith import Ints
from bittailor.core.graph import Graph
from bittailor.core.program import Program
from bittailor.engines.base import Engine
from bittailor.engines.reference import check_integers, expect_program

if TYPE_CHECKING:
    from bittailor.engines.torch.runner import Runner

MISSING = "the torch engine needs PyTorch, and it is not installed: pip install 'bittailor[torch]'"

GRAPHS = 2
"""Graphs that are kept ready to run."""

ROOM = {"cpu": 32 << 20, "cuda": 1 << 30}
"""Bytes of one batch, about: items and programs are split so that it is not exceeded (one item is the least)."""


class Torch(Engine):
    """PyTorch; programs of one graph together, as a population.

    device  "cpu" or "cuda"; a GPU if there is one where not given
    """

    name = "torch"
    threaded = True

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._runners: OrderedDict[int, Runner] = OrderedDict()
        self._lock = threading.Lock()

    def available(self) -> str | None:
        return None if find_spec("torch") else MISSING

    @property
    def device(self) -> str:
        """Where it runs."""
        import torch

        return self._device or ("cuda" if torch.cuda.is_available() else "cpu")

    def run(self, program: Program, q: ArrayLike, lengths: ArrayLike | None = None) -> Ints:
        return self.run_jobs([(program, q)], lengths)[0]

    def run_jobs(self, jobs: Sequence[tuple[Program, ArrayLike]], lengths: ArrayLike | None = None) -> list[Ints]:
        """Jobs whose programs share a graph and whose inputs share a shape run together, as far as memory allows."""
        checked: list[NDArray[Any]] = []
        alive: dict[tuple[int, ...], NDArray[Any]] = {}
        groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for i, (program, q) in enumerate(jobs):
            expect_program(program)
            graph = program.graph
            key = id(q), *program.input_range, graph.sites[graph.inputs[0]].features, graph.least_steps
            if key not in alive:
                values, sizes = check_integers(program, q, lengths, np.int16)
                alive[key] = np.require(values, requirements=["C", "W"])
            checked.append(alive[key])
            groups.setdefault((id(graph), checked[i].shape), []).append(i)
        results: dict[int, Ints] = {}
        with self._lock:
            for members in groups.values():
                found = self._run([jobs[i][0] for i in members], [checked[i] for i in members], sizes)
                results |= zip(members, found, strict=True)
        return [results[i] for i in range(len(jobs))]

    def _run(self, programs: Sequence[Program], inputs: Sequence[NDArray[Any]], lengths: Ints) -> list[Ints]:
        runner = self._runner(programs[0].graph)
        items, steps = inputs[0].shape[:2]
        rows = max(1, ROOM[runner.device.type] // runner.room(steps))
        some = min(items, rows)
        together = max(1, rows // some)
        found: list[list[Ints]] = []
        for first in range(0, len(programs), together):
            chosen = slice(first, first + together)
            parts = [runner.run(programs[chosen], [q[at : at + some] for q in inputs[chosen]], lengths[at : at + some])
                     for at in range(0, items, some)]
            found += [list(same) for same in zip(*parts, strict=True)]
        return [np.concatenate(parts) for parts in found]

    def _runner(self, graph: Graph) -> Runner:
        from bittailor.engines.torch.runner import Runner

        runner = self._runners.pop(id(graph), None)
        if runner is None or runner.graph is not graph:
            import torch

            runner = Runner(graph, stacked=True, device=torch.device(self.device))
        self._runners[id(graph)] = runner  # the runner holds the graph, so its id stays its own
        if len(self._runners) > GRAPHS:
            self._runners.popitem(last=False)[1].release()
        return runner


__all__ = ["MISSING", "Torch"]
