"""Early stopping takes the search nowhere else: same course, same front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_runs import small_data, small_network

import bittailor as bt
from bittailor.evaluate.early_stopping import EarlyStopping
from bittailor.evaluate.evaluator import Evaluator
from bittailor.search.loop import Rivals


@pytest.mark.parametrize("guide", ["loss", "error"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_front_is_the_same_as_without(tmp_path: Path, guide: str, seed: int) -> None:
    network = small_network(seed)
    data = small_data(network, seed)
    settings = bt.SearchSettings(population=8, offspring=40, generations=8, seed=seed)
    runs = [
        bt.run_search(network, data, tmp_path / str(stop),
                      bt.SearchSpec(search=settings, guide=guide, early_stopping=stop,
                                    constraints=["size<=160B"] if seed == 2 else []))
        for stop in (False, True)
    ]
    assert runs[0].front == runs[1].front
    assert runs[0].picks["smallest"] == runs[1].picks["smallest"]
    assert runs[0].result["history"][-1]["points"] == runs[1].result["history"][-1]["points"]
    assert runs[0].result["dropped"] == 0
    if guide == "error":
        assert runs[1].result["dropped"] > 20
        assert runs[1].result["saved_percent"] > 2


def test_values_of_kept_candidates_are_those_of_a_plain_evaluation() -> None:
    network = small_network()
    data = small_data(network)
    calibration = bt.calibrate(network, data.train.x, data.train.lengths)
    space = bt.per_operator(network.graph)
    evaluator = Evaluator(calibration, data.valid, "error", "reference", ("error", "loss", "size"))
    screen = EarlyStopping(evaluator, space, ("error", "size"), {"error": "loss"}, [])
    genomes = space.random(np.random.default_rng(0), 50)
    plain = evaluator.evaluate([space.widths(g) for g in genomes])
    # nobody to lose to: all run to the end
    screen.announce(Rivals(np.empty((0, 2)), 100, np.empty((0, 2))))
    assert [o.values for o in screen(genomes)] == plain
    # better than anything: enough of them to fill the population, and one too few
    best = np.array([[-1.0, 0.0]])
    screen.announce(Rivals(np.repeat(best, 3, axis=0), 3, best))
    assert not any(o.values for o in screen(genomes))
    screen.announce(Rivals(best, 60, best))
    assert [o.values for o in screen(genomes)] == plain
    # nothing on the front: a candidate may enter it
    screen.announce(Rivals(np.repeat(best, 3, axis=0), 3, np.empty((0, 2))))
    assert any(o.values for o in screen(genomes))
