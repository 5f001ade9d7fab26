"""What can go wrong for a user, each with a message that says what to do next.

Messages say what was got, what was expected, what exists, and what to type. The command line prints them
without a traceback and exits with `status`.
"""

from __future__ import annotations


class BittailorError(Exception):
    """Anything a user can cause. `str(error)` is the whole message, a few lines at most."""

    status = 2


class UnknownName(BittailorError):
    """A name that is in no table: a task, an operator, an objective, a site, …"""


class UnsupportedNetwork(BittailorError):
    """A network holds a part that cannot be read; the message names its path and type."""


class FormatError(BittailorError):
    """A quantisation format, width or range outside what `docs/arithmetic.md` allows."""


class RangeError(BittailorError):
    """A value left the range that was proved for it: a bound of the integer arithmetic is broken."""


class DataError(BittailorError):
    """Data that cannot be used: empty, NaN, of a wrong shape, missing, or not what its checksum says."""


class FileError(BittailorError):
    """A file or run directory that is damaged, of another version, or belongs to something else."""
