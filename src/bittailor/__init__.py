"""bittailor: tailors the bit width of every operator of a recurrent network.

    import bittailor as bt

    network = bt.from_torch(model)                      # torch.nn.GRU, nn.Linear, … -> named sites
    run = bt.run_search(network, splits, "runs/mine")       # NSGA-II over every operator's width
    solution = run.pick("smallest")                     # no worse than homogeneous 8 bits
    program = run.program(solution)                     # integers only

Names load what they need when they are first used, so that `import bittailor` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bittailor._version import __version__

_WHERE = {
    "BeaconSettings": "beacons:Settings",
    "BittailorError": "errors",
    "Calibration": "calibration",
    "CalibrationSettings": "calibration:Settings",
    "Data": "data",
    "ENGINES": "engines",
    "Network": "network",
    "OBJECTIVES": "evaluate",
    "Plan": "plan",
    "Program": "program",
    "QFormat": "qformat",
    "Run": "runs",
    "SearchSettings": "search.nsga2:Settings",
    "Solution": "runs",
    "Space": "search.space",
    "Splits": "data",
    "TASKS": "tasks",
    "account": "cost",
    "best_engine": "engines",
    "bind": "program",
    "calibrate": "calibration",
    "export_program": "export",
    "from_torch": "read",
    "grouped": "spaces",
    "homogeneous": "spaces",
    "homogeneous_widths": "spaces",
    "parameter_bits": "cost",
    "per_layer": "spaces",
    "per_operator": "spaces",
    "retrain_picks": "runs",
    "run_search": "runs",
    "run_sensitivity": "runs",
    "train_task": "api",
    "write_report": "report",
}
"""Public name -> module, or module:name where it is called otherwise there."""

__all__ = ["__version__", *_WHERE]

_ROOMS = ("nn",)
"""Packages that are part of the public names, too: `bt.nn.SRU`."""

if TYPE_CHECKING:
    from bittailor.api import train_task as train_task
    from bittailor.beacons import Settings as BeaconSettings
    from bittailor.calibration import Calibration as Calibration
    from bittailor.calibration import Settings as CalibrationSettings
    from bittailor.calibration import calibrate as calibrate
    from bittailor.cost import account as account
    from bittailor.cost import parameter_bits as parameter_bits
    from bittailor.data import Data as Data
    from bittailor.data import Splits as Splits
    from bittailor.engines import ENGINES as ENGINES
    from bittailor.engines import best_engine as best_engine
    from bittailor.errors import BittailorError as BittailorError
    from bittailor.evaluate import OBJECTIVES as OBJECTIVES
    from bittailor.export import export_program as export_program
    from bittailor.network import Network as Network
    from bittailor.plan import Plan as Plan
    from bittailor.program import Program as Program
    from bittailor.program import bind as bind
    from bittailor.qformat import QFormat as QFormat
    from bittailor.read import from_torch as from_torch
    from bittailor.report import write_report as write_report
    from bittailor.runs import Run as Run
    from bittailor.runs import Solution as Solution
    from bittailor.runs import retrain_picks as retrain_picks
    from bittailor.runs import run_search as run_search
    from bittailor.runs import run_sensitivity as run_sensitivity
    from bittailor.search.nsga2 import Settings as SearchSettings
    from bittailor.search.space import Space as Space
    from bittailor.spaces import grouped as grouped
    from bittailor.spaces import homogeneous as homogeneous
    from bittailor.spaces import homogeneous_widths as homogeneous_widths
    from bittailor.spaces import per_layer as per_layer
    from bittailor.spaces import per_operator as per_operator
    from bittailor.tasks import TASKS as TASKS


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"bittailor.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'bittailor' has no attribute '{name}'; it has: {', '.join(_WHERE)}")
    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(importlib.import_module(f"bittailor.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE, *_ROOMS])
