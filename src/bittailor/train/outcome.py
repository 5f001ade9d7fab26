"""What stays of a retraining: a calibration of the trained weights, pinned at the trained widths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike

from bittailor.common.data import Data
from bittailor.core.arith import Floats
from bittailor.core.network import Network
from bittailor.core.program import Program
from bittailor.engines.torch.runner import Runner
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.train.integer import IntegerNetwork
from bittailor.train.masters import MasterWeights


def trained_calibration(network: IntegerNetwork, masters: MasterWeights, calibration: Calibration, train: Data
                        ) -> Calibration:
    """A calibration of the trained weights, pinned at the trained widths.

    Its network holds what the integers stand for, not the master weights behind them: those are only where the
    optimizer was, and neighbours fitted to them are no better than untrained ones (docs/training.md).
    """
    network.release()  # a batch in training takes several times the room of one that runs
    integers = masters.integers()
    program = network.bind(masters.plan(), integers, masters.biases())
    trained = Network(network.graph, masters.dequantised(integers))
    runner = Runner(network.graph)
    runner.take([program])
    running = _Running(network.graph, trained.parameters, runner, program)
    seen = calibrate(running, train.x, train.lengths, calibration.settings)
    runner.release()
    pinned = {(name, fmt.bits): fmt for name, fmt in masters.formats.items()}
    fitted = {(name, masters.formats[name]): q for name, q in integers.items()}
    return Calibration(trained, calibration.settings, seen.observed, seen.moments, pinned, fitted)


@dataclass(frozen=True, eq=False)
class _Running(Network):
    """A network whose trace is that of a program, as real values: what neighbours of the trained widths are
    calibrated on."""

    runner: Runner
    program: Program

    def trace(self, x: ArrayLike, lengths: ArrayLike | None = None, keep: bool = True) -> dict[str, Floats]:
        values, sizes = self.check_input(x, lengths)
        q = torch.from_numpy(self.program.quantise_input(values))
        self.runner.forward([q], torch.from_numpy(sizes), keep=True)
        return {name: self.program.formats[name].dequantise(q) for name, q in self.runner.trace().items()}
