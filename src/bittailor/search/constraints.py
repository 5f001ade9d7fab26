"""Constraints: limits on named values, read from text such as `flash<=32KiB`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bittailor.common.registry import Table
from bittailor.common.units import UNITS
from bittailor.errors import BittailorError

_EXAMPLE = "write for example 'flash<=32KiB', 'error<=5%' or 'speedup>=2'"
_TEXT = re.compile(r"\s*(?P<name>[^\s<>=]+)\s*(?P<sign><=|>=)"
                   r"\s*(?P<number>[-+.\deE]+?)\s*(?P<unit>[A-Za-z%]*)\s*")


class ConstraintError(BittailorError):
    """A constraint that cannot be read."""


@dataclass(frozen=True)
class Constraint:
    """A limit that a solution must keep.

    name     the value it is about, as evaluations report it
    limit    in the unit of that value; finite
    text     as the user wrote it
    at_most  True for `<=`, False for `>=`
    """

    name: str
    limit: float
    text: str
    at_most: bool = True

    def violation(self, value: float) -> float:
        """How far a value is beyond the limit, as a share of it: 0 where it is kept.

        max(0, (value - limit) / limit), as in MOHAQ; mirrored for `>=`. A limit of 0 has no shares: the
        distance itself is returned. NaN gives infinity.
        """
        if math.isnan(value):
            return math.inf
        excess = value - self.limit if self.at_most else self.limit - value
        return max(0.0, excess / (abs(self.limit) or 1.0))

    def __str__(self) -> str:
        return self.text


def parse(text: str, units: Mapping[str, str]) -> Constraint:
    """Read `NAME<=NUMBER[UNIT]` or `NAME>=NUMBER[UNIT]`, spaces allowed.

    units   every name that may be limited → the unit its values are in: one of `UNITS`, or any other text
            (such as "" or "cycles") for a plain number
    The limit is converted to that unit; a number without a unit is taken to be in it already.
    Raises  UnknownName for a name or unit that does not exist, ConstraintError for text that cannot be read,
            a unit of another kind (KiB of error), or a negative or infinite limit.

    >>> parse("flash <= 32KiB", {"flash": "B"}).limit
    32768.0
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ConstraintError(f"cannot read the constraint '{text}'; {_EXAMPLE}")
    name, unit = match["name"], match["unit"]
    own = Table("value", units)[name]
    try:
        number = float(match["number"])
    except ValueError:
        raise ConstraintError(f"cannot read the number '{match['number']}' in the constraint '{text}'; "
                              f"{_EXAMPLE}") from None
    # decibels may be below 0
    if not (number >= 0 or own == "dB") or not math.isfinite(number):
        raise ConstraintError(f"the limit in '{text}' is {number:g}; expected a finite number, 0 or more")
    if unit and unit != own:
        kind, factor = UNITS[unit]
        own_kind, own_factor = dict(UNITS).get(own, ("number", 1))
        if kind != own_kind:
            raise ConstraintError(f"'{unit}' in '{text}' does not fit: '{name}' is "
                                  f"{f'in {own}' if own else 'a plain number'}; {_EXAMPLE}")
        number = number * factor / own_factor
        if not math.isfinite(number):
            raise ConstraintError(f"the limit in '{text}' is too large a number")
    return Constraint(name, number, text.strip(), match["sign"] == "<=")
