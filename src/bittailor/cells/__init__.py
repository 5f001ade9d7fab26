"""The recurrent cells. Adding one is one file and one line here."""

from bittailor.cells.base import Cell, add_layer
from bittailor.cells.gru import GRU
from bittailor.registry import Table

CELLS: Table[Cell] = Table("cell", {cell.name: cell for cell in (
    GRU(),
)})

__all__ = ["CELLS", "Cell", "add_layer"]
