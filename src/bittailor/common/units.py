"""Units: in which values are stored, which of them may be written, and what people are shown."""

from __future__ import annotations

from collections.abc import Iterable

from bittailor.common.registry import Table

UNITS: Table[tuple[str, int]] = Table("unit", {
    "bit": ("memory", 1), "kbit": ("memory", 1000), "Kibit": ("memory", 1024), "Mbit": ("memory", 10**6),
    "B": ("memory", 8), "kB": ("memory", 8 * 1000), "KB": ("memory", 8 * 1000), "KiB": ("memory", 8 * 1024),
    "MB": ("memory", 8 * 10**6), "MiB": ("memory", 8 * 1024**2),
    "%": ("share", 1),
})
"""Unit as written -> what kind of thing it measures, and how many bits, or per cent, it is."""

_SHOWN = {"bit": "KiB", "B": "KiB", "uJ": "µJ"}
_WORDS = {"bit": "bits", "B": "bytes", "%": "percent"}


def shown(unit: str) -> tuple[str, float]:
    """The unit that people read instead of a stored one, and how many of the stored one make one of it.

    >>> shown("B"), shown("cycles")
    (('KiB', 1024.0), ('cycles', 1.0))
    """
    instead = _SHOWN.get(unit, unit)
    return instead, UNITS[instead][1] / UNITS[unit][1] if instead in UNITS else 1.0


def number(value: float) -> str:
    """A value in four digits, whole from 1,000 on: never with an exponent that hides a digit.

    >>> number(10380.0), number(3.14159), number(0.1)
    ('10380', '3.142', '0.1')
    """
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"


def spread(widths: Iterable[int]) -> str:
    """Widths from the least to the largest.

    >>> spread([4, 2, 8]), spread([3, 3])
    ('2-8', '3')
    """
    found = sorted(set(widths))
    return "none" if not found else str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def column(name: str, unit: str) -> str:
    """The name of a column of values: `size_bits`, `speedup_x`.

    >>> column("size", "bit"), column("loss", "")
    ('size_bits', 'loss')
    """
    ending = _WORDS.get(unit, "".join(c if c.isalnum() else "_" for c in unit.lower()))
    return f"{name}_{ending}" if ending else name
