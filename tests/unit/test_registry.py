"""Tables: lookups, and messages that list and suggest."""

from __future__ import annotations

import pytest

from bittailor.common.registry import Table
from bittailor.errors import BittailorError, UnknownName

TABLE = Table("operator", {"add": 1, "mul": 2})


def test_it_is_a_mapping_in_order() -> None:
    assert list(TABLE) == ["add", "mul"]
    assert dict(TABLE) == {"add": 1, "mul": 2}
    assert len(TABLE) == 2
    assert "add" in TABLE
    assert "sub" not in TABLE


@pytest.mark.parametrize(("name", "message"), [
    ("ad", "unknown operator 'ad'; did you mean 'add'? There are: add, mul"),
    ("quantum", "unknown operator 'quantum'. There are: add, mul"),
    (["add"], "unknown operator '['add']'"),
])
def test_unknown_names(name: object, message: str) -> None:
    with pytest.raises(UnknownName) as error:
        TABLE[name]
    assert str(error.value).startswith(message)
    assert isinstance(error.value, BittailorError)
    assert error.value.status == 2


def test_the_table_keeps_its_own_entries() -> None:
    entries = {"a": 1}
    table = Table("thing", entries)
    entries["b"] = 2
    assert list(table) == ["a"]
