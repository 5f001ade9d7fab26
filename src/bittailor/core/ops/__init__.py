"""The operators. Each is one equation; the table is the list of what exists."""

from bittailor.common.registry import Table
from bittailor.core.ops.base import Bound, Constants, Op, Packed
from bittailor.core.ops.diagonal import Diagonal
from bittailor.core.ops.elementwise import Add, Mul, OneMinus, Sub
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.ops.linear import Linear
from bittailor.core.ops.shaping import Concat, Relu, Requantise
from bittailor.core.ops.time import First, Last, Mean

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
