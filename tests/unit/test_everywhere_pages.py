"""The pages on the torch module and on the program file say what is so: their code runs."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bittailor.core.arith import pack
from bittailor.core.program import Program, bind
from bittailor.export import export_program
from bittailor.export.verifying import verify_folder
from checksums import rewritten
from networks import gru_network, random_case, uniform_plan

DOCS = Path(__file__).resolve().parents[2] / "docs"


def code(page: str, number: int = 0) -> str:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)[number]


@pytest.mark.parametrize("seed", range(12))
def test_the_reader_of_the_page_reads_every_array(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the page, without the package, against what the package has."""
    lines = [line for line in code("program.md").splitlines() if line.strip()]
    assert len(lines) <= 10
    assert "bittailor" not in code("program.md")
    program = random_case(seed).program
    program.save(tmp_path / "program.safetensors")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code("program.md"), names)
    arrays, unpack = names["arrays"], names["unpack"]
    seen = set()
    for owner, constants in program.constants.items():
        for role, part in constants.parts().items():
            at, facts = f"{owner}/{role}", names["body"]["constants"][owner][role]
            if "shape" in facts:
                assert np.array_equal(unpack(arrays[f"{at}/packed"], facts["bits"], facts["shape"]), part.values), at
                assert np.array_equal(arrays[f"{at}/packed"], pack(part.values, part.bits))
                seen.add(f"{at}/packed")
            elif "step" in facts:
                assert np.array_equal(arrays[f"{at}/entries"], part.entries)
                seen.add(f"{at}/entries")
            elif role == "gain":
                assert facts == {"multiplier": part.multiplier, "shift": part.shift, "epsilon": part.epsilon,
                                 "lo": part.lo, "hi": part.hi, "zero": part.zero}
            else:
                for i, m in enumerate(part.multipliers):
                    assert np.array_equal(arrays[f"{at}/m{i}"], m)
                    seen.add(f"{at}/m{i}")
                assert (facts["shift"], facts["offset"], facts["lo"], facts["hi"]) == (
                    part.shift, part.offset, part.lo, part.hi)
    assert seen == set(arrays)


def test_the_digest_is_the_one_of_the_page(tmp_path: Path) -> None:
    random_case(3).program.save(tmp_path / "p")
    data = (tmp_path / "p").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = header.pop("__metadata__")
    parts = [about["body"].encode()]
    for name in sorted(header):
        item = header[name]
        kind = {"U8": "|u1", "I32": "<i4"}[item["dtype"]]
        first, last = item["data_offsets"]
        parts += [f"{name} {kind} {tuple(item['shape'])}".encode(), data[8 + size + first : 8 + size + last]]
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts))
    assert about["sha256"] == digest.hexdigest()[:32]
    assert (about["bittailor"], about["version"]) == ("program", "1")


def test_golden_vectors_have_what_the_page_says(tmp_path: Path) -> None:
    network = gru_network(4, 6, 3, end="mean")
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))
    export_program(program, tmp_path / "net", "program")
    golden = json.loads((tmp_path / "net" / "golden.json").read_text())
    table = (DOCS / "program.md").read_text().split("## Golden vectors")[1]
    assert all(f"`{key}`" in table for key in golden if key != "words")
    assert set(golden["sites_of_the_first"]) >= {node.output for node in program.graph.nodes()}
    assert golden["carried"] == {"gru0.h.prev": program.formats["gru0.h"].zero_point, "end.sum": 0, "steps": 0}
    assert verify_folder(tmp_path / "net").problem is None
    golden["y"][1][0] += 1
    changed = rewritten(tmp_path / "net", tmp_path / "changed", "golden.json", json.dumps(golden).encode())
    assert "golden.json: item 1" in str(verify_folder(changed).problem)


def test_the_torch_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = gru_network(4, 6, 3)
    program: Program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"program": program, "x": torch.randn(4, 6, 4)}
    exec(code("torch_module.md"), names)
    x = torch.randn(7, 9, 4)
    assert torch.equal(names["again"](x), names["module"](x))
