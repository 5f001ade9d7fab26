"""The last steps of reading, whatever was read: leave away what nothing needs, and compare with the source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.graph import Graph, Node, Recurrence, Site
from bittailor.core.network import Network
from bittailor.core.ops.base import steps_mask
from bittailor.read.symbolic import Tensor


def pruned(graph: Graph, parameters: dict[str, Floats]) -> tuple[Graph, dict[str, Floats]]:
    """The graph without what its outputs do not depend on."""
    used, steps = set(graph.outputs), list[Node | Recurrence]()
    for step in reversed(graph.steps):
        outputs = step.outputs if isinstance(step, Recurrence) else (step.output,)
        if used.isdisjoint(outputs):
            continue
        if isinstance(step, Recurrence):
            step = replace(step, outputs=tuple(name for name in outputs if name in used))
        steps.insert(0, step)
        for node in step.nodes if isinstance(step, Recurrence) else (step,):
            used |= {node.output, *node.inputs, *node.params}
    used |= set(graph.inputs)
    sites: dict[str, Site] = {name: site for name, site in graph.sites.items() if name in used}
    kept = {name: values for name, values in parameters.items() if name in used}
    return Graph(sites, tuple(steps), graph.inputs, graph.outputs), kept


def compare(
    network: Network, x: Floats, lengths: NDArray[np.int64], out: Tensor, expected: Floats, tolerance: float,
    columns: slice = slice(None),
) -> str:
    """How a network differs from what its source gives, in a few words; empty where it does not.

    x, lengths  what both were given, as the network takes it
    out         what the source's output stands for
    expected    the source's output
    columns     of the network's output that are compared
    tolerance   of the largest value, or of 1 where that is smaller
    """
    got = network(x, lengths)[..., columns]
    own = ["items", "steps", "features"] if got.ndim == 3 else ["items", "features"]
    atoms = [atom for axis in out.axes for atom in axis if atom in own]
    atoms = [*(atom for atom in own[:-1] if atom not in atoms), *atoms, *(() if "features" in atoms else ("features",))]
    got = _softened(got, out.softmax)
    valid = np.ones(got.shape, bool)
    if "steps" in own:
        valid &= steps_mask(lengths - network.graph.late[network.output], got.shape[1])[:, :, None]
    if got.size != expected.size:
        return f"gives {got.size} values and not {expected.size}"
    order = [own.index(atom) for atom in atoms]
    chosen = valid.transpose(order).reshape(-1)
    wanted = expected.astype(np.float64).reshape(-1)[chosen]
    error = np.abs(got.transpose(order).reshape(-1)[chosen] - wanted).max()
    return "" if error <= tolerance * max(1.0, np.abs(wanted).max()) else f"differs from it by up to {error:.2g}"


def _softened(values: Floats, kind: str) -> Floats:
    """What is left away at a network's end, put on top."""
    if kind == "argmax":
        largest: Floats = values.argmax(-1)[..., None].astype(np.float64)
        return largest
    if not kind:
        return values
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return np.log(shares) if kind == "log_softmax" else shares
