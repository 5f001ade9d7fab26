"""The operators. Each is one equation; the table is the list of what exists."""

from typing import Any

from bittailor.common.registry import Table
from bittailor.core.ops.base import Bound, Op
from bittailor.core.ops.crop import Crop
from bittailor.core.ops.diagonal import Diagonal
from bittailor.core.ops.elementwise import Add, Mul, OneMinus, Relu, Requantise, ScaleShift, Sub
from bittailor.core.ops.embedding import Embedding
from bittailor.core.ops.forms import Constants, Packed
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.ops.grouped import GroupedLinear
from bittailor.core.ops.joining import Concat
from bittailor.core.ops.linear import Linear
from bittailor.core.ops.normalising import LayerNorm, RMSNorm
from bittailor.core.ops.time import Max, Mean, Pick, Sum
from bittailor.core.ops.window import Window

OPS: Table[Op[Any]] = Table("operator", {op.name: op for op in (
    Linear(),
    GroupedLinear(),
    Embedding(),
    Diagonal(),
    Add(),
    Sub(),
    Mul(),
    OneMinus(),
    ScaleShift(),
    Relu(),
    Requantise(),
    Concat(),
    LayerNorm(),
    RMSNorm(),
    Window(),
    Crop(),
    Pick("last", -1),
    Pick("first", 0),
    Mean(),
    Sum(),
    Max(),
    *FUNCTIONS,
)})

__all__ = ["OPS", "Bound", "Constants", "Op", "Packed"]
