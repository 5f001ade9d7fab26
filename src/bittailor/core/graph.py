"""Graph: a network as named sites and operators, written down once and walked by everything else.

A *site* is a named place that holds a tensor; a *node* is an operator between sites; a *recurrence* is a cell
unrolled over the steps of a sequence. A cell is written as its equations (see `cells/gru.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bittailor.common.cached import cached_property
from bittailor.common.records import make, shown
from bittailor.core.arith import Floats
from bittailor.core.ops import OPS, Op
from bittailor.core.qformat import INDEX_FORMAT, Kind, QFormat, symmetric_unit_format
from bittailor.errors import BittailorError, FileError, FormatError, UnknownName, UnsupportedNetwork

Role = Literal["input", "index", "activation", "state", "weight", "bias"]
GRAPH_VERSION = 1
MOST_SITES = 1 << 16
"""Of a graph that is read."""


@dataclass(frozen=True)
class Site:
    """A named place that holds a tensor.

    name      its path, e.g. "gru0.r.pre", "head.W"
    role      input, index (an input whose values are row numbers of a table), activation, state, weight or bias
    shape     weight (out, in); otherwise (features,)
    sequence  whether there is a value for every step, or for every one after some that were dropped (activations
              outside of a recurrence may have just one)
    tied      the site whose format this one shares (it is a copy, not a result), or None
    proven    a real range that the value cannot leave, whatever the data, or None
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    sequence: bool = True
    tied: str | None = None
    proven: tuple[float, float] | None = None

    @property
    def kind(self) -> Kind:
        """The kind of format it needs."""
        return self.role if self.role in ("weight", "bias") else "activation"

    @property
    def features(self) -> int:
        """Values per step (rows of a weight)."""
        return self.shape[0]

    @property
    def count(self) -> int:
        """Number of values (per step, for activations)."""
        return self.shape[0] * (self.shape[1] if len(self.shape) > 1 else 1)


@dataclass(frozen=True)
class Node:
    """One operator: `output = op(inputs; params)`; params are in the order of the operator's roles."""

    op: str
    inputs: tuple[str, ...]
    output: str
    params: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def operator(self) -> Op[Any]:
        """What it does, with its options."""
        return OPS[self.op].of(self.options)


@dataclass(frozen=True)
class State:
    """A value that lives from step to step: `previous` is read, `update` is written and becomes the next previous.

    start  the real values that it has before the first step, one per feature; empty where it starts at 0.0
    """

    previous: str
    update: str
    start: tuple[float, ...] = ()


