"""Table: a dictionary of named things whose "unknown name" message lists what exists and suggests."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from bittailor.errors import UnknownName

T = TypeVar("T")


class Table(Mapping[str, T]):
    """A read-only mapping from name to thing; `kind` is what error messages call one of them.

    >>> Table("operator", {"add": 1, "mul": 2})["ad"]
    Traceback (most recent call last):
    bittailor.errors.UnknownName: unknown operator 'ad'; did you mean 'add'? There are: add, mul
    """

    def __init__(self, kind: str, entries: Mapping[str, T]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UnknownName(self.unknown(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str, default: Any = None) -> Any:
        """The thing of this name, or `default`."""
        return self._entries.get(name, default)

    def unknown(self, name: object) -> str:
        """The message for a name that is not in the table."""
        near = difflib.get_close_matches(str(name), self._entries, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        return f"unknown {self.kind} '{name}'{hint} There are: {', '.join(self._entries)}"
