"""Plans: the sites of a graph and nothing else, saved and loaded equal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import networks
from bittailor.core.plan import Plan
from bittailor.core.qformat import QFormat
from bittailor.errors import FileError, FormatError

NETWORK = networks.gru_network(2, 3, 2)
X = np.random.default_rng(0).normal(size=(3, 4, 2))
PLAN = networks.uniform_plan(NETWORK, X, 5)


def test_save_and_load(tmp_path: Path) -> None:
    for seed in range(10):
        plan = networks.random_plan(NETWORK, X, np.random.default_rng(seed))
        plan.save(tmp_path / "p.json")
        again = Plan.load(tmp_path / "p.json")
        assert again == plan
        assert again.fingerprint == plan.fingerprint
        again.check(NETWORK.graph)


def test_widths_and_fingerprint() -> None:
    assert PLAN.widths["gru0.W_ir"] == 5
    assert PLAN.widths["gru0.b_r"] == 16
    other = Plan({**PLAN.formats, "input": QFormat("activation", 5, (0.123,))})
    assert other.fingerprint != PLAN.fingerprint
    turned = Plan(dict(reversed(PLAN.formats.items())))
    assert turned.fingerprint == PLAN.fingerprint


@pytest.mark.parametrize(("change", "message"), [
    ({"gru0.h": None}, "it lacks gru0.h"),
    ({"gru0.x": QFormat("activation", 8, (1.0,))}, "the network has no gru0.x"),
    ({"gru0.h.prev": QFormat("activation", 8, (1.0,))}, "the network has no gru0.h.prev"),
    ({"gru0.W_ir": QFormat("activation", 8, (1.0,))}, "gru0.W_ir is of kind weight but its format is of kind act"),
    ({"gru0.b_r": QFormat("weight", 8, (1.0,))}, "gru0.b_r is of kind bias but its format is of kind weight"),
    ({"gru0.W_ir": QFormat("weight", 8, (1.0, 1.0))}, "gru0.W_ir has 3 rows but its format 2 scales"),
])
def test_a_plan_that_does_not_fit(change: dict[str, QFormat | None], message: str) -> None:
    formats = {name: fmt for name, fmt in {**PLAN.formats, **change}.items() if fmt is not None}
    with pytest.raises(FormatError, match=message):
        Plan(formats).check(NETWORK.graph)


def test_a_plan_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    formats = {"input": {"kind": "activation", "bits": 8, "scale": [0.5], "zero_point": 0}}
    path.write_text(json.dumps({"bittailor": "plan", "version": 1, "formats": formats}))
    assert Plan.load(path).formats["input"] == QFormat("activation", 8, (0.5,))
    for bits in (0, 17, "8", None, 8.5, [8]):
        formats["input"]["bits"] = bits
        path.write_text(json.dumps({"bittailor": "plan", "version": 1, "formats": formats}))
        with pytest.raises(FileError, match="is damaged"):
            Plan.load(path)
    for text in ('"formats": 3', '"formats": {"a": 3}', '"formats": {"a": {}}', '"format": {}'):
        path.write_text('{"bittailor": "plan", "version": 1, ' + text + "}")
        with pytest.raises(FileError, match="is damaged"):
            Plan.load(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    PLAN.save(path)
    whole = path.read_bytes()
    rnd = random.Random(0)
    noticed = 0
    for _ in range(300):
        data = bytearray(whole)
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
        path.write_bytes(data)
        try:
            assert Plan.load(path) == PLAN
        except FileError:
            noticed += 1
    assert noticed > 200
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="not JSON"):
        Plan.load(path)
