"""Records: frozen dataclasses as plain values and back, every value checked on the way; and as TOML with comments.

A record's fields are numbers, texts, tuples of them, or records. What a class says of its fields in its docstring, a
line each, is what the comments say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from inspect import getdoc
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from bittailor.common.registry import Table
from bittailor.errors import BittailorError

T = TypeVar("T")

EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_COMMENT = 118
_FIELD = re.compile(r"(\w+(?:, \w+)*)  +(\S.*)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def plain(record: Any) -> dict[str, Any]:
    """Field -> value; tuples as lists, records as dictionaries."""
    return {f.name: _plain(getattr(record, f.name)) for f in fields(record)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return plain(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def make(kind: type[T], values: Any, where: str = "") -> T:
    """A record from plain values; fields that are not given have their defaults.

    where   the name of the field that it is, for messages
    Raises  UnknownName for a field that does not exist, BittailorError for a value of another type or out of range;
            either names the field.
    """
    if not isinstance(values, Mapping):
        raise BittailorError(f"{where} is {values!r}; expected a table of values")
    hints, prefix = get_type_hints(kind), f"{where}." if where else ""
    known = Table(f"setting of {where}" if where else "setting", hints)
    given = {name: read(known[name], value, f"{prefix}{name}") for name, value in values.items()}
    try:
        return kind(**given)
    except BittailorError as error:
        if not where or str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from None


def read(hint: Any, value: Any, where: str) -> Any:
    """A value of a field's type; BittailorError if it is of another."""
    if is_dataclass(value) or not isinstance(value, int | float | str | list | tuple | Mapping):
        return value  # made already
    if isinstance(hint, UnionType):
        hint = get_args(hint)[0]  # what it is as a plain value; the others are made in Python
    if isinstance(hint, type) and is_dataclass(hint):
        return make(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise BittailorError(f"{where} is {value!r}; expected a list")
        return tuple(read(get_args(hint)[0], item, where) for item in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint or (isinstance(value, float) and not math.isfinite(value)):
        raise BittailorError(f"{where} is {value!r}; expected {EXPECTED[hint]}")
    return value


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` gives in its place; tables are laid over each other, everything else is replaced."""
    found = dict(base)
    for name, value in over.items():
        old = found.get(name)
        found[name] = overlaid(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


@cache
def field_docs(kind: type) -> dict[str, str]:
    """Field -> what the docstrings of a record's class, and of those it inherits from, say of it."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        names: list[str] = []
        for line in (getdoc(cls) or "").splitlines() if "__doc__" in cls.__dict__ else ():
            start = _FIELD.fullmatch(line)
            if start:
                names = start[1].split(", ")
                found |= dict.fromkeys(names, start[2])
            elif line.startswith("    ") and names:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
            else:
                names = []
    return {f.name: found[f.name] for f in fields(kind) if f.name in found}


# --- TOML --------------------------------------------------------------------------------------------------------


def to_toml(values: Mapping[str, Any], kind: type, extra: Mapping[str, type] | None = None) -> str:
    """Plain values as TOML, each with a comment: what `kind` says of it.

    extra   dotted name of a table -> the record that it is, where a field's type does not say so
    """
    return "\n".join(_table(values, "", kind, extra or {})).strip() + "\n"


def _table(values: Mapping[str, Any], path: str, kind: type | None, extra: Mapping[str, type]) -> Iterator[str]:
    docs = field_docs(kind) if kind else {}
    hints = get_type_hints(kind) if kind else {}
    below = {name: value for name, value in values.items() if isinstance(value, Mapping) or _tables(value)}
    for name, value in values.items():
        if name not in below:
            yield from _comment(docs.get(name, ""))
            yield f"{_key(name)} = {_value(value)}"
    for name, value in below.items():
        full = f"{path}.{_key(name)}" if path else _key(name)
        hint = extra.get(full, hints.get(name))
        inner = hint if isinstance(hint, type) and is_dataclass(hint) else None
        yield ""
        yield from _comment(docs.get(name, ""))
        for item in [value] if isinstance(value, Mapping) else value:
            yield f"[{full}]" if isinstance(value, Mapping) else f"[[{full}]]"
            yield from _table(item, full, inner, extra)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > _COMMENT:
            yield line
            line = "#"
        line += f" {word}"
    if line != "#":
        yield line


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, float):
        return repr(value)
    # a JSON text is a TOML text but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
