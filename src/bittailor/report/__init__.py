"""A run as figures, tables and one page: PNG, SVG, CSV and self-contained HTML.

Plotting libraries load when a report is written, not when this is imported.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bittailor.errors import BittailorError

if TYPE_CHECKING:
    from bittailor.runs import Run

MARK = b'<meta name="generator" content="bittailor">'
"""By which a page of a report is known."""
NEEDED = ("matplotlib", "sklearn")


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write figures, tables and `index.html`; returns the path of the page.

    run  an opened run that has a result, also one of a search that was stopped
    out  the folder to write to, RUN/report if not given; an earlier report in it is overwritten
    Raises  BittailorError where a plotting library is missing, FileError where nothing can be written.
    """
    from bittailor.common.records import expect, shown
    from bittailor.runs import Run

    expect(run, Run, "run", "bittailor.Run.open(path)")
    if not isinstance(out, str | os.PathLike | None):
        raise BittailorError(f"out is {shown(out)}; expected a folder")
    _check_libraries()
    from bittailor.common.aside import sweep
    from bittailor.common.files import write_whole
    from bittailor.report.facts import gather
    from bittailor.report.figures import draw
    from bittailor.report.page import page
    from bittailor.report.tables import TABLES, csv_text

    folder = run.path / "report" if out is None else Path(out)
    if out is not None:
        _check_target(folder, {"index.html", *(f"{name}.csv" for name in TABLES)})
    sweep(folder)
    facts = gather(run)
    if not (folder / "index.html").exists():
        # by this the folder is known as a report's, should this one be stopped half-way
        write_whole(folder / "index.html", MARK + b"<p>This report was not finished: write it again.")
    for name, rows in TABLES.items():
        write_whole(folder / f"{name}.csv", csv_text(rows(facts)).encode())
    drawn = draw(facts)
    for figure in drawn:
        for ending, content in (("png", figure.png), ("svg", None if figure.svg is None else figure.svg.encode())):
            if content is not None:
                write_whole(folder / f"{figure.name}.{ending}", content)
            else:
                # an earlier report may have had it
                (folder / f"{figure.name}.{ending}").unlink(missing_ok=True)
    write_whole(folder / "index.html", page(facts, drawn).encode())
    return folder / "index.html"


def write_comparison(runs: Sequence[Run], out: Path) -> Path:
    """Write one page of several runs: their fronts in one chart, their picks in one table; returns its path.

    runs  opened runs that have results; those of different metrics are drawn one metric at a time
    out   the file to write; an earlier page of this kind is overwritten
    Raises  BittailorError where a plotting library is missing, FileError where something else is in the way.
    """
    _check_libraries()
    from bittailor.common.files import read_bytes, write_whole
    from bittailor.errors import FileError
    from bittailor.report.comparison import page

    file = Path(out)
    if file.is_dir() or (file.exists() and MARK not in read_bytes(file)[:4096]):
        raise FileError(f"{file} is no page of bittailor, and is not overwritten; choose another file")
    write_whole(file, page(runs).encode())
    return file


def _check_libraries() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BittailorError(f"a report needs {', '.join(missing)}, not installed here; "
                             "type: pip install 'bittailor[report]'")


def _check_target(folder: Path, names: set[str]) -> None:
    """FileError where a folder holds something of a user's that a report would write over."""
    from bittailor.common.files import read_bytes
    from bittailor.errors import FileError

    page = folder / "index.html"
    if page.is_file() and MARK in read_bytes(page)[:4096]:
        return
    if taken := sorted(name for name in names if (folder / name).exists()):
        raise FileError(f"{folder / taken[0]} is of no report of this version, and is not overwritten; choose "
                        "another --out, or remove it")


__all__ = ["write_comparison", "write_report"]
