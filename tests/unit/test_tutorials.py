"""The tutorials' cells are Python, and run; `make docs` runs them as notebooks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
SECONDS = 300
"""Only against hanging: a busy machine is no failure. `make docs` gives a cell a minute."""


def cells(path: Path) -> str:
    return "\n".join(re.findall(r"```{code-cell} ipython3\n(.*?)```", path.read_text(), re.S))


def test_there_are_some() -> None:
    assert len(TUTORIALS) == 3


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_a_notebook_in_text(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("---\njupytext:\n")
    assert "\nkernelspec:\n" in text.split("---")[1]
    compile(cells(path), path.name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", cells(path)], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout
