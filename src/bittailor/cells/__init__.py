"""The recurrent cells. Adding one is one file and one line here (and a torch module to train it, in `bittailor.nn`)."""

from bittailor.cells.base import Cell, add_layer
from bittailor.cells.gru import GRU
from bittailor.cells.gru_cho import GRUCho
from bittailor.cells.ligru import LiGRU
from bittailor.cells.lstm import LSTM
from bittailor.cells.mingru import MinGRU
from bittailor.cells.sru import SRU
from bittailor.registry import Table

CELLS: Table[Cell] = Table("cell", {cell.name: cell for cell in (
    GRU(),
    GRUCho(),
    LSTM(),
    LiGRU(),
    MinGRU(),
    SRU(),
)})

__all__ = ["CELLS", "Cell", "add_layer"]
