"""The recurrent cells. Adding one is one file and one line here (and a torch module to train it, in `bittailor.nn`)."""

from bittailor.common.registry import Table
from bittailor.core.cells.base import Cell, CellBuilder, add_layer
from bittailor.core.cells.gru import GRU
from bittailor.core.cells.gru_cho import GRUCho
from bittailor.core.cells.ligru import LiGRU
from bittailor.core.cells.lstm import LSTM
from bittailor.core.cells.mingru import MinGRU
from bittailor.core.cells.sru import SRU

CELLS: Table[Cell] = Table("cell", {cell.name: cell for cell in (
    GRU(),
    GRUCho(),
    LSTM(),
    LiGRU(),
    MinGRU(),
    SRU(),
)})

__all__ = ["CELLS", "Cell", "CellBuilder", "add_layer"]