@dataclass(frozen=True)
class Recurrence:
    """A cell over the steps of its input sequences.

    name     the layer's path, e.g. "gru0"
    cell     the cell's name in `CELLS`
    inputs   outer sequence sites, read at the current step
    states   what they start at is quantised in their format; frozen beyond an item's length
    nodes    the operators of one step, in order
    outputs  sites of the step that are visible outside, as sequences
    reverse  runs each item's valid steps from last to first; outputs stay in the input's order
    """

    name: str
    cell: str
    inputs: tuple[str, ...]
    states: tuple[State, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    reverse: bool = False


@dataclass(frozen=True)
class Graph:
    """Sites by name and the steps that compute them, in order. `inputs` and `outputs` name the ends."""

    sites: Mapping[str, Site]
    steps: tuple[Node | Recurrence, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def site(self, name: str) -> Site:
        """The site of this name; UnknownName lists what is near."""
        if name in self.sites:
            return self.sites[name]
        tail = name.split(".")[-1]
        near = [s for s in self.sites if name in s or s.startswith(name.split(".")[0]) or tail in s][:8]
        raise UnknownName(f"there is no site '{name}'; near it: {', '.join(near or list(self.sites)[:8])}")

    def root(self, name: str) -> Site:
        """The site that decides the format: the site itself, or the one it is tied to."""
        site = self.site(name)
        while site.tied is not None:
            site = self.site(site.tied)
        return site

    def vector(self, name: str) -> Site:
        """The site whose vectors these are: the site itself, or the one that it copies whole (a window does not)."""
        site = self.site(name)
        while site.tied is not None and self.site(site.tied).features == site.features:
            site = self.site(site.tied)
        return site

    @property
    def free(self) -> tuple[Site, ...]:
        """The sites with a format of their own, in order: what a plan names and a genome can choose."""
        return tuple(site for site in self.sites.values() if site.tied is None)

    def nodes(self) -> Iterator[Node]:
        """All operators, those inside recurrences included."""
        for step in self.steps:
            if isinstance(step, Recurrence):
                yield from step.nodes
            else:
                yield step

    @cached_property
    def late(self) -> Mapping[str, int]:
        """Activation site -> how many of the input's first steps it lacks; 0 for what is no sequence."""
        found = dict.fromkeys(self.inputs, 0)
        for step in self.steps:
            if isinstance(step, Recurrence):
                inner = (*(node.output for node in step.nodes), *(state.previous for state in step.states))
                found |= dict.fromkeys(inner, begins(found, step.inputs, step.name))
            else:
                whole = [name for name in step.inputs if self.sites[name].sequence]
                late = begins(found, whole, step.output) + step.operator.drops
                found[step.output] = late if self.sites[step.output].sequence else 0
        return found

    @cached_property
    def starts(self) -> Mapping[str, Floats]:
        """State -> its real values before the first step, float64 [features]; those that start at 0.0 are left out."""
        return {state.update: np.asarray(state.start, np.float64) for step in self.steps
                if isinstance(step, Recurrence) for state in step.states if state.start}

    @property
    def least_steps(self) -> int:
        """The fewest steps that an item may have."""
        return 1 + max(self.late.values(), default=0)

    @property
    def parts(self) -> dict[str, slice]:
        """Where a network has several outputs: name -> the columns of the output site that hold it. Empty otherwise."""
        last = self.producer.get(self.outputs[0])
        names, start = [] if last is None else last.options.get("names", []), 0
        found = dict[str, slice]()
        for name, source in zip(names, last.inputs if last and names else (), strict=True):
            found[name] = slice(start, start + self.sites[source].features)
            start = found[name].stop
        return found

    def given_format(self, name: str, bits: int) -> QFormat | None:
        """The format of a site that mathematics gives (a tanh's output, a bounded state), or None."""
        site = self.root(name)
        if site.role == "index":
            return INDEX_FORMAT
        producer = self.producer.get(site.name)
        if producer is None:
            return None
        if site.role == "state":
            return symmetric_unit_format(bits) if site.proven == (-1.0, 1.0) else None
        return producer.operator.given_format(bits, [self.sites[name].proven for name in producer.inputs])

    @property
    def producer(self) -> dict[str, Node]:
        """Output site -> the node that computes it."""
        return {node.output: node for node in self.nodes()}

    @property
    def consumers(self) -> dict[str, list[Node]]:
        """Site -> the nodes that read it (tied copies count as the site they copy)."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes():
            for name in (*node.inputs, *node.params):
                readers.setdefault(self.root(name).name, []).append(node)
        return readers

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back equal."""
        return {
            "version": GRAPH_VERSION,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "sites": [
                {"name": s.name, "role": s.role, "shape": list(s.shape), "sequence": s.sequence, "tied": s.tied,
                 "proven": list(s.proven) if s.proven else None}
                for s in self.sites.values()
            ],
            "steps": [_step_to_json(step) for step in self.steps],
        }

    @classmethod
    def from_json(cls, item: Any) -> Graph:
        """The inverse of `to_json`; FileError if it is of another version or damaged."""
        if isinstance(item, Mapping) and item.get("version") != GRAPH_VERSION:
            raise FileError(f"the graph is of version {shown(item.get('version'))}; this bittailor reads "
                            f"{GRAPH_VERSION}")
        try:
            form = make(GraphForm, item)
            if len(form.sites) > MOST_SITES:
                raise FormatError(f"it has {len(form.sites)} sites; at most {MOST_SITES} are read")
            steps = tuple(make(RecurrenceForm, step, f"steps[{i}]").recurrence_of() if "recurrence" in step
                          else make(Node, step, f"steps[{i}]") for i, step in enumerate(form.steps))
            found = cls({site.name: site for site in form.sites}, steps, form.inputs, form.outputs)
            for node in found.nodes():
                _ = node.operator
        except BittailorError as error:
            raise FileError(f"the graph is damaged: {error}") from None
        return found


def begins(late: Mapping[str, int], names: Iterable[str], reader: str) -> int:
    """How many of the input's first steps these sites lack, all alike; UnsupportedNetwork where they do not."""
    first = {late[name]: name for name in names}
    if len(first) > 1:
        (a, one), (b, other), *_ = sorted(first.items())
        raise UnsupportedNetwork(f"{reader} joins {one} and {other}, of which the one lacks the first {a} steps of the "
                                 f"input and the other {b}; leave as many away of both: x[:, {b - a}:]")
    return next(iter(first), 0)


def _node_to_json(node: Node) -> dict[str, Any]:
    return {"op": node.op, "inputs": list(node.inputs), "output": node.output, "params": list(node.params),
            "options": dict(node.options)}


def _step_to_json(step: Node | Recurrence) -> dict[str, Any]:
    if isinstance(step, Node):
        return _node_to_json(step)
    starts = {s.update: list(s.start) for s in step.states if s.start}
    return {
        "recurrence": step.name, "cell": step.cell, "inputs": list(step.inputs),
        "states": [[s.previous, s.update] for s in step.states],
        "nodes": [_node_to_json(node) for node in step.nodes],
        "outputs": list(step.outputs), "reverse": step.reverse,
        **({"starts": starts} if starts else {}),
    }


@dataclass(frozen=True)
class GraphForm:
    """A graph as JSON values; its steps are forms of nodes or of recurrences."""

    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sites: tuple[Site, ...]
    steps: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class RecurrenceForm:
    """A recurrence as JSON values; a state is [previous, update], `starts` has those that do not start at 0.0."""

    recurrence: str
    cell: str
    inputs: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    reverse: bool
    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def recurrence_of(self) -> Recurrence:
        """The recurrence; FormatError where it has a start of something that is no state."""
        states = tuple(State(previous, update, self.starts.get(update, ())) for previous, update in self.states)
        if lost := self.starts.keys() - {state.update for state in states}:
            raise FormatError(f"{self.recurrence} has a start of {shown(min(lost))}, which is no state of it")
        return Recurrence(self.recurrence, self.cell, self.inputs, states, self.nodes, self.outputs, self.reverse)
