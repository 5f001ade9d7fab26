"""Public networks (`zoo.py`) through torch's exporter: what is read from the file is what is read from the module."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

import zoo  # noqa: E402
from bittailor.core.network import Network  # noqa: E402
from bittailor.errors import UnsupportedNetwork  # noqa: E402
from bittailor.read import from_keras, from_onnx, from_torch  # noqa: E402

READ = [name for name, entry in zoo.ZOO.items() if not entry.refused]
REFUSED = {
    "cell_loop": "one matrix is used 7 times",
    "ligru": "one matrix is used 7 times",
    "mingru": "no part of its own",
    "sru": "without taking an axis apart",
}
"""A loop over cells, and layers of `bittailor.nn`, which ONNX has no nodes for: what the exporter unrolled or took to
pieces."""
NOT_EXPORTED = [name for name in READ if zoo.ZOO[name].onnx == zoo.NOT_WRITTEN]
"""What torch's exporter refuses itself."""
ONCE = ("rnnoise",)
"""The module calls one function of one value twice; the exporter writes it once."""
AXES = ("items", "steps", "features")


def exported(name: str, module: torch.nn.Module, network: Network, file: Path) -> None:
    """The module's file, its items and steps free."""
    entry = zoo.ZOO[name]
    x = torch.from_numpy(zoo.inputs(name, network)).float()[:3, :7]
    given = x[:, :, 0] if len(entry.layout) == 2 else x.permute(entry.layout)
    if network.graph.sites[network.graph.inputs[0]].role == "index":
        given = given.long()
    free = {i: AXES[axis] for i, axis in enumerate(entry.layout) if axis < 2}
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(module, (given,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": free})


def test_the_table_says_what_is_not_read_from_files() -> None:
    assert {name for name in READ if zoo.ZOO[name].onnx} == {*REFUSED, *NOT_EXPORTED}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own variables
def test_a_keras_twin_is_read_as_the_module_is() -> None:
    TWINS = pytest.importorskip("zoo_keras").TWINS
    assert set(TWINS) == {name for name in READ if zoo.ZOO[name].keras}
    with zoo.RESULT.open(newline="") as file:
        wanted = {row["name"]: row["as"] for row in csv.DictReader(file)}
    for name, make in TWINS.items():
        assert zoo.read_as(from_keras(make())) == wanted[name], name


@pytest.mark.parametrize("name", NOT_EXPORTED)
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_what_the_exporter_refuses(name: str, tmp_path: Path) -> None:
    module = zoo.made(name)
    with pytest.raises((RuntimeError, torch.onnx.errors.OnnxExporterError)):
        exported(name, module, from_torch(module, zoo.ZOO[name].features), tmp_path / "m.onnx")


@pytest.mark.filterwarnings("ignore")  # the exporter's own, on itself and on what it traces
@pytest.mark.parametrize("name", [name for name in READ if name not in NOT_EXPORTED])
def test_a_network_is_the_same_from_its_file(name: str, tmp_path: Path) -> None:
    module = zoo.made(name)
    network = from_torch(module, zoo.ZOO[name].features)
    exported(name, module, network, tmp_path / "m.onnx")
    if name in REFUSED:
        with pytest.raises(UnsupportedNetwork, match=REFUSED[name]):
            from_onnx(tmp_path / "m.onnx")
        return
    found = from_onnx(tmp_path / "m.onnx")
    ops, wanted = ([node.op for node in each.graph.nodes()] for each in (found, network))
    assert ops == wanted or (name in ONCE and set(ops) == set(wanted))
    x = zoo.inputs(name, network)
    y = network(x)
    np.testing.assert_allclose(found(x), y, atol=1e-6 * max(1.0, np.abs(y).max()))
