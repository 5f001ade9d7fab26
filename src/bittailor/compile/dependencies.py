"""Who depends on whom inside a recurrence: what must wait for the step before, and what the next step waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bittailor.core.graph import Node, Recurrence


def downstream(seeds: Iterable[str], nodes: Sequence[Node]) -> set[str]:
    """The seeds and all sites that depend on one of them; `nodes` in order."""
    found = set(seeds)
    for node in nodes:
        if found & set(node.inputs):
            found.add(node.output)
    return found


def upstream(seeds: Iterable[str], nodes: Sequence[Node]) -> set[str]:
    """The seeds and all sites that one of them depends on."""
    found = set(seeds)
    for node in reversed(nodes):
        if node.output in found:
            found |= set(node.inputs)
    return found


@dataclass(frozen=True)
class Hoisted:
    """The operators of a recurrence, each part in order.

    before  depend on no state: can run for all steps at once, before the loop over the steps
    loop    depend on a state, and a state on them: step by step
    after   depend on a state, but no state on them: can run for all steps at once, after the loop
    """

    before: tuple[Node, ...]
    loop: tuple[Node, ...]
    after: tuple[Node, ...]

    @classmethod
    def of(cls, layer: Recurrence) -> Hoisted:
        """Split the operators of one step."""
        waiting = downstream((s.previous for s in layer.states), layer.nodes)
        feeding = upstream((s.update for s in layer.states), layer.nodes)
        return cls(tuple(n for n in layer.nodes if n.output not in waiting),
                   tuple(n for n in layer.nodes if n.output in waiting and n.output in feeding),
                   tuple(n for n in layer.nodes if n.output in waiting and n.output not in feeding))
