"""Python files of a user's, loaded by path, under a name by which this and other processes find them again."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from bittailor.errors import BittailorError

LOADED: dict[str, str] = {}
"""Name of a module that was loaded from a file -> the file, as an absolute path."""


def load_file(path: Path | str) -> ModuleType:
    """A Python file as a module; loaded once, unless it changes.

    Raises  BittailorError where there is none, or with what it raised itself.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise BittailorError(f"there is no file '{path}'; expected FILE.py:FUNCTION")
    # pickle finds classes and functions by the name of their module
    name = f"_file_{hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:12]}"
    if name not in LOADED:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise BittailorError(f"'{path}' is no Python file; expected FILE.py:FUNCTION")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, BittailorError) or not isinstance(error, Exception):
                raise
            raise BittailorError(f"{path} failed: {type(error).__name__}: {error}") from error
        LOADED[name] = str(file)
    return sys.modules[name]
