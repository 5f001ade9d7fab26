"""The self-test of exported C: golden vectors from the reference engine, and the C that compares them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bittailor._version import __version__
from bittailor.core.arith import Ints
from bittailor.engines import ENGINES, Reference
from bittailor.export.base import Samples
from bittailor.export.c_model import Model
from bittailor.export.c_names import plain
from bittailor.export.c_text import numbers
from bittailor.export.template import fill

TRACED_STEPS = 4
"""Steps of the first item for which every site is kept."""


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden vectors.

    steps   per item
    x, y    valid frames of all items, one after the other; outputs per item or per frame
    traced  steps of the first item whose sites are kept
    sites   site -> [rows, features]: a row per step that it has, or for single values one per beginning of the sequence
    """

    steps: Sequence[int]
    x: Ints
    y: Ints
    traced: int
    sites: dict[str, Ints]

    @classmethod
    def of(cls, model: Model, samples: Samples) -> Golden:
        """Run the reference engine."""
        reference = ENGINES["reference"]
        assert isinstance(reference, Reference)
        program, order, q = model.program, model.order, samples.q
        steps = samples.lengths.tolist()
        out = reference.run(program, q, samples.lengths)
        rows = [n - model.late for n in steps]
        y = np.concatenate([out[i, :n].ravel() if model.per_step else out[i].ravel() for i, n in enumerate(rows)])
        x = np.concatenate([q[i, :n].ravel() for i, n in enumerate(steps)])
        least = program.graph.least_steps
        traced = min(TRACED_STEPS + least - 1, steps[0])
        first = q[:1, :traced]
        sites = {site: values[0] for site, values in reference.trace(program, first).items() if site in order.traced}
        single = [site for site in sites if not program.graph.sites[site].sequence]
        if order.streaming and single:
            # while it streams, the head sees every beginning of the sequence
            lengths = np.arange(least, traced + 1)
            begun = reference.trace(program, np.repeat(first, len(lengths), axis=0), lengths)
            sites |= {site: begun[site] for site in single}
        return cls(steps, x, y, traced, {site: np.atleast_2d(sites[site]) for site in order.traced})

    @property
    def crc(self) -> int:
        """CRC-32 over all numbers, each as four bytes."""
        values = np.concatenate([self.x, self.y, *(v.ravel() for v in self.sites.values())])
        return zlib.crc32(values.astype("<i4").tobytes())


def golden_header(model: Model, golden: Golden, words: str) -> str:
    """`<prefix>_golden.h`."""
    order, rows, at = model.order, [], 0
    for site, values in golden.sites.items():
        backwards = site in order.pass_of and order.passes[order.pass_of[site]].reverse
        rows.append(f'    {{"{plain(site)}", {at}u, {values.shape[1]}u, {values.shape[0]}u, {int(backwards)}u}},\n')
        at += values.size
    return fill(
        "golden.h", prefix=model.prefix, PREFIX=model.macro, words=plain(words), items=len(golden.steps),
        sites=len(golden.sites), traced=golden.traced, crc=f"0x{golden.crc:08x}",
        steps=", ".join(f"{n}u" for n in golden.steps), x=numbers(golden.x, 4), y=numbers(golden.y, 4),
        table="".join(rows), values=numbers(np.concatenate([v.ravel() for v in golden.sites.values()]), 4),
    )


def selftest_source(model: Model, golden: Golden) -> str:
    """`selftest.c`."""
    p = model.prefix
    if model.order.streaming:
        trace = (f"    {p}_reset(&state);\n"
                 f"    for (size_t t = 0; t < {model.macro}_GOLDEN_TRACED; t++)\n"
                 f"        {p}_step(&state, &scratch, {p}_golden_x + t * {model.macro}_FEATURES, y);")
    else:
        trace = f"    (void){p}_run(&state, &scratch, {p}_golden_x, {model.macro}_GOLDEN_TRACED, y);"
    rows = max(golden.steps) - model.late if model.per_step else 1
    traced = golden.traced - model.late if model.per_step and not model.order.streaming else 1
    steps = f"steps - {model.late}u" if model.late else "steps"
    return fill(
        "selftest.c", prefix=p, PREFIX=model.macro, version=__version__, trace=trace,
        rows=steps if model.per_step else "1", output=plain(model.order.output),
        traced_outputs=traced * model.outputs, golden_outputs=rows * model.outputs,
        items=len(golden.steps), sites=len(golden.sites),
    )
