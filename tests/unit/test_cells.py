"""What cells say beyond their equations: proven ranges, options, and how their vectors are fitted."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

import networks
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Graph
from bittailor.core.network import Network
from bittailor.core.qformat import symmetric_unit_format
from bittailor.errors import UnsupportedNetwork
from bittailor.quantise.calibration import CalibrationSettings, calibrate, with_settings
from bittailor.quantise.spaces import per_layer, per_operator


def graph_of(cell: str, features: int = 4, hidden: int = 4, **options: object) -> Graph:
    b = Builder()
    return b.graph(add_layer(b, CELLS[cell], "c", b.input("input", features), hidden, **options))


@pytest.mark.parametrize(("cell", "options", "proven"), [
    ("gru", {}, {"c.h": True}), ("gru_cho", {}, {"c.h": True}), ("lstm", {}, {"c.h": True, "c.c": False}),
    ("lstm", {"project": 2}, {"c.h": False, "c.c": False}), ("ligru", {}, {"c.h": False}),
    ("mingru", {}, {"c.h": False}), ("sru", {}, {"c.c": False, "c.h": False}),
])
def test_which_states_need_no_calibration(cell: str, options: dict[str, object], proven: dict[str, bool]) -> None:
    graph = graph_of(cell, **options)
    for site, known in proven.items():
        assert graph.given_format(site, 6) == (symmetric_unit_format(6) if known else None), site


@pytest.mark.parametrize(("cell", "variant"), networks.CELL_VARIANTS)
def test_proven_ranges_hold_for_any_weights(cell: str, variant: str) -> None:
    graph = graph_of(cell, **networks.options_of(cell, variant))
    rng = np.random.default_rng(0)
    parameters = {name: 5 * values for name, values in networks.random_parameters(graph, rng).items()}
    values = Network(graph, parameters).trace(10 * rng.normal(size=(20, 15, 4)))
    checked = [site for site in graph.sites.values() if site.proven]
    assert checked or variant == "relu"  # which knows no bound
    for site in checked:
        low, high = site.proven
        assert low <= values[site.name].min() <= values[site.name].max() <= high, site.name


def test_states_are_visible_where_asked() -> None:
    b = Builder()
    add_layer(b, CELLS["lstm"], "c", b.input("input", 3), 4, states=True)
    assert b.graph("c.h").steps[0].outputs == ("c.h", "c.c")


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UnsupportedNetwork, match="cell 'gru' has no option 'project'; it has: none"):
        graph_of("gru", project=2)
    with pytest.raises(UnsupportedNetwork, match="cell 'lstm' has no option 'projct'; it has: project"):
        graph_of("lstm", projct=2)
    with pytest.raises(UnsupportedNetwork, match="skip term of 'c' has 3 features and its state 4"):
        graph_of("sru", features=3, skip="input")


def test_a_diagonal_of_other_features_is_refused() -> None:
    b = Builder()
    b.input("input", 3)
    with pytest.raises(UnsupportedNetwork, match="has 4 weights for 3 features"):
        b.op("diagonal", "y", "input", params=("v",), features=4)


def test_vectors_are_fitted_by_themselves() -> None:
    """One scale and the nearest integers, whatever is asked for matrices; equal weights are exact in one bit."""
    graph = graph_of("sru", scaled=True)
    rng = np.random.default_rng(1)
    parameters = networks.random_parameters(graph, rng) | {"c.v_s": np.full((4, 1), 1.3)}
    calibration = calibrate(Network(graph, parameters), rng.normal(size=(20, 6, 4)))
    for settings in (CalibrationSettings(), CalibrationSettings(per_row=True), CalibrationSettings(rounding="nearest"),
                         CalibrationSettings(method="minmax")):
        found = with_settings(calibration, **asdict(settings))
        fmt = found.format("c.v_f", 5)
        assert len(fmt.scale) == 1
        assert np.array_equal(found.integers("c.v_f", fmt), fmt.quantise(parameters["c.v_f"]))
        assert np.abs(fmt.dequantise(fmt.quantise(parameters["c.v_f"])) - parameters["c.v_f"]).max() < fmt.scale[0]
    for bits in (1, 2, 8, 16):
        fmt = calibration.format("c.v_s", bits)
        assert fmt.dequantise(calibration.integers("c.v_s", fmt)) == pytest.approx(1.3)


def test_spaces_over_an_sru() -> None:
    """Every vector has a gene of its own; with one gene a product, vectors stay at the width of the rest."""
    graph = graph_of("sru", features=3)
    genes = {gene.name for gene in per_operator(graph).genes}
    assert {"c.v_f", "c.v_r", "c.W_s", "c.c", "c.f.c"} <= genes
    coarse = per_layer(graph)
    assert [gene.sites for gene in coarse.genes] == [("c.W_x", "c.W_f", "c.W_r", "c.W_s"), ("input",)]
    assert coarse.fixed["c.v_f"] == 16
