"""Whatever runs programs: the engines, slowest first.

Adding one is one file and one line here; being in the table is enough to be tested.
"""

import logging
from functools import cache

from bittailor.common.registry import Table
from bittailor.engines.base import Engine
from bittailor.engines.native import Native
from bittailor.engines.reference import Reference
from bittailor.engines.torch import Torch

ENGINES: Table[Engine] = Table("engine", {engine.name: engine for engine in (
    Reference(),
    Torch(),
    Native(),
)})


def best_engine() -> str:
    """The name of the fastest engine that runs here; a warning says what a faster one is waiting for.

    Returns  a key of `ENGINES`. The reference engine runs everywhere, so there always is one.
    """
    for name in reversed(list(ENGINES)):
        missing = ENGINES[name].available()
        if missing is None:
            return name
        _warn(f"{missing}; a slower engine serves")
    raise AssertionError("the reference engine runs everywhere")


@cache
def _warn(missing: str) -> None:
    logging.getLogger(__name__).warning("%s", missing)


__all__ = ["ENGINES", "Engine", "Native", "Reference", "Torch", "best_engine"]
