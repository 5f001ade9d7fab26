"""Records: frozen dataclasses as plain values and back, every value checked on the way; and as TOML with comments.

A record's fields are numbers, texts, one of some words, records, and tuples and tables of these. They are the forms of
files: what a file holds is made into a record or refused in one line that names the field. What a class says of its
fields in its docstring, a line each, is what the comments say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from inspect import getdoc, isclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from bittailor.common.registry import Table
from bittailor.errors import BittailorError

T = TypeVar("T")

EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
LARGEST = 1 << 63
"""Whole numbers lie below it: nothing that is counted here has as many."""
LARGEST_SEED = (1 << 32) - 1
"""What every generator of random numbers in use takes."""
_COMMENT = 118
_SHOWN = 80
_FIELD = re.compile(r"(\w+(?:, \w+)*)  +(\S.*)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def plain(record: Any) -> dict[str, Any]:
    """Field -> value; tuples as lists, records as dictionaries."""
    return {f.name: _plain(getattr(record, f.name)) for f in fields(record)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return plain(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def make(kind: type[T], values: Any, where: str = "") -> T:
    """A record from plain values; fields that are not given have their defaults.

    where   the name of the field that it is, for messages
    Raises  UnknownName for a field that does not exist, BittailorError for one that is missing, of another type or out
            of range; either names the field.
    """
    if not isinstance(values, Mapping):
        raise BittailorError(f"{where or 'it'} is {shown(values)}; expected a table of values")
    form: Any = kind
    (hints, required), prefix = _form(form), f"{where}." if where else ""
    known = Table(f"setting of {where}" if where else "setting", hints)
    given = {name: read(known[name], value, f"{prefix}{name}") for name, value in values.items()}
    for name in required:
        if name not in given:
            raise BittailorError(f"{prefix}{name} is missing")
    try:
        return kind(**given)
    except BittailorError as error:
        if not where or str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from None


def check(record: Any, **least: int) -> None:
    """Check the fields of a record that was made in Python, from its `__post_init__`: BittailorError for a value of
    another type, and for a whole number below its `least`. A field called `seed` must be one. Lists become tuples,
    whole numbers become numbers where those are expected, NumPy's become Python's.
    """
    kind: Any = type(record)
    for name, hint in _form(kind)[0].items():
        value = getattr(record, name)
        if isinstance(value, Mapping) and isclass(hint) and is_dataclass(hint):
            raise BittailorError(f"{name} is {shown(value)}; expected {_called(hint)}")
        object.__setattr__(record, name, read(hint, value, name))
    for name, low in least.items():
        whole(getattr(record, name), name, low)
    if hasattr(record, "seed"):
        whole(record.seed, "seed", 0, LARGEST_SEED)


def expect(value: Any, kind: type, name: str, hint: str = "") -> None:
    """BittailorError unless a value from Python is of a class; `hint` says how one is made."""
    if not isinstance(value, kind):
        raise BittailorError(f"{name} is {shown(value)}; expected {_called(kind)}{f' ({hint})' if hint else ''}")


def whole(value: Any, name: str, low: int = 0, high: int = LARGEST - 1) -> int:
    """A whole number of a range; BittailorError otherwise."""
    number: int = read(int, value, name)
    if not low <= number <= high:
        limit = f"{low} or more" if number < low else f"{high} at most"
        raise BittailorError(f"{name} is {shown(number)}; expected a whole number, {limit}")
    return number


@cache
def _form(kind: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of a class of records: field -> its type; the fields without a default."""
    hints, known = get_type_hints(kind), [f for f in fields(kind) if f.init]
    return ({f.name: hints[f.name] for f in known},
            tuple(f.name for f in known if f.default is MISSING and f.default_factory is MISSING))


def read(hint: Any, value: Any, where: str) -> Any:
    """A value of a field's type; BittailorError, which names `where`, if it is of another."""
    origin, kinds = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _one_of(kinds, value, where)
    if origin is Literal:
        if not any(type(value) is type(kind) and value == kind for kind in kinds):
            raise BittailorError(f"{where} is {shown(value)}; expected {' or '.join(map(str, kinds))}")
        return value
    if origin is tuple:
        return _sequence(kinds, value, where)
    if isclass(origin) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise BittailorError(f"{where} is {shown(value)}; expected a table of values")
        return {_scalar(str, name, where): read(kinds[1], item, f"{where}.{name}") for name, item in value.items()}
    if hint in EXPECTED:
        return _scalar(hint, value, where)
    if isclass(hint) and isinstance(value, hint):
        return value
    if isclass(hint) and is_dataclass(hint) and isinstance(value, Mapping):
        return make(hint, value, where)
    table = "a table of values: " if isclass(hint) and is_dataclass(hint) else ""
    raise BittailorError(f"{where} is {shown(value)}; expected {table}{_called(hint)}")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Whichever of some types the value is of; the first of them tells what is wrong with it."""
    if value is None and NoneType in kinds:
        return None
    for kind in kinds[1:]:
        origin = get_origin(kind) or kind
        # of those that only Python makes, the value itself
        if isclass(origin) and origin not in EXPECTED and origin is not NoneType and isinstance(value, origin):
            return read(kind, value, where) if get_origin(kind) in (tuple, Mapping) else value
    return read(kinds[0], value, where)


def _sequence(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise BittailorError(f"{where} is {shown(value)}; expected a list")
    each = kinds[:1] * len(value) if kinds[1:] == (...,) else kinds
    if len(each) != len(value):
        raise BittailorError(f"{where} has {len(value)} values; expected {len(each)}")
    return tuple(read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(each, value, strict=True)))


def _scalar(kind: type, value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise BittailorError(f"{where} is {shown(value)}; expected {EXPECTED[kind]}")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise BittailorError(f"{where} is {shown(value)}; expected a whole number of at most 63 bits")
    if isinstance(value, str) and not _writable(value):
        raise BittailorError(f"{where} is {shown(value)}; expected a text that can be written")
    return value


def _writable(text: str) -> bool:
    """Whether a text can stand in a file and in a path."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return "\0" not in text


def shown(value: Any) -> str:
    """A value in a message: cut where it is long, with its type where it is no number or text."""
    if isinstance(value, int) and abs(value) >= 1 << 256:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, bool | int | float | str | NoneType | list | tuple | dict):
        text = repr(value) if not isinstance(value, list | tuple | dict) or _small(value) else (
            f"{_article(type(value).__name__)} of {len(value)}")
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return _article(type(value).__name__)


def _small(value: Any) -> bool:
    """Whether a container is short and holds nothing but plain values, so that it may be shown."""
    items = [*value.values(), *value] if isinstance(value, dict) else value
    return len(items) <= 8 and all(isinstance(item, bool | float | str | NoneType)
                                   or (isinstance(item, int) and abs(item) < LARGEST) for item in items)


def _called(hint: Any) -> str:
    return _article(getattr(hint, "__name__", str(hint)))


def _article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in tuple("aeiou") else f"a {name}"


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
