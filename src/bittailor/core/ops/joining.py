"""concat: vectors side by side, each brought to the common format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.common.records import shown
from bittailor.core.arith import Floats, Ints, Rescale, make_rescale
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op, Range, centred
from bittailor.core.ops.forms import Joined, Part, part
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork


class Concat(Op[Joined]):
    """y = (x_0, x_1, …).

    The concatenation of a network's outputs has an option `names`: what each is called (`Graph.parts`).
    """

    name = "concat"
    form = Joined
    access = "joined"

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        names = options.get("names")
        if names is not None and not (
                isinstance(names, list) and all(isinstance(name, str) and name for name in names)
                and len(set(names)) == len(names) == len(inputs)):
            raise UnsupportedNetwork(f"'{self.name}' of {len(inputs)} inputs is given the names {shown(names)}; "
                                     "expected a list with one of its own for each")
        return sum(inputs)

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (inputs[0],)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return np.concatenate(inputs, axis=-1)

    def bind(self, bound: Bound) -> Joined:
        scale = bound.output.scale[0]
        return Joined(tuple(make_rescale([x.scale[0] / scale], [x.reach], bound.output) for x in bound.inputs))

    def restore(self, parts: Mapping[str, Part]) -> Joined:
        return Joined(tuple(part(parts, f"rescale{i}", Rescale) for i in range(len(parts))))

    def integers(
        self, constants: Joined, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        joined = zip(constants.rescales, inputs, formats, strict=True)
        return np.concatenate([rescale(centred(q, f)) for rescale, q, f in joined], axis=-1)

    def proven(self, inputs: Sequence[Range]) -> Range:
        known = [r for r in inputs if r is not None]
        if len(known) < len(inputs):
            return None
        return min(r[0] for r in known), max(r[1] for r in known)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}
