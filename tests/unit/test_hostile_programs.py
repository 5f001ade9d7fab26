"""Program and network files from elsewhere: a changed one is refused in one line, or runs alike in every engine."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import networks
from bittailor.common.files import load_tensors, save_tensors
from bittailor.core.network import Network
from bittailor.core.program import PROGRAM_KIND, PROGRAM_VERSION, Program
from bittailor.engines import Native, Reference
from bittailor.errors import FileError

ODD = [0, 1, -1, 2, 7, 8, 9, 16, 17, 31, 32, 63, 64, 255, 65536, -(2**31), 2**31, 2**62, 2**64, 1.5, float("nan"), True,
       None, "", "input", [], [1], {}, "add"]


def places(item: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    inner = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [at, *(path for key, value in inner for path in places(value, (*at, key)))]


def changed(body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The body with one value replaced, removed, or doubled in a list."""
    body = copy.deepcopy(body)
    path = rng.choice(places(body)[1:])
    holder: Any = body
    for key in path[:-1]:
        holder = holder[key]
    how, last = rng.random(), path[-1]
    if how < 0.1:
        del holder[last]
    elif how < 0.2 and isinstance(holder, list):
        holder.insert(last, copy.deepcopy(holder[last]))
    elif isinstance(holder[last], int) and how < 0.6:
        holder[last] += rng.choice([-1, 1, 1 << rng.randrange(40)])
    else:
        holder[last] = rng.choice(ODD)
    return body


def changed_arrays(tensors: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The arrays with one value, one length or one name changed."""
    found = dict(tensors)
    name = rng.choice(sorted(found))
    array = found[name].copy()
    how = rng.random()
    if how < 0.6 and array.size:
        info = np.iinfo(array.dtype)
        array.flat[rng.randrange(array.size)] = rng.choice([info.min, info.max, 0, 1, rng.randint(info.min, info.max)])
        found[name] = array
    elif how < 0.8:
        found[name] = np.concatenate([array.ravel(), array.ravel()[:1]]) if rng.random() < 0.5 else array.ravel()[1:]
    else:
        found[rng.choice([name + "x", "W"])] = found.pop(name)
    return found


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_changed_program_is_refused_or_runs_alike_everywhere(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    case = networks.random_case(seed % 40)
    case.program.save(tmp_path / "p")
    body, tensors = load_tensors(tmp_path / "p", PROGRAM_KIND, PROGRAM_VERSION)
    if rng.random() < 0.6:
        body = changed(body, rng)
    else:
        tensors = changed_arrays(tensors, rng)
    save_tensors(tmp_path / "q", PROGRAM_KIND, PROGRAM_VERSION, body, tensors)
    said = ""
    try:
        program = Program.load(tmp_path / "q")
    except FileError as error:
        said = str(error)
    assert "\n" not in said
    if said:
        return
    q = np.clip(case.q, program.input_format.qmin, program.input_format.qmax)
    want = Reference().run(program, q, case.lengths)  # checks every bound while it runs
    if Native().available() is None:
        assert np.array_equal(Native().run(program, q, case.lengths), want)


@pytest.mark.parametrize("seed", range(40))
def test_what_binding_makes_passes(tmp_path: Path, seed: int) -> None:
    case = networks.random_case(seed)
    case.program.save(tmp_path / "p")
    Program.load(tmp_path / "p")


def test_outputs_beyond_the_rows_are_refused(tmp_path: Path) -> None:
    """A file with 20 outputs and 10 rows once exported C that reads out of bounds."""
    case = networks.random_case(1)
    case.program.save(tmp_path / "p")
    body, tensors = load_tensors(tmp_path / "p", PROGRAM_KIND, PROGRAM_VERSION)
    last = body["graph"]["outputs"][0]
    for site in body["graph"]["sites"]:
        if site["name"] == last:
            site["shape"] = [2 * site["shape"][0]]
    save_tensors(tmp_path / "q", PROGRAM_KIND, PROGRAM_VERSION, body, tensors)
    with pytest.raises(FileError, match=r"is damaged: site .* is not what its steps make of it"):
        Program.load(tmp_path / "q")


@pytest.mark.parametrize("shape", [[10**9], [0], [-3], [2.0], ["3"], [3, 3], []])
def test_sizes_that_cannot_be_meant(tmp_path: Path, shape: list[Any]) -> None:
    network = networks.gru_network(3, 4, 2)
    network.save(tmp_path / "n")
    body, tensors = load_tensors(tmp_path / "n", "network", 1)
    body["graph"]["sites"][0]["shape"] = shape
    save_tensors(tmp_path / "m", "network", 1, body, tensors)
    with pytest.raises(FileError, match=r"^\S+ is damaged: "):
        Network.load(tmp_path / "m")
