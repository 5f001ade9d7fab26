"""Networks and plans in the form of the golden vectors, and the same as bittailor's own objects.

A *case* is what `golden/make_golden.py` makes: graph, plan and parameters as JSON, which plain Python binds and runs.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.qformat import QFormat
from golden import make_golden

Json = dict[str, Any]

ENDS = ("last linear", "linear mean", "relu linear last", "first linear sigmoid", "mean linear tanh",
        "linear", "requantise linear last softplus", "")


def random_golden(seed: int, low: int = 1, high: int = 16, **changes: Any) -> Json:
    """A random network with a random plan; arguments of `make_golden.make_case` can be fixed."""
    rng = random.Random(seed)
    options = [(cell.name, dict(option)) for cell in CELLS.values() for option in ({}, *cell.variants.values())]
    arguments: Json = {
        "widths": (low, high), "end": rng.choice(ENDS), "features": rng.randint(1, 4), "hidden": rng.randint(1, 5),
        "layers": rng.randint(1, 2), "directions": rng.randint(1, 2), "bias": rng.random() < 0.7,
        "bias_bits": rng.choice((None, 16, 32)), "per_row": rng.random() < 0.3, "steps": rng.randint(1, 6),
    }
    arguments |= zip(("cell", "options"), rng.choice(options), strict=True)
    arguments["begun"] = rng.random() < 0.4
    return make_golden.make_case(seed, **arguments | changes)


def golden_network(case: Json) -> Network:
    """The case's network, written with the builder and the cells."""
    parameters = {name: np.asarray(values, np.float64) for name, values in case["parameters"].items()}
    about = case["about"]
    b = Builder()
    if "rows" in about:
        b.index("input", about["rows"])
    else:
        b.input("input", about["features"])
    for step in case["graph"]["steps"]:
        if "recurrence" in step:
            source = {"source": step["inputs"][1]} if len(step["inputs"]) > 1 else {}
            starts = {name.rsplit(".", 1)[1]: values for name, values in step.get("starts", {}).items()}
            add_layer(b, CELLS[step["cell"]], step["recurrence"], step["inputs"][0], about["hidden"], about["bias"],
                      step["reverse"], starts=starts, **about["options"], **source)
        elif step["op"] == "embedding":
            b.embedding(step["output"], step["inputs"][0], step["params"][0], step["options"]["features"])
        elif step["op"] == "grouped_linear":
            b.grouped_linear(step["output"], step["inputs"][0], step["params"][0], step["options"]["features"],
                             step["options"]["groups"], *step["params"][1:])
        elif step["op"] == "linear":
            b.linear(step["output"], step["inputs"][0], step["params"][0], step["options"]["features"],
                     *step["params"][1:])
        else:
            b.op(step["op"], step["output"], *step["inputs"], **step["options"])
    return Network(b.graph(*case["graph"]["outputs"]), parameters)


def golden_plan(case: Json) -> Plan:
    """The case's plan."""
    return Plan({name: QFormat.from_json(fmt) for name, fmt in case["plan"].items()})
