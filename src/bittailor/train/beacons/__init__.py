"""Beacons: retrained networks that stand for their neighbourhood in the space of widths.

Post-training quantisation is pessimistic where widths are narrow, and retraining every candidate is too slow. So a few
are retrained, and their neighbours are quantised, without training, from their weights; the better result counts.

Source  Rezk et al., MOHAQ: Multi-Objective Hardware-Aware Quantization of Recurrent Neural Networks, arXiv 2108.01192.

    RUN/beacons/NAME/network.safetensors      the master weights
    RUN/beacons/NAME/calibration.safetensors  their statistics; formats and integers of what was trained are in it
    RUN/beacons/NAME/beacon.json              widths, history, recipe, figures (written last); or why training failed

A name is made from everything that the training depends on: the same training is the same beacon in any run.
"""

from bittailor.train.beacons.base import (
           Beacon,
           BeaconSettings,
           distance,
           fitting_beacons,
           given_beacons,
           nearest,
           read_beacons,
)
from bittailor.train.beacons.polish import polish
from bittailor.train.beacons.searching import BeaconSearch, Region
from bittailor.train.beacons.training import Job, Trainer, need_torch, train_all

__all__ = [
           "Beacon",
           "BeaconSearch",
           "BeaconSettings",
           "Job",
           "Region",
           "Trainer",
           "distance",
           "fitting_beacons",
           "given_beacons",
           "nearest",
           "need_torch",
           "polish",
           "read_beacons",
           "train_all",
]
