"""bittailor: tailors the bit width of every operator of a recurrent network.

    import bittailor as bt

    network = bt.from_torch(model)                      # torch.nn.GRU, nn.Linear, … -> named sites
    run = bt.run_search(network, splits, "runs/mine")       # NSGA-II over every operator's width
    solution = run.pick("holds")                        # the one to ship
    program = run.program(solution)                     # integers only

Names load what they need when they are first used, so that `import bittailor` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bittailor._version import __version__

_WHERE = {
    "BeaconSettings": "train.beacons",
    "BittailorError": "errors",
    "Calibration": "quantise.calibration",
    "CalibrationSettings": "quantise.calibration",
    "Data": "common.data",
    "ENGINES": "engines",
    "Loss": "evaluate.losses",
    "METRICS": "evaluate.metrics",
    "Metric": "evaluate.metrics",
    "Network": "core.network",
    "OBJECTIVES": "evaluate.evaluator",
    "Plan": "core.plan",
    "Program": "core.program",
    "QFormat": "core.qformat",
    "Retraining": "train.recipe",
    "RoleSettings": "common.roles",
    "Run": "runs",
    "SearchSettings": "search.settings",
    "SearchSpec": "runs",
    "Solution": "runs",
    "Space": "search.space",
    "SpaceSettings": "runs",
    "Splits": "common.data",
    "Targets": "common.data",
    "TASKS": "tasks",
    "TaskSettings": "runs",
    "account": "cost",
    "best_engine": "engines",
    "bind": "core.program",
    "calibrate": "quantise.calibration",
    "export_program": "export",
    "from_arrays": "read",
    "from_keras": "read",
    "from_onnx": "read",
    "from_torch": "read",
    "grouped": "quantise.spaces",
    "homogeneous": "quantise.spaces",
    "homogeneous_widths": "quantise.spaces",
    "metric": "evaluate.metrics",
    "module": "export.torch",
    "parameter_bits": "cost",
    "per_layer": "quantise.spaces",
    "per_operator": "quantise.spaces",
    "retrain_picks": "runs",
    "run_search": "runs",
    "run_sensitivity": "runs",
    "train_task": "cli.actions",
    "weighted": "evaluate.parts",
    "write_comparison": "report",
    "write_report": "report",
}
"""Public name -> module, or module:name where it is called otherwise there."""

__all__ = ["__version__", *_WHERE]

_ROOMS = ("nn",)
"""Packages that are part of the public names, too: `bt.nn.SRU`."""

if TYPE_CHECKING:
    from bittailor.cli.actions import train_task as train_task
    from bittailor.common.data import Data as Data
    from bittailor.common.data import Splits as Splits
    from bittailor.common.data import Targets as Targets
    from bittailor.common.roles import RoleSettings as RoleSettings
    from bittailor.core.network import Network as Network
    from bittailor.core.plan import Plan as Plan
    from bittailor.core.program import Program as Program
    from bittailor.core.program import bind as bind
    from bittailor.core.qformat import QFormat as QFormat
    from bittailor.cost import account as account
    from bittailor.cost import parameter_bits as parameter_bits
    from bittailor.engines import ENGINES as ENGINES
    from bittailor.engines import best_engine as best_engine
    from bittailor.errors import BittailorError as BittailorError
    from bittailor.evaluate.evaluator import OBJECTIVES as OBJECTIVES
    from bittailor.evaluate.losses import Loss as Loss
    from bittailor.evaluate.metrics import METRICS as METRICS
    from bittailor.evaluate.metrics import Metric as Metric
    from bittailor.evaluate.metrics import metric as metric
    from bittailor.evaluate.parts import weighted as weighted
    from bittailor.export import export_program as export_program
    from bittailor.export.torch import module as module
    from bittailor.quantise.calibration import Calibration as Calibration
    from bittailor.quantise.calibration import CalibrationSettings as CalibrationSettings
    from bittailor.quantise.calibration import calibrate as calibrate
    from bittailor.quantise.spaces import grouped as grouped
    from bittailor.quantise.spaces import homogeneous as homogeneous
    from bittailor.quantise.spaces import homogeneous_widths as homogeneous_widths
    from bittailor.quantise.spaces import per_layer as per_layer
    from bittailor.quantise.spaces import per_operator as per_operator
    from bittailor.read import from_arrays as from_arrays
    from bittailor.read import from_keras as from_keras
    from bittailor.read import from_onnx as from_onnx
    from bittailor.read import from_torch as from_torch
    from bittailor.report import write_comparison as write_comparison
    from bittailor.report import write_report as write_report
    from bittailor.runs import Run as Run
    from bittailor.runs import SearchSpec as SearchSpec
    from bittailor.runs import Solution as Solution
    from bittailor.runs import SpaceSettings as SpaceSettings
    from bittailor.runs import TaskSettings as TaskSettings
    from bittailor.runs import retrain_picks as retrain_picks
    from bittailor.runs import run_search as run_search
    from bittailor.runs import run_sensitivity as run_sensitivity
    from bittailor.search.settings import SearchSettings as SearchSettings
    from bittailor.search.space import Space as Space
    from bittailor.tasks import TASKS as TASKS
    from bittailor.train.beacons import BeaconSettings as BeaconSettings
    from bittailor.train.recipe import Retraining as Retraining


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
