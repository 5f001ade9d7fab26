"""The engines, slowest first. Adding one is one file and one line here; being in the table is enough to be tested."""

from bittailor.engines.base import Engine
from bittailor.engines.native import Native
from bittailor.engines.reference import Reference
from bittailor.registry import Table

ENGINES: Table[Engine] = Table("engine", {engine.name: engine for engine in (
    Reference(),
    Native(),
)})


def best_engine() -> str:
    """The name of the fastest engine that runs here."""
    return next(name for name in reversed(list(ENGINES)) if ENGINES[name].available() is None)


__all__ = ["ENGINES", "Engine", "Native", "Reference", "best_engine"]
