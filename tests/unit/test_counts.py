"""What `benchmarks/counts.py` counts, on a package of a few lines."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

FILES = {
    "__init__.py": "",
    "registry.py": "class Table(dict):\n    pass\n",
    "ops/kinds.py": "def own(node):\n    return node.op == 'add'\n",
    "runs/search.py": "def run_search(a, b=1, *, c=2):\n    from bittailor import colours\n    return colours\n",
    "colours.py": (
        "from typing import TYPE_CHECKING, cast\nfrom bittailor.registry import Table\n"
        "if TYPE_CHECKING:\n    from bittailor.other import Paint\nimport bittailor.runs.search\n"
        "COLOURS = Table('colour', {'red': 1, 'green': 2, 'blue': 3})\nclass Paint: ...\n"
        "x = cast(int, 1)  # type: ignore\n"),
    "other.py": (
        "from bittailor.colours import COLOURS\nMINE = ['red', 'green', 'blue']\nclass Paint: ...\n"
        "def of(node):\n    return node.op in ('add', 'sub') or node.op != 'mul'  # not: type: ignored\n"),
    "runtime/a.c": "int a;\nint b;\n",
}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("counts", BENCHMARKS / "counts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "counts", module)
    spec.loader.exec_module(module)
    return module


def test_figures(counts: Any, tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / "src" / "bittailor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sources = counts.Sources(tmp_path)
    found = counts.figures(sources)
    assert sources.circles() == [["bittailor.colours", "bittailor.runs.search"]]
    assert sources.circles(typing=True) == [["bittailor.colours", "bittailor.other", "bittailor.runs.search"]]
    assert sources.same_names == {"Paint": ["bittailor.colours", "bittailor.other"]}
    assert sources.second_lists == ["bittailor.other:2 lists bittailor.colours 'colour'"]
    assert {name: found[name] for name in (
        "lines of C (engine, device runtime, templates)", "modules at the package root",
        "longest function of runs/, lines", "parameters of `run_search`", "import circles (modules in them)",
        "operators compared by name outside `core/ops`", "`type: ignore`", "`cast(…)`",
    )} == {
        "lines of C (engine, device runtime, templates)": "2", "modules at the package root": "3",
        "longest function of runs/, lines": "3 (`runs.search.run_search`)", "parameters of `run_search`": "3",
        "import circles (modules in them)": "1 (2)", "operators compared by name outside `core/ops`": "2",
        "`type: ignore`": "1", "`cast(…)`": "1",
    }
