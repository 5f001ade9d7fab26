"""How the command line ends: errors a user can cause are one clear message and status 2, Ctrl-C is one line and 130.

What nobody foresaw is one line and status 1; its traceback goes into a file of this user's alone.
"""

from __future__ import annotations

import io
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from bittailor._version import __version__
from bittailor.cli.options import check_words
from bittailor.common import interrupts
from bittailor.common.console import visible
from bittailor.errors import BittailorError

STOPPED = {
    "search": "what is evaluated is kept; if it says that there is nothing to resume, without --resume",
    "retrain": "what is trained is kept",
    "train": "it begins anew",
}
"""Command -> what becomes of its work where Ctrl-C ended it."""
BEGIN_ANEW = "it begins anew"


def run(command: Callable[[], None]) -> None:
    """Run a command line, which reads `sys.argv`, and exit."""
    interrupts.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a Windows console's or a pipe's characters may be few
    try:
        interrupts.at_work()
        status = _status(command)
        interrupts.ending(status)
    except KeyboardInterrupt:
        status = _stopped()
        interrupts.ending(status)
    sys.exit(status)


def _status(command: Callable[[], None]) -> int:
    """Run the command; its exit status."""
    try:
        check_words(sys.argv[1:])
        command()
    except KeyboardInterrupt:
        return _stopped()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        return _stopped() if interrupts.pending() else status
    except BaseException as error:
        if interrupts.pending():  # what was interrupted made another error of it
            return _stopped()
        if isinstance(error, BittailorError):
            say(f"{type(error).__name__}: {error}", err=True)
            return error.status
        if isinstance(error, OSError):
            say(f"FileError: {error.filename or ''}: {error.strerror or error}", err=True)
            return 2
        if isinstance(error, Exception):
            say(_unexpected(error), err=True)
            return 1
        raise
    return _stopped() if interrupts.pending() else 0


def _stopped() -> int:
    """Say in one line that it was stopped, and how to go on."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    name = words[0] if words else ""
    interrupts.say(visible(f"stopped; go on with:  {typed(resume=name == 'search')}   "
                           f"({STOPPED.get(name, BEGIN_ANEW)})"))
    return interrupts.STATUS


def typed(resume: bool = False) -> str:
    """What was typed, as it would be typed to begin anew, or to go on."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    line = shlex.join(["bittailor", *words, *(["--resume"] if resume else [])])
    return line.encode(errors="backslashreplace").decode()


def say(text: str, err: bool = False) -> None:
    """A line as it is, control characters as words."""
    typer.echo(visible(text), err=err)


def _unexpected(error: Exception) -> str:
    """One line about an error that nobody foresaw; its traceback is kept in a file that only this user can read."""
    said = " ".join(str(error).split())[:200]
    what = ("the machine is out of memory" if isinstance(error, MemoryError) else
            f"this is a bug: {type(error).__name__}: {said}")
    try:
        with tempfile.NamedTemporaryFile("w", prefix="bittailor-", suffix=".log", delete=False, encoding="utf-8",
                                         errors="backslashreplace") as file:  # of mode 600
            file.write(f"bittailor {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
                       f"{shlex.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}")
    except OSError as full:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return (f"{what}, in {last.name} ({Path(last.filename).name}:{last.lineno}); no log could be written "
                f"({full.strerror}). What was computed is kept")
    return f"{what}. Please report it with {file.name}; what was computed is kept"
