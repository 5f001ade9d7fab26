"""The proof that an exported ONNX folder is what was searched: the same integers in onnxruntime, at every site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from bittailor.common.files import read_bytes
from bittailor.core.arith import Ints
from bittailor.core.program import Program
from bittailor.engines import ENGINES, Reference
from bittailor.engines.streaming import start, stream
from bittailor.export.checking import Checked, different, golden_items, items_of, opened, said
from bittailor.export.onnx import RUN_FILE, STEP_FILE, OnnxExporter
from bittailor.export.onnx.running import Session, check_runtime, debug_model, load, run, stepped, traced
from bittailor.export.plain import GOLDEN_FILE
from bittailor.export.verify import random_items, run_engine

TRACED = 4
"""Items of which every site is compared."""


def verify_onnx(
    folder: Path | str, items: int, seed: int = 0, x: ArrayLike | None = None, lengths: ArrayLike | None = None
) -> Checked:
    """Verify an exported directory in onnxruntime.

    items       how many random items, or how many of x
    x, lengths  real inputs [items, steps, features] to run in place of random integers
    Raises BittailorError for a directory that is none or was changed, and where onnxruntime is missing.
    """
    facts, program = opened(folder, OnnxExporter)
    version, place = check_runtime(), Path(folder)
    q, sizes = random_items(program, items, None, seed) if x is None else items_of(program, items, x, lengths)
    looks: dict[str, Callable[[], str | None]] = {
        f"{RUN_FILE}: every output": lambda: _outputs(load(place, RUN_FILE), program, q, sizes),
        f"{RUN_FILE}: every site of {min(TRACED, len(q))} items": lambda: _sites(place, program, q, sizes),
        f"{RUN_FILE}: {GOLDEN_FILE}": lambda: _golden(place, program),
    }
    if STEP_FILE in facts["files"]:
        looks[f"{STEP_FILE}: every output and state"] = lambda: _steps(load(place, STEP_FILE), program, q)
    return Checked(facts, f"onnxruntime {version}", f"{len(q)} {'random' if x is None else 'real'} items",
                   {what: said(look) for what, look in looks.items()})


def _outputs(session: Session, program: Program, q: Ints, sizes: Ints) -> str | None:
    got, want = run(session, program, q, sizes), run_engine(program, q, sizes)
    if got.ndim == 3:
        got[np.arange(got.shape[1]) >= sizes[:, None] - program.graph.late[program.graph.outputs[0]]] = 0
    return different(got, want)


def _sites(place: Path, program: Program, q: Ints, sizes: Ints) -> str | None:
    reference = ENGINES["reference"]
    assert isinstance(reference, Reference)
    session = Session(debug_model(read_bytes(place / RUN_FILE), program, RUN_FILE), f"{RUN_FILE} with every site")
    some = slice(0, TRACED)
    want = reference.trace(program, q[some], sizes[some])
    try:
        got = traced(session, program, q[some], sizes[some])
    except KeyError as error:
        return f"the site {error.args[0]} is not in the file"
    return _first(got, want)


def _first(got: Mapping[str, Ints], want: Mapping[str, Ints]) -> str | None:
    """The site that differs at the earliest step, and there the first one to be computed: where it began."""
    found = []
    for number, (site, values) in enumerate(got.items()):
        if problem := different(values, want[site]):
            wrong = np.argwhere(values != want[site]) if values.shape == want[site].shape else np.zeros((1, 3))
            step = wrong[:, 1].min() if values.ndim == 3 else np.inf
            found.append((step, number, f"{site}: {problem}"))
    return min(found)[2] if found else None


def _golden(place: Path, program: Program) -> str | None:
    session = load(place, RUN_FILE)
    for number, (x, y) in enumerate(golden_items(place / GOLDEN_FILE)):
        if problem := different(run(session, program, x[None], np.array([len(x)]))[0], y):
            return f"item {number}: {problem}"
    return None


def _steps(session: Session, program: Program, q: Ints) -> str | None:
    state = start(program, len(q))
    for t, (y, after) in enumerate(stepped(session, program, q)):
        want, state = stream(program, q[:, t : t + 1], state)
        for what, got, expected in (("output", y, want.reshape(y.shape)),
                                    *(("state", a, b) for a, b in zip(after, state, strict=True))):
            if problem := different(got, expected):
                return f"step {t}, {what}: {problem}"
    return None
