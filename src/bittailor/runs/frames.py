"""Solutions as a table: plain rows, or a pandas data frame."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bittailor.errors import BittailorError
from bittailor.runs.forms import Solution

if TYPE_CHECKING:
    from pandas import DataFrame


def names_of(solution: Solution, picks: Mapping[str, Solution]) -> list[str]:
    """The names of the picks that are this solution: of the same widths and weights."""
    return [name for name, s in picks.items() if (s.key, s.beacon) == (solution.key, solution.beacon)]


def rows_of(
    solutions: Sequence[tuple[str, Solution]], picks: Mapping[str, Solution], sites: Sequence[str]
) -> list[dict[str, Any]]:
    """A row per solution: what `Run.pick` takes, picks, values by objective, test error, bits by site.

    solutions  name -> solution, as `Run.pick` knows it
    """
    return [{"solution": name, "picks": ", ".join(names_of(s, picks)), **s.values, "test": s.test, "beacon": s.beacon,
             **{f"bits {site}": s.widths[site] for site in sites}} for name, s in solutions]


def frame_of(rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Rows as a data frame, its index the name of the solution."""
    if importlib.util.find_spec("pandas") is None:
        raise BittailorError("a data frame needs pandas, not installed here; type: pip install 'bittailor[report]'")
    from pandas import DataFrame

    return DataFrame([dict(row) for row in rows]).set_index("solution")
