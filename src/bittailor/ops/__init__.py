"""The operators. Each is one equation; the table is the list of what exists."""

from bittailor.ops.base import Bound, Constants, Op, Packed
from bittailor.ops.diagonal import Diagonal
from bittailor.ops.elementwise import Add, Mul, OneMinus, Sub
from bittailor.ops.functions import FUNCTIONS
from bittailor.ops.linear import Linear
from bittailor.ops.shaping import Concat, Relu, Requantise
from bittailor.ops.time import First, Last, Mean
from bittailor.registry import Table

OPS: Table[Op] = Table("operator", {op.name: op for op in (
    Linear(),
    Diagonal(),
    Add(),
    Sub(),
    Mul(),
    OneMinus(),
    Relu(),
    Requantise(),
    Concat(),
    Last(),
    First(),
    Mean(),
    *FUNCTIONS,
)})

__all__ = ["OPS", "Bound", "Constants", "Op", "Packed"]
