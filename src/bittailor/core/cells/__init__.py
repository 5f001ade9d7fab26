"""The recurrent cells. Adding one is one file and one line here (and a torch module to train it, in `bittailor.nn`)."""

from bittailor.common.registry import Table
from bittailor.core.cells.base import Cell, CellBuilder, add_layer
from bittailor.core.cells.gru import GRUCell
from bittailor.core.cells.gru_cho import GRUChoCell
from bittailor.core.cells.ligru import LiGRUCell
from bittailor.core.cells.lstm import LSTMCell
from bittailor.core.cells.mingru import MinGRUCell
from bittailor.core.cells.rnn import RNNCell
from bittailor.core.cells.sru import SRUCell

CELLS: Table[Cell] = Table("cell", {cell.name: cell for cell in (
    GRUCell(),
    GRUChoCell(),
    LSTMCell(),
    LiGRUCell(),
    MinGRUCell(),
    RNNCell(),
    SRUCell(),
)})

__all__ = ["CELLS", "Cell", "CellBuilder", "add_layer"]
