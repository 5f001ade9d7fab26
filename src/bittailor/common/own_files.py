"""Python files of a user's, loaded by path, under a name by which this and other processes find them again."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bittailor.errors import BittailorError

LOADED: dict[str, str] = {}
"""Name of a module that was loaded from a file -> the file, as an absolute path."""


def load_file(path: Path | str) -> ModuleType:
    """A Python file as a module; loaded once, unless it changes. It may import what lies beside it.

    Raises  BittailorError where there is none, or with what it raised itself, and where.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise BittailorError(f"there is no file '{path}'; expected FILE.py:FUNCTION")
    # pickle and dataclasses find classes and functions by the name of their module
    name = f"_file_{hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:12]}"
    if name not in LOADED:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise BittailorError(f"'{path}' is no Python file; expected FILE.py:FUNCTION")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            with running(path):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        LOADED[name] = str(file)
    return sys.modules[name]


@contextmanager
def running(path: Path | str) -> Iterator[None]:
    """While code of a user's file runs: its folder is searched for modules first, and whatever it raises becomes one
    message with the file and the line."""
    folder = str(Path(path).absolute().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except BittailorError as error:
        raise type(error)(f"{_place(path, folder, error)}: {error}") from error
    except SystemExit as error:
        raise BittailorError(f"{_place(path, folder, error)}: it ended the program (sys.exit)") from error
    except Exception as error:
        said = " ".join(str(error).split())
        raise BittailorError(f"{_place(path, folder, error)}: {type(error).__name__}"
                             f"{': ' if said else ''}{said}") from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _place(path: Path | str, folder: str, error: BaseException) -> str:
    """FILE:LINE of the user's own code that an error came from, or of the line that cannot be read as Python."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(path, error.filename)}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(Path(f.filename).parent) == folder]
    return f"{_shown(path, frames[-1].filename)}:{frames[-1].lineno}" if frames else str(path)


def _shown(path: Path | str, file: str) -> str:
    """A file as the user would name it: beside the path that was given."""
    found = Path(file)
    beside = found.parent == Path(path).absolute().parent
    return str(Path(path).parent / found.name) if beside else file
