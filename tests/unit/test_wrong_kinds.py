"""Python: what is of another kind than expected is refused in a line that says what was given and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bittailor as bt
import networks
from bittailor.engines import ENGINES
from bittailor.report import write_report

NETWORK = networks.gru_network(3, 4, 2)
X = np.zeros((6, 5, 3), np.float32)
PART = bt.Data(X, np.arange(6) % 2)
SPLITS = bt.Splits(PART, PART, PART)
CALIBRATION = bt.calibrate(NETWORK, np.random.default_rng(0).normal(size=(6, 5, 3)))
WIDTHS = {site.name: 8 for site in NETWORK.graph.free}
PROGRAM = CALIBRATION.binder().bind(CALIBRATION.plan(WIDTHS))


@pytest.mark.parametrize("given", [np.zeros(3), {"a": 1}, (1, 2), None, 7, "text", object()])
@pytest.mark.parametrize(("call", "wanted"), [
    (lambda given, out: bt.run_search(given, SPLITS, out), "network is .*; expected a Network"),
    (lambda given, out: bt.run_search(NETWORK, given, out), "data is .*; expected a Splits"),
    (lambda given, out: bt.run_search(NETWORK, SPLITS, out, given), "spec is .*; expected a SearchSpec"),
    (lambda given, out: bt.calibrate(given, X), "network is .*; expected a Network"),
    (lambda given, out: bt.Splits(PART, given, PART), "valid is .*; expected a Data"),
    (lambda given, out: bt.export_program(given, out), "program is .*; expected a Program"),
    (lambda given, out: bt.bind(NETWORK, given), "plan is .*; expected a Plan"),
    (lambda given, out: bt.SearchSpec(search=given), "search is .*; expected .*SearchSettings"),
    (lambda given, out: bt.BeaconSettings(recipe=given), "recipe is .*; expected .*Retraining"),
    (lambda given, out: bt.retrain_picks(given, SPLITS, ["8bit"]), "run is .*; expected a Run"),
    (lambda given, out: bt.run_sensitivity(given, SPLITS), "run is .*; expected a Run"),
    (lambda given, out: write_report(given, out), "run is .*; expected a Run"),
    (lambda given, out: ENGINES["reference"].run(given, np.zeros((1, 2, 3), int)), "program is .*; expected a Program"),
    (lambda given, out: ENGINES["native"].run(given, np.zeros((1, 2, 3), int)), "program is .*; expected a Program"),
    (lambda given, out: ENGINES["torch"].run(given, np.zeros((1, 2, 3), int)), "program is .*; expected a Program"),
    (lambda given, out: ENGINES["native"].run_many([PROGRAM, given], np.zeros((1, 2, 3), int)), "expected a Program"),
    (lambda given, out: bt.from_torch(given), "expected a torch.nn.Module; got "),
])
def test_wrong_kinds(tmp_path: Any, given: Any, call: Callable[[Any, Any], Any], wanted: str) -> None:
    with pytest.raises(bt.BittailorError, match=wanted) as caught:
        call(given, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("call", "wanted"), [
    (lambda: bt.Data(X * 1j, PART.y), "x cannot be read as numbers: it is of type complex"),
    (lambda: bt.Data(X, PART.y, lengths=np.full(6, np.nan)), "lengths must be whole numbers"),
    (lambda: bt.Data(X, PART.y, lengths=np.full(6, 2.5)), "lengths must be whole numbers"),
    (lambda: bt.Data(X, PART.y, groups=np.full(6, 0.5)), "groups must be whole numbers"),
    (lambda: bt.Data(X, PART.y, lengths=["a"] * 6), "lengths cannot be read as numbers"),
    (lambda: NETWORK(X * 1j), "the input cannot be read as numbers"),
    (lambda: NETWORK([["a"]]), "the input cannot be read as numbers"),
    (lambda: PROGRAM.quantise_input(np.zeros((2, 5, 4))), "takes 3 features per step; got shape"),
    (lambda: PROGRAM.quantise_input(X * 1j), "the input cannot be read as numbers"),
    (lambda: CALIBRATION.plan({**WIDTHS, "gru0.W_xx": 8}), "there is no free site 'gru0.W_xx'"),
    (lambda: CALIBRATION.plan({k: v for k, v in WIDTHS.items() if k != "head.W"}), "site 'head.W' has no width"),
    (lambda: bt.SearchSpec(workers=-1), "workers is -1; expected a whole number, 0 or more"),
    (lambda: bt.SearchSpec(workers=2.0), "workers is 2.0; expected a whole number"),
    (lambda: bt.SearchSpec(objectives="error,size"), "objectives is 'error,size'; expected a list"),
    (lambda: bt.SearchSettings(population="40"), "population is '40'; expected a whole number"),
    (lambda: bt.SearchSettings(seed=2**32), "seed is 4294967296; expected a whole number, 4294967295 at most"),
    (lambda: bt.TaskSettings(seed=2**64), "seed is .*; expected a whole number of at most 63 bits"),
    (lambda: bt.Retraining(epochs=1.5), "epochs is 1.5; expected a whole number"),
    (lambda: bt.Retraining(rate=float("inf")), "rate is inf; expected a number"),
    (lambda: bt.BeaconSettings(share=2), "share is 2.0; expected a share, 0..1"),
    (lambda: bt.BeaconSettings(weighted=3), "weighted is 3; expected true or false"),
])
def test_wrong_values(call: Callable[[], Any], wanted: str) -> None:
    with pytest.raises(bt.BittailorError, match=wanted):
        call()


def odd(of: str) -> list[Any]:
    return [v for v in ([[1], [1, 2]], {"a": 1}, None, "text", object(), (1, 2), float("nan"), 1j, True)
            if not (of == "lengths" and v in (None, (1, 2)))]  # which are lengths


@pytest.mark.parametrize("engine", ["reference", "native", "torch"])
@pytest.mark.parametrize(("what", "given"), [(what, given) for what in ("q", "lengths") for given in odd(what)])
def test_wrong_inputs_of_engines(engine: str, what: str, given: Any) -> None:
    if ENGINES[engine].available() is not None:
        pytest.skip("not here")
    inputs = {"q": np.zeros((2, 3, 3), int), "lengths": None, what: given}
    with pytest.raises(bt.BittailorError) as caught:
        ENGINES[engine].run(PROGRAM, inputs["q"], inputs["lengths"])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("features", ["3", 0, -1, 2.5, [3], True, np.zeros(3)])
def test_wrong_features_of_a_module(features: Any) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(bt.BittailorError, match=r"input_features is .*; expected a whole number"):
        bt.from_torch(torch.nn.GRU(3, 2, batch_first=True), features)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    spec = bt.SearchSpec(search=bt.SearchSettings(population=4, generations=1), workers=1)
    return bt.run_search(NETWORK, SPLITS, tmp_path_factory.mktemp("run") / "run", spec)


@pytest.mark.parametrize("given", [np.zeros(3), {"a": 1}, (1, 2), 7, object()])
def test_wrong_kinds_beside_a_run(made: bt.Run, given: Any) -> None:
    """A run is right, what is given with it is not."""
    before = sorted(made.path.rglob("*"))
    for call, wanted in (
        (lambda: bt.run_sensitivity(made, given), "data is .*; expected a Splits"),
        (lambda: bt.run_sensitivity(made, SPLITS, given), "pick is .*; expected a str|there is no solution 7"),
        (lambda: made.pick(given), "pick is .*; expected a str|there is no solution 7"),
        (lambda: write_report(made, given), "out is .*; expected a folder"),
    ):
        with pytest.raises(bt.BittailorError, match=wanted):
            call()
    assert sorted(made.path.rglob("*")) == before


def test_numpys_numbers_are_numbers() -> None:
    settings = bt.SearchSettings(population=np.int64(12), crossover_probability=np.float32(0.5))
    assert (type(settings.population), settings.crossover_probability) == (int, 0.5)
