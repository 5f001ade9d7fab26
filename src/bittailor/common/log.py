"""What the library says while it works: one logger, `bittailor`, whose lines are seen without setting anything up.

A program that sets logging up itself keeps its say: nothing is added where the root logger, or this one, has a handler.
Off:  logging.getLogger("bittailor").setLevel(logging.WARNING)
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

NAME = "bittailor"
log = logging.getLogger(NAME)


class _Seen(logging.StreamHandler[TextIO]):
    """Lines on standard error as it is now, a notebook's or a test's too; none where the root logger shows them."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


def visible() -> bool:
    """Have lines of level INFO seen unless somebody has set logging up; whether they are wanted at all."""
    if not log.handlers and not logging.getLogger().handlers:
        handler = _Seen(sys.stderr)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        log.addHandler(handler)
        if log.level == logging.NOTSET:
            log.setLevel(logging.INFO)
    return log.isEnabledFor(logging.INFO)
