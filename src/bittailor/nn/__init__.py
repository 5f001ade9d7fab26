"""Torch modules of the recurrent cells: PyTorch's own where it has one, ours otherwise. `bittailor.read` reads all.

    from bittailor.nn import SRU
    layer = SRU(23, 550, num_layers=4, projection=256, bidirectional=True)
    output, h_n = layer(x, lengths)          # x [items, steps, features] or a packed sequence, as with nn.GRU
"""

from typing import Any

from torch import nn

from bittailor.common.registry import Table
from bittailor.nn.base import Recurrent
from bittailor.nn.gru_cho import GRUCho
from bittailor.nn.ligru import LiGRU
from bittailor.nn.mingru import MinGRU
from bittailor.nn.sru import SRU

MODULES: Table[Any] = Table("torch module of cell", {
    "gru": nn.GRU,
    "gru_cho": GRUCho,
    "lstm": nn.LSTM,
    "ligru": LiGRU,
    "mingru": MinGRU,
    "rnn": nn.RNN,
    "sru": SRU,
})
"""Name of a cell -> its module: called (inputs, hidden, num_layers, batch_first=…, bidirectional=…)."""

__all__ = ["MODULES", "SRU", "GRUCho", "LiGRU", "MinGRU", "Recurrent"]
