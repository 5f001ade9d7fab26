"""The engines. Adding one is one file and one line here; being in the table is enough to be tested."""

from bittailor.engines.base import Engine
from bittailor.engines.reference import Reference
from bittailor.registry import Table

ENGINES: Table[Engine] = Table("engine", {engine.name: engine for engine in (
    Reference(),
)})

__all__ = ["ENGINES", "Engine", "Reference"]
