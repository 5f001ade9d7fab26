"""How every benchmark ends: one clear line for what a user can cause, 130 after Ctrl-C, as the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from bittailor.errors import BittailorError


def as_command(main: Callable[[], int | None]) -> NoReturn:
    """Exit with what `main` returns (None: 0)."""
    try:
        sys.exit(main())
    except BittailorError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("stopped; what was written stays, the same command goes on or begins again", file=sys.stderr)
        sys.exit(130)
