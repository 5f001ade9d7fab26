"""`docs/arithmetic.md`: its example runs and prints what the page shows; its equations are numbered without gaps."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "arithmetic.md").read_text()


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("arithmetic_example", DOCS / "arithmetic_example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_agrees_with_the_package_and_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    for by_hand, package, tanh_by_hand, tanh_package in example().main():
        assert by_hand == package
        assert tanh_by_hand == tanh_package
    printed = capsys.readouterr().out
    assert f"```\n{printed}```" in PAGE, "the page shows another output: paste the new one"


def test_equations_are_numbered_in_order() -> None:
    numbers = [int(n) for n in re.findall(r"^    .*\((\d+)\)$", PAGE, re.M)]
    assert numbers == sorted(set(numbers))
    # (2), (13) and others may stand at the end of a longer line; every number up to the last is there once
    assert numbers[0] == 1
    assert numbers == list(range(1, numbers[-1] + 1))


def test_sections_that_the_code_points_at_exist() -> None:
    titles = re.findall(r"^## (\d)\. (\w+)", PAGE, re.M)
    assert titles[:5] == [("1", "Formats"), ("2", "Rescaling"), ("3", "Operators"), ("4", "Recurrence"),
                          ("5", "Storage")]
