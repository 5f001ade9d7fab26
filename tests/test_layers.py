"""Who imports whom. Arrows point down; heavy libraries stay in their rooms; `import bittailor` is light."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import bittailor

SOURCE = Path(bittailor.__file__).parent

LAYERS = [
    {"_version", "errors"},
    {"common"},
    {"core"},
    {"compile", "nn", "search"},
    {"engines", "export", "cost"},
    {"quantise"},
    {"evaluate"},
    {"read", "train"},
    {"tasks"},
    {"runs"},
    {"report"},
    {"cli"},
    {"__init__", "__main__"},
]
"""From the ground up; a room may import rooms below it. Those of one line are siblings."""

SIBLINGS = {("export", "engines"), ("train", "tasks")}
"""Where one may use another, and why it can: an export's self-test holds what the engines say; a task brings the torch
network that `train` trains."""

HEAVY = {
    "torch": {"train", "nn", "tasks", "read", "export", "engines", "evaluate"},
    "onnx": {"export", "read"},
    "onnxruntime": {"export"},
    "pymoo": {"search"},
    "sklearn": {"tasks", "report"},
    "scipy": {"tasks"},
    "mnist1d": {"tasks"},
    "pooch": {"common", "tasks"},
    "rapidfuzz": {"evaluate"},
    "pesq": {"evaluate"},
    "pystoi": {"evaluate"},
    "espeakng_loader": {"tasks"},
    "matplotlib": {"report"},
    "pandas": {"report", "runs"},
    "dask": {"search", "runs"},
    "distributed": {"search", "runs"},
    "rich": {"cli", "common", "search"},
    "typer": {"cli"},
    "safetensors": {"common"},
}
LEVEL = {room: i for i, layer in enumerate(LAYERS) for room in layer}
FILES = sorted(p for p in SOURCE.rglob("*.py") if "runtime" not in p.parts)


def room(path: Path) -> str:
    """The top-level module or package a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all imports, those inside functions and those for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_every_room_has_a_place() -> None:
    missing = {room(p) for p in FILES} - LEVEL.keys()
    assert not missing, f"say in LAYERS where {missing} stand"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = room(path)
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "bittailor" or len(parts) < 2:
            continue
        other = parts[1]
        if other == own or other not in LEVEL or own not in LEVEL:
            continue
        allowed = LEVEL[other] < LEVEL[own] or (own, other) in SIBLINGS
        assert allowed, f"{path.name}:{line}: {own} imports {other}, which stands beside or above it"


def module(path: Path) -> str:
    """The dotted name; a package's is that of its `__init__`."""
    return ".".join(("bittailor", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def test_no_module_needs_itself() -> None:
    """No circle of imports between modules, those inside functions, those for type checkers and
    `from package import module` included."""
    modules = {module(path) for path in FILES}
    needed = {}
    for path in FILES:
        named = {name if name in modules else name.rpartition(".")[0] for _, name in imports(path)}
        needed[module(path)] = named & modules - {module(path)}
    try:
        graphlib.TopologicalSorter(needed).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    for line, name in imports(path):
        rooms = HEAVY.get(name.split(".")[0])
        assert rooms is None or room(path) in rooms, f"{path.name}:{line}: {name} belongs in {sorted(rooms or ())}"


def test_the_search_knows_neither_engines_nor_tasks() -> None:
    known = {name.split(".")[1] for path in (SOURCE / "search").rglob("*.py")
             for _, name in imports(path) if name.startswith("bittailor.")}
    assert known <= {"search", "errors", "common", "_version"}, known


def test_the_integer_path_stands_alone() -> None:
    """What a device needs to agree with knows nothing of data, search or training."""
    for path in (SOURCE / "core").rglob("*.py"):
        below = {n.split(".")[1] for _, n in imports(path) if n.startswith("bittailor.")}
        assert below <= {"core", "common", "errors"}, path


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


LOADED = "import sys; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"


def test_import_is_light() -> None:
    start = time.perf_counter()
    loaded = set(fresh(f"import bittailor; {LOADED}").split())
    seconds = time.perf_counter() - start
    assert not loaded & (HEAVY.keys() | {"numpy"}), loaded & (HEAVY.keys() | {"numpy"})
    assert seconds < 2, f"{seconds:.2f} s"  # a loaded machine included; 0.05 s alone


@pytest.mark.parametrize("module", ["core.program", "quantise.calibration", "quantise.spaces", "engines", "cost",
                                    "evaluate.evaluator", "runs"])
def test_the_core_needs_no_heavy_library(module: str) -> None:
    loaded = set(fresh(f"import bittailor.{module}; {LOADED}").split())
    heavy = loaded & (HEAVY.keys() - {"rich"})
    assert not heavy, heavy


def test_every_public_name_is_there() -> None:
    for name in bittailor.__all__:
        assert getattr(bittailor, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has: "):
        bittailor.nothing  # noqa: B018
