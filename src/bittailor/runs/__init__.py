"""A search and its directory: a run holds everything that the search depends on, and what it found.

    run.json                 what was asked for: configuration, versions, fingerprints (written first)
    network.safetensors      the float network
    calibration.safetensors  the frozen statistics that give every range
    evaluations.sqlite       every evaluation, the cache that a resumed search replays from
    beacons/                 retrained networks, a folder each (see `bittailor.train.beacons`)
    sensitivity/             what every operator does to the error, where that was asked for
    result.json              fronts, baselines and history, with test figures (written last)

Killing the process loses at most the evaluations in flight; `resume=True` goes on to the same result.
"""

from bittailor.runs.forms import Solution
from bittailor.runs.retraining import Retrained, retrain_picks, run_sensitivity
from bittailor.runs.run import Run
from bittailor.runs.searching import run_search
from bittailor.runs.seeding import seeds
from bittailor.runs.spec import Origin, SearchSpec, SpaceSettings, TaskSettings

__all__ = ["Origin", "Retrained", "Run", "SearchSpec", "Solution", "SpaceSettings", "TaskSettings", "retrain_picks",
           "run_search", "run_sensitivity", "seeds"]
