"""Networks of several outputs: read side by side by name, measured part by part, told apart where they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bittailor as bt
from bittailor.core.checks import check_graph
from bittailor.core.graph import Graph
from bittailor.core.program import Program, bind
from bittailor.errors import BittailorError, DataError, FormatError, UnsupportedNetwork
from bittailor.evaluate.metrics import METRICS
from bittailor.export import export_program
from bittailor.read import from_torch
from networks import random_plan


class TwoHeads(nn.Module):
    """Gains of bands and voice activity, as networks that take noise out of speech have them."""

    def __init__(self, returned: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.gains, self.vad = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 4), nn.Linear(6, 1)
        self.returned = returned

    def forward(self, x: Tensor) -> Any:
        h, _ = self.gru(x)
        return self.returned(h, torch.sigmoid(self.gains(h)), torch.sigmoid(self.vad(h)))


FORMS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Any], dict[str, slice]]] = {
    "tuple": (lambda h, g, v: (g, v), {"gains": slice(0, 4), "vad": slice(4, 5)}),
    "list": (lambda h, g, v: [g, v], {"gains": slice(0, 4), "vad": slice(4, 5)}),
    "dict": (lambda h, g, v: {"gains": g, "vad": v}, {"gains": slice(0, 4), "vad": slice(4, 5)}),
    "squeezed": (lambda h, g, v: {"vad": v.squeeze(-1), "gains": g}, {"vad": slice(0, 1), "gains": slice(1, 5)}),
    "layouts": (lambda h, g, v: (g.transpose(0, 1), v), {"gains": slice(0, 4), "vad": slice(4, 5)}),
    "each item": (lambda h, g, v: {"a": g[:, -1], "b": v.mean(1)}, {"a": slice(0, 4), "b": slice(4, 5)}),
    "with states": (lambda h, g, v: (g, v, h[:, -1]), {"gains": slice(0, 4), "vad": slice(4, 5)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_several_outputs_are_read(form: str) -> None:
    """`from_torch` compares every one of them with the module."""
    returned, parts = FORMS[form]
    assert from_torch(TwoHeads(returned), 3).parts == parts


def test_what_is_refused() -> None:
    message = r"'gains' \[items, steps, features\], 'vad' \[items, features\]; several"
    with pytest.raises(UnsupportedNetwork, match=message):
        from_torch(TwoHeads(lambda h, g, v: {"gains": g, "vad": v.mean(1)}), 3)
    with pytest.raises(UnsupportedNetwork, match=r"its forward returns \(Tensor, str\)"):
        from_torch(TwoHeads(lambda h, g, v: (g, "vad")), 3)


def made() -> tuple[bt.Network, Program]:
    network = from_torch(TwoHeads(FORMS["dict"][0]), 3)
    rng = np.random.default_rng(0)
    return network, bind(network, random_plan(network, rng.normal(size=(4, 6, 3)), rng))


def test_the_program_and_what_is_exported_say_which_columns_are_which(tmp_path: Path) -> None:
    network, program = made()
    again = Program.from_bytes(program.to_bytes())
    assert network.parts == program.parts == again.parts == {"gains": slice(0, 4), "vad": slice(4, 5)}
    assert bt.module(program).parts == program.parts
    assert from_torch(nn.Linear(3, 2)).parts == {}
    export_program(program, tmp_path / "c", "c")
    header = "".join(p.read_text() for p in (tmp_path / "c").rglob("*.h"))
    for line in ("_GAINS 0u", "_GAINS_OUTPUTS 4u", "_VAD 4u", "_VAD_OUTPUTS 1u"):
        assert line in header
    for names in (["gains"], ["gains", "gains"], "gv", [1, 2]):
        form = program.graph.to_json()
        form["steps"][-1]["options"]["names"] = names
        with pytest.raises(FormatError, match="expected a list with one of its own for each"):
            check_graph(Graph.from_json(form))


def data(rng: np.random.Generator) -> tuple[np.ndarray, bt.Targets]:
    lengths = np.array([5, 3, 2])
    y = np.concatenate([rng.random((3, 5, 4)), rng.integers(0, 2, (3, 5, 1))], axis=2).astype(np.float32)
    return rng.random((3, 5, 5)), bt.Targets(y, lengths)


def test_a_weighted_metric_is_the_sum_of_its_parts(rng: np.random.Generator) -> None:
    network, _ = made()
    outputs, targets = data(rng)
    metric = bt.weighted(network.parts, {"gains": ("mse", 2.0), "vad": ("binary_error", 0.1)})
    gains = METRICS["mse"].value(outputs[..., :4], bt.Targets(targets.y[..., :4], targets.lengths))
    vad = METRICS["binary_error"].value(outputs[..., 4:], bt.Targets(targets.y[..., 4:], targets.lengths))
    assert np.isclose(metric.value(outputs, targets), 2 * gains + 0.1 * vad)
    assert np.isclose(metric.per_item(outputs, targets).mean(), 2 * gains + 0.1 * vad)
    loss = metric.loss_for(targets)
    there = bt.Targets(torch.from_numpy(targets.y), torch.from_numpy(targets.lengths))
    value = torch.tensor(outputs, requires_grad=True)
    trained = loss.train(value, there)
    trained.backward()
    assert np.isclose(float(trained.detach()), loss.of(outputs, targets))
    assert np.isclose(loss.per_item(outputs, targets).mean(), loss.of(outputs, targets))
    assert value.grad is not None
    assert (value.grad[0, 0] != 0).all()
    metric.check(targets, 5, True)
    better = bt.weighted(network.parts, {"gains": ("si_sdr", 1.0)}, "sdr")
    assert np.isclose(better.value(outputs, targets), -better.each(outputs, targets)["gains"])
    assert metric.key != bt.weighted(network.parts, {"gains": ("mse", 1.0), "vad": ("binary_error", 0.1)}).key


def test_targets_of_a_part_may_be_extras(rng: np.random.Generator) -> None:
    labels = np.array([1, 0, 2])
    metric = bt.weighted({"value": slice(0, 1), "kind": slice(1, 4)},
                         {"value": ("mse", 1.0), "kind": ("classification_error", 0.01, "kind")})
    outputs = np.concatenate([np.zeros((3, 1)), np.eye(3)[labels]], axis=1)
    y = np.ones((3, 4), np.float32)
    assert metric.value(outputs, bt.Targets(y, np.ones(3, np.int64), {"kind": labels})) == 1.0
    with pytest.raises(DataError, match=r"extras\['kind'\], which the data do not have"):
        metric.value(outputs, bt.Targets(y, np.ones(3, np.int64)))


def test_bad_parts_are_refused() -> None:
    columns = {"gains": slice(0, 4)}
    for parts, message in (
            ({"vad": ("mse", 1.0)}, "there is no output 'vad'; there are: gains"), ({}, "a part at least"),
            ({"gains": ("mse", 0)}, "a positive number"), ({"gains": ("msee", 1)}, "did you mean 'mse'")):
        with pytest.raises(BittailorError, match=message):
            bt.weighted(columns, parts)
    metric = bt.weighted(columns, {"gains": ("mse", 1.0)})
    with pytest.raises(DataError, match="its parts take 4 outputs; the network has 3"):
        metric.check(bt.Targets(np.zeros((2, 3), np.float32), np.ones(2, np.int64)), 3, False)


def test_a_search_with_a_weighted_metric(rng: np.random.Generator, tmp_path: Path) -> None:
    network, _ = made()
    x = rng.normal(size=(24, 5, 3)).astype(np.float32)
    y = network(x).astype(np.float32)
    y[..., 4:] = y[..., 4:] > 0.5
    split = bt.Data(x, y)
    metric = bt.weighted(network.parts, {"gains": ("mse", 1.0), "vad": ("binary_error", 0.01)}, "both")
    run = bt.run_search(network, bt.Splits(split, split, split), tmp_path / "run", bt.SearchSpec(
        metric=metric, search=bt.SearchSettings(generations=2, population=6)))
    assert run.metric.name == "both"
    assert run.program(run.pick("knee")).parts == network.parts
