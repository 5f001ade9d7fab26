"""Every public name says what it is, what it takes with shapes, and what it raises."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))
from sitebuild.docstrings import converted
from sitebuild.public import exported, lent, members, reachable

ARRAYS = re.compile(r"ArrayLike|NDArray|\b(Floats|Ints|Values|ItemValues)\b")
PUBLIC = {**exported(), **reachable()}


def missing(names: list[str], text: str) -> list[str]:
    said = set(re.findall(r"\w+", text))
    return [name for name in names if name not in said]


def annotated_with_arrays(function: Any) -> bool:
    return any(ARRAYS.search(str(hint)) for hint in function.__annotations__.values())


@pytest.mark.parametrize("name", [n for n, thing in exported().items() if inspect.isfunction(thing)])
def test_a_function_names_parameters_shapes_and_errors(name: str) -> None:
    function = PUBLIC[name]
    text = inspect.getdoc(function) or ""
    assert not (left := missing(list(inspect.signature(function).parameters), text)), f"{name} does not say {left}"
    assert "[" in text or not annotated_with_arrays(function), f"{name} takes arrays and gives no shape"
    raises = re.search(r"\braise (?!AssertionError)|\bexpect\(", inspect.getsource(function))
    assert "Raises" in text or not raises, f"{name} raises, and does not say what"


@pytest.mark.parametrize("name", [n for n, thing in exported().items() if inspect.isclass(thing)])
def test_a_class_names_what_it_is_made_of(name: str) -> None:
    thing = PUBLIC[name]
    fields = [f.name for f in dataclasses.fields(thing) if f.init and not f.name.startswith("_")] \
        if dataclasses.is_dataclass(thing) else []
    assert not (left := missing(fields, inspect.getdoc(thing) or "")), f"{name} does not say {left}"
    for member, function in (found for part in (thing, *lent(thing)) for found in members(part)):
        text = inspect.getdoc(function) or ""
        assert "[" in text or not annotated_with_arrays(function), f"{name}.{member}: an array without a shape"


@pytest.mark.parametrize("name", [n for n, thing in PUBLIC.items() if inspect.isclass(thing)])
def test_every_member_has_a_docstring(name: str) -> None:
    thing = PUBLIC[name]
    assert inspect.getdoc(thing)
    for member, _ in (found for part in (thing, *lent(thing)) for found in members(part)):
        inherited = [inspect.getdoc(vars(base)[member]) for base in thing.__mro__ if member in vars(base)
                     and base.__module__.startswith("bittailor")]
        assert any(inherited), f"{name}.{member} has no docstring"


def test_docstrings_become_fields_of_the_reference() -> None:
    lines = ["Read `x` * y.", "", "x        [items], or a_ b", "         more of it", "Raises DataError for |x|.",
             "", ">>> 1 + 1", "2"]
    assert converted(lines) == [
        "Read ``x`` \\* y.", "", "", ":param x: [items], or a\\_ b", "    more of it",
        ":raises DataError: for \\|x\\|.", "", "", ">>> 1 + 1", "2", ""]
