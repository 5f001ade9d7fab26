"""Ctrl-C and SIGTERM of the command line: both end it with one line and status 130, wherever they hit.

Python raises KeyboardInterrupt between any two instructions, also where it is lost: in an import, a destructor, a
callback of C code, or while the interpreter ends. So that a signal was seen is kept here.

- Before there is work (while modules are imported), the process leaves at once: there is nothing to tidy up.
- At work the first signal is a KeyboardInterrupt; what is finished is kept, temporary files go. Where that exception
  was lost, `pending` still says so, and the command ends with the same line and status.
- A second signal, and any while the process ends, leaves at once: all files are written so that this loses nothing.

Only the command line installs this; a library must leave its user's signals alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Literal

STATUS = 130
"""The exit status of what was interrupted, as shells know it for Ctrl-C."""

_phase: Literal["starting", "at work", "ending"] = "starting"
_installed = _seen = _said = False
_status: int | None = None


def install() -> None:
    """From now on both signals are handled here. Nothing the second time, or in another thread than the main one."""
    global _installed
    if not _installed and threading.current_thread() is threading.main_thread():
        _installed = True
        atexit.register(_end)  # the first that is registered is the last that is called
        # what is left at once leaves semaphores to multiprocessing's tracker; that it tidies up is not for users
        sys.warnoptions.append("ignore:resource_tracker")
        sys.unraisablehook = _unraisable
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and background jobs of shells want it
                signal.signal(number, _handle)


def at_work() -> None:
    """Everything is imported, the command begins."""
    global _phase
    _phase = "at work"


def ending(status: int) -> None:
    """The command is done with this exit status."""
    global _phase, _status
    _phase, _status = "ending", status


def pending() -> bool:
    """Whether a signal came."""
    return _seen


def say(text: str) -> None:
    """The one line about it, on standard error; nothing if there was one already."""
    global _said
    if not _said:
        _said = True
        _write(text)


def said() -> None:
    """The command has said it in its own words."""
    global _said
    _said = True


def _write(text: str) -> None:
    with contextlib.suppress(OSError):  # not print, which may be in the middle of a line
        os.write(2, f"{text}\n".encode(sys.getfilesystemencoding(), "replace"))


def _handle(number: int, frame: FrameType | None) -> None:
    global _seen
    again, _seen = _seen, True
    if again or _phase != "at work":
        say("stopped")
        os._exit(STATUS)
    raise KeyboardInterrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Python shows what a destructor raises; of a signal one line will do, which comes when the command ends."""
    if not (_seen and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)


def _end() -> None:
    """After everything else that is called at the end. The interpreter would now take the handlers away, and then take
    its time (a second with PyTorch), in which a signal gave another status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if _status is not None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # a closed pipe
                stream.flush()
        os._exit(_status)
