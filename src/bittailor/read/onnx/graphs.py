"""What the operations of an ONNX graph may ask of whoever reads it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from bittailor.core.arith import Floats
from bittailor.read.onnx.loading import Node
from bittailor.read.symbolic import Tensor
from bittailor.read.writer import Writer


class GraphWriter(Writer):
    """Writes what the nodes of a graph say.

    opset  version of ONNX's operators that the graph uses
    input  the sequence
    """

    opset: int
    input: Tensor

    @abstractmethod
    def linear_path(self, node: Node, kind: str = "linear") -> str:
        """What a matrix is called: its module, or what its constant's name says, or its kind."""

    @abstractmethod
    def bias_behind(self, node: Node, size: int) -> Floats | None:
        """The constant that the one user of a node adds to it; that sum is then the node itself."""

    @abstractmethod
    def number(self, tensor: Any) -> float:
        """The first value of a tensor that is an attribute."""
