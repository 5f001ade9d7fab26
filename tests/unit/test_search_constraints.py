"""Constraints: text to limits, and how far a value is beyond one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.errors import BittailorError
from bittailor.search.constraints import Constraint, parse

UNITS = {"size": "bit", "flash": "B", "error": "%", "cycles": "cycles", "silago.speedup": ""}


@pytest.mark.parametrize(("text", "name", "limit", "at_most"), [
    ("size<=32KiB", "size", 32 * 1024 * 8, True),
    ("size <= 32 kbit", "size", 32_000, True),
    ("flash <= 16 KiB", "flash", 16 * 1024, True),
    ("flash<=16KB", "flash", 16_000, True),
    ("flash<=16kB", "flash", 16_000, True),
    ("flash<=1MiB", "flash", 2**20, True),
    ("flash<=800bit", "flash", 100, True),
    ("flash<=0.5MB", "flash", 500_000, True),
    ("flash<=16384", "flash", 16_384, True),
    ("error<=5", "error", 5, True),
    (" error <= 5 % ", "error", 5, True),
    ("cycles<=1e6", "cycles", 1e6, True),
    ("cycles<=1e6cycles", "cycles", 1e6, True),
    ("cycles<=+2.5E+3", "cycles", 2500, True),
    ("silago.speedup>=2.5", "silago.speedup", 2.5, False),
    ("error<=0", "error", 0, True),
])
def test_parse(text: str, name: str, limit: float, at_most: bool) -> None:
    constraint = parse(text, UNITS)
    assert (constraint.name, constraint.limit, constraint.at_most) == (name, limit, at_most)
    assert str(constraint) == text.strip()


@pytest.mark.parametrize(("text", "message"), [
    ("flash", "cannot read the constraint 'flash'; write for example 'flash<=32KiB'"),
    ("flash<32KiB", "cannot read"), ("flash=32KiB", "cannot read"), ("<=3", "cannot read"), ("", "cannot read"),
    ("flash<=KiB", "cannot read"), ("flash<=1.2.3", "cannot read the number '1.2.3'"),
    ("flash<=-3", "expected a finite number, 0 or more"), ("flash<=1e999", "expected a finite number"),
    ("flahs<=3", "unknown value 'flahs'; did you mean 'flash'"),
    ("flash<=3kib", "unknown unit 'kib'. There are: .*KiB"),
    ("error<=3KiB", "'KiB' in 'error<=3KiB' does not fit: 'error' is in %"),
    ("silago.speedup>=3%", "is a plain number"),
])
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(BittailorError, match=message) as error:
        parse(text, UNITS)
    assert "\n" not in str(error.value)


def test_violation_is_a_share_of_the_limit() -> None:
    most, least = Constraint("size", 100.0, "size<=100"), Constraint("speedup", 4.0, "speedup>=4", at_most=False)
    assert [most.violation(v) for v in (50.0, 100.0, 150.0)] == [0.0, 0.0, 0.5]
    assert [least.violation(v) for v in (5.0, 4.0, 1.0)] == [0.0, 0.0, 0.75]
    assert Constraint("error", 0.0, "error<=0").violation(3.0) == 3.0
    assert most.violation(math.nan) == math.inf


@given(st.floats(1e-3, 1e9), st.floats(0, 1e9))
def test_no_violation_exactly_where_the_limit_is_kept(limit: float, value: float) -> None:
    assert (Constraint("v", limit, "").violation(value) == 0) == (value <= limit)
    assert (Constraint("v", limit, "", at_most=False).violation(value) == 0) == (value >= limit)
