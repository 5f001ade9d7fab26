"""Which names are public: `bittailor.__all__`, and what their signatures lead to, read from the source."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import bittailor

NAME = re.compile(r"[A-Z]\w+")


@functools.cache
def imported(module: str) -> dict[str, str]:
    """Name -> module of what a module imports from this package, also for type checkers only."""
    source = inspect.getsource(importlib.import_module(module))
    return {alias.name: node.module for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bittailor") and node.module
            for alias in node.names}


def function_of(member: Any) -> Any:
    """The function behind a method of any kind or a property; None for what is neither."""
    if isinstance(member, (classmethod, staticmethod)):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return member if inspect.isfunction(member) else None


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """Name and function of the public methods and properties that a class defines itself."""
    for name, member in vars(thing).items():
        if not name.startswith("_") and (function := function_of(member)) is not None:
            yield name, function


def named(thing: Any) -> set[str]:
    """The names of classes in the annotations of a function, or of a class, its fields and members."""
    if inspect.isfunction(thing):
        return set(NAME.findall(" ".join(str(hint) for hint in thing.__annotations__.values())))
    fields = set(NAME.findall(" ".join(str(hint) for hint in vars(thing).get("__annotations__", {}).values())))
    return fields.union(*(named(function) for _, function in members(thing)))


def find(name: str, module: str) -> Any:
    """What a name in an annotation of a module stands for, if it is a class of this package; else None."""
    place = imported(module).get(name, module)
    value = getattr(importlib.import_module(place), name, None)
    ours = inspect.isclass(value) and value.__module__.startswith("bittailor")
    return value if ours and issubclass(value, object) else None


def lent(thing: type) -> list[type]:
    """The bases of a class that are of this package and not public themselves: what they define is the class's own."""
    public = set(map(id, exported().values()))
    return [base for base in thing.__mro__[1:] if base.__module__.startswith("bittailor") and id(base) not in public]


def exported() -> dict[str, Any]:
    """What `bittailor` itself names: classes and functions, in the order of `__all__`."""
    things = {name: getattr(bittailor, name) for name in bittailor.__all__}
    return {name: thing for name, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)}


def reachable() -> dict[str, Any]:
    """Classes in the signatures of what `bittailor` names, and that it does not name itself: dotted name -> class."""
    public = exported()
    known = set(map(id, public.values()))
    parts = [part for thing in public.values() for part in (thing, *(lent(thing) if inspect.isclass(thing) else ()))]
    found = {}
    for part in parts:
        for name in named(part):
            other = find(name, part.__module__)
            if other is not None and id(other) not in known:
                found[f"{other.__module__}.{other.__qualname__}"] = other
    return dict(sorted(found.items()))
