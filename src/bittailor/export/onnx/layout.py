"""The two graphs of a program: `run` takes whole sequences, `step` one frame and what is carried. One writer of nodes.

Names of values: a site's own name; where it has a value for every step, NAME@steps, [steps, items, features]; inside a
loop over the steps, NAME@step. What lies beyond an item's length is filled with the zero-point in NAME@masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from onnx import GraphProto, ValueInfoProto, helper

from bittailor.core.graph import Node, Recurrence
from bittailor.core.ops.forms import Accumulated, Averaged, Copied, Cropped, Largest, Windowed
from bittailor.core.program import Program
from bittailor.engines.streaming import FIRST, MAX, PAST, STEPS, SUM, Carried, carried
from bittailor.errors import UnsupportedNetwork
from bittailor.export.onnx.emit import EMITTERS, Operands, averaged
from bittailor.export.onnx.writer import Writer, tensor
from bittailor.export.plain import carried_kind

LENGTHS = "lengths"

ENDLESS = (1 << 63) - 1
"""The end of a slice that goes to the end."""

WHOLE, LOOP, MASKED, LOOPED = "@steps", "@step", "@masked", "@loop"
"""What names of values end in: all steps; one step inside a loop; filled beyond the end; as the loop gives it."""


def next_name(name: str) -> str:
    """What comes out for something that is carried: `gru0.h.prev` -> `gru0.h.next`."""
    return name.removesuffix(".prev") + ".next"


def words(program: Program, site: str) -> str:
    """What viewers show of a site."""
    fmt = program.formats[site]
    return f"{site}: {fmt.bits} bits, real value = {fmt.scale[0]:.9g} * (q - {fmt.zero_point})"


@dataclass
class Layout:
    """What both graphs share.

    w       where nodes are written
    values  site -> the value that holds it
    """

    program: Program
    kind: ClassVar[str] = "int32"
    """The type of sites."""

    w: Writer = field(default_factory=Writer)
    values: dict[str, str] = field(default_factory=dict)

    def apply(self, w: Writer, node: Node, values: Mapping[str, str], suffix: str) -> str:
        """Write the nodes of an operator that knows nothing of time."""
        constants, formats = self.program.constants[node.output], self.program.formats
        if type(constants) not in EMITTERS:
            raise UnsupportedNetwork(f"{node.output}: '{node.op}' has no form in ONNX yet; add one to "
                                     "export/onnx/emit.py")
        w.scope = node.output
        operands = Operands(tuple(values[name] for name in node.inputs), tuple(formats[name] for name in node.inputs),
                            tuple(self.program.graph.sites[name].features for name in node.inputs))
        value = EMITTERS[type(constants)](w, constants, operands)
        return w.named(value, node.output + suffix, words(self.program, node.output))

    def entrance(self, name: str) -> str:
        """The input, clipped to its range, as a caller's `quantise` would."""
        self.w.scope = name
        return self.w.op("Clip", name, *map(self.w.number, self.program.input_range))

    def zero(self, site: str) -> str:
        """The integer of 0.0."""
        return self.w.number(self.program.formats[site].zero_point)

    def start(self, state: str) -> str:
        """What a state is before the first step: a number, or its features."""
        start = self.program.starts.get(state)
        return self.zero(state) if start is None else self.w.array(f"{state}.start", start.astype("int32"))

    def addend(self, site: str) -> str:
        """What a mean or sum adds up of a site."""
        u = Operands((self.values[site],), (self.program.formats[site],)).centred(self.w, 0)
        return self.w.cast(u, "int64")

    def average(self, node: Node, total: str, steps: str) -> str:
        """The mean, or sum, from the sums of so many steps, both [items, ...]."""
        constants = self.program.constants[node.output]
        assert isinstance(constants, Accumulated)
        shares = steps if isinstance(constants, Averaged) else self.w.number(1, "int64")
        return averaged(self.w, constants, total, shares)

    def least(self, site: str) -> str:
        """The least value that a site can have."""
        return self.w.number(self.program.formats[site].qmin)

    def beside(self, taps: list[str], shape: list[int]) -> str:
        """Frames [..., features] as one vector, feature by feature; `shape` is the result's."""
        axis = self.w.numbers([-1])
        stacked = self.w.op("Concat", *(self.w.op("Unsqueeze", tap, axis) for tap in taps), axis=-1)
        return self.w.op("Reshape", stacked, self.w.numbers(shape))

    def finished(self, value: str, output: str) -> None:
        """The last node: the output under its own name."""
        if value != output:
            self.w.scope = output
            self.w.named(self.w.op("Identity", value), output, words(self.program, output))


class Run(Layout):
    """Whole sequences: int32 [items, steps, features] and int64 lengths [items], 1..steps."""

    def write(self) -> None:
        """Write all of it."""
        graph, w = self.program.graph, self.w
        (name,) = graph.inputs
        x = w.op("Transpose", self.entrance(name), perm=[1, 0, 2])
        w.scope = LENGTHS
        steps = w.op("Gather", w.op("Shape", name), w.number(1, "int64"), axis=0)
        steps = w.op("Range", w.number(0, "int64"), steps, w.number(1, "int64"))
        self.whole = w.op("Less", w.op("Reshape", steps, w.numbers([-1, 1, 1])),
                          w.op("Reshape", LENGTHS, w.numbers([1, -1, 1])))
        self.items = w.op("Shape", LENGTHS)
        self.values[name] = self.masked(x, name)
        for step in graph.steps:
            if isinstance(step, Recurrence):
                self.recur(step)
            else:
                self.values[step.output] = self.one(step)
        (output,) = graph.outputs
        value = self.values[output]
        if graph.sites[output].sequence:
            w.scope = output
            value = w.op("Transpose", value, perm=[1, 0, 2])
        self.finished(value, output)

    def mask(self, site: str) -> str:
        """Whether a step is an item's own, of those that the site has."""
        late = self.program.graph.late[site]
        return self.dropped(self.whole, late) if late else self.whole

    def dropped(self, value: str, steps: int) -> str:
        """A sequence without its first steps."""
        w = self.w
        return w.once("Slice", value, w.numbers([steps]), w.numbers([ENDLESS]), w.numbers([0]))

    def lengths(self, site: str) -> str:
        """How many of a site's steps are an item's own."""
        late = self.program.graph.late[site]
        return self.w.once("Sub", LENGTHS, self.w.number(late, "int64")) if late else LENGTHS

    def masked(self, value: str, site: str) -> str:
        """The zero-point beyond each item's end."""
        self.w.scope = site
        return self.w.named(self.w.op("Where", self.mask(site), value, self.zero(site)), site + MASKED)

    def one(self, node: Node) -> str:
        """An operator outside of recurrences."""
        constants, w = self.program.constants[node.output], self.w
        if isinstance(constants, Accumulated):
            return self.mean(node)
        if isinstance(constants, Largest):
            w.scope = node.output
            own = w.op("Where", self.mask(node.inputs[0]), self.values[node.inputs[0]], self.least(node.output))
            found = w.op("ReduceMax", own, w.numbers([0]), keepdims=0)
            return w.named(found, node.output, words(self.program, node.output))
        if isinstance(constants, Copied):
            w.scope = node.output
            found = self.picked(node.inputs[0], constants.step)
            return w.named(found, node.output, words(self.program, node.output))
        if isinstance(constants, Cropped):
            w.scope = node.output
            found = self.dropped(self.values[node.inputs[0]], constants.steps)
            return w.named(found, node.output + WHOLE, words(self.program, node.output))
        if isinstance(constants, Windowed):
            return self.masked(self.windows(node, constants), node.output)
        if not self.program.graph.sites[node.output].sequence:
            return self.apply(w, node, self.values, "")
        return self.masked(self.apply(w, node, self.values, WHOLE), node.output)

    def windows(self, node: Node, window: Windowed) -> str:
        """The frames around every step, the zero-point beyond the ends."""
        w, (source,) = self.w, node.inputs
        w.scope = node.output
        pads = w.numbers([window.past, 0, 0, window.ahead, 0, 0])
        padded = w.op("Pad", self.values[source], pads, self.zero(source))
        taps = []
        for k in range(window.taps):
            first = k * window.dilation
            last = first - window.span or ENDLESS
            taps.append(w.op("Slice", padded, w.numbers([first]), w.numbers([last]), w.numbers([0])))
        return w.named(self.beside(taps, [0, 0, -1]), node.output + WHOLE, words(self.program, node.output))

    def picked(self, site: str, step: int) -> str:
        """One of each item's own steps: its first, or its last."""
        w, value = self.w, self.values[site]
        if step == 0:
            return w.op("Gather", value, w.number(0, "int64"), axis=0)
        last = w.once("Unsqueeze", w.once("Sub", self.lengths(site), w.number(1, "int64")), w.numbers([1]))
        count = w.once("Squeeze", self.items, w.numbers([0]))
        rows = w.once("Range", w.number(0, "int64"), count, w.number(1, "int64"))
        at = w.once("Concat", last, w.once("Unsqueeze", rows, w.numbers([1])), axis=1)
        return w.op("GatherND", value, at)

    def mean(self, node: Node) -> str:
        """The mean or sum over an item's steps; what lies beyond is the zero-point, so it adds nothing."""
        w, (source,) = self.w, node.inputs
        w.scope = node.output
        total = w.op("ReduceSum", self.addend(source), w.numbers([0]), keepdims=0)
        steps = w.once("Unsqueeze", self.lengths(source), w.numbers([1]))
        return w.named(self.average(node, total, steps), node.output, words(self.program, node.output))

    def recur(self, layer: Recurrence) -> None:
        """A layer: what does not depend on a state for all steps at once, the rest in a loop."""
        whole = {name: self.values[name] for name in layer.inputs}
        inner: list[Node] = []
        for node in layer.nodes:
            if all(name in whole for name in node.inputs):
                whole[node.output] = self.apply(self.w, node, whole, WHOLE)
            else:
                inner.append(node)
        shown = [name for name in layer.outputs if name not in whole]
        for name in layer.outputs:
            if name in whole:
                self.values[name] = self.masked(whole[name], name)
        if shown:
            self.loop(layer, whole, inner, shown)

    def loop(self, layer: Recurrence, whole: Mapping[str, str], inner: list[Node], shown: list[str]) -> None:
        """The loop, a Scan over [steps, items, features]; a reversed layer's sequences are turned before and behind."""
        w, sites = self.w, self.program.graph.sites
        read = {name for node in inner for name in node.inputs} | {state.update for state in layer.states}
        fed = [name for name in whole if name in read]
        body = self.body(layer, fed, inner, shown)
        w.scope = layer.name
        starts = []
        for state in layer.states:
            shape = w.op("Concat", self.items, w.numbers([sites[state.update].features]), axis=0)
            starts.append(w.op("Expand", self.start(state.update), shape))
        scanned = [self.mask(layer.inputs[0]), *(self.turned(layer, whole[name]) for name in fed)]
        ends = [f"{layer.name}/{next_name(state.previous)}" for state in layer.states]
        w.nodes.append(helper.make_node("Scan", [*starts, *scanned], [*ends, *(name + LOOPED for name in shown)],
                                        layer.name, num_scan_inputs=len(scanned), body=body))
        for name in shown:
            self.values[name] = self.masked(self.turned(layer, name + LOOPED), name)

    def turned(self, layer: Recurrence, value: str) -> str:
        """Each item's own steps from last to first, if the layer runs so."""
        if not layer.reverse:
            return value
        return self.w.once("ReverseSequence", value, self.lengths(layer.inputs[0]), batch_axis=1, time_axis=0)

    def body(self, layer: Recurrence, fed: Iterable[str], inner: Iterable[Node], shown: Iterable[str]) -> GraphProto:
        """One step; an item that has ended keeps its states."""
        b, sites = Writer(self.w), self.program.graph.sites
        alive = f"{layer.name}/alive"
        inputs = [tensor(s.previous + LOOP, self.kind, ["items", sites[s.update].features]) for s in layer.states]
        inputs += [tensor(alive, "bool", ["items", 1])]
        inputs += [tensor(name + LOOP, self.kind, ["items", sites[name].features]) for name in fed]
        values = {name: name + LOOP for name in (*(s.previous for s in layer.states), *fed)}
        for node in inner:
            values[node.output] = self.apply(b, node, values, LOOP)
        outputs = []
        for state in layer.states:
            b.scope = state.update
            value = b.named(b.op("Where", alive, values[state.update], values[state.previous]),
                            next_name(state.previous) + LOOP)
            outputs.append(tensor(value, self.kind, ["items", sites[state.update].features]))
        outputs += [tensor(values[name], self.kind, ["items", sites[name].features]) for name in shown]
        return helper.make_graph(b.nodes, layer.name, inputs, outputs)


class Step(Layout):
    """One frame: int32 [items, features], and what is carried from step to step, in and out. No control flow."""

    def carried_tensor(self, item: Carried, name: str) -> ValueInfoProto:
        """Something that is carried, as an input or an output of this name."""
        return tensor(name, carried_kind(item), ["items", item.features], f"starts at {item.words}")

    def write(self) -> None:
        """Write all of it."""
        graph, w = self.program.graph, self.w
        (name,) = graph.inputs
        self.values[name] = self.entrance(name)
        things = carried(self.program)
        names = [item.name for item in things]
        self.after: dict[str, str] = {}
        if STEPS in names:
            w.scope = STEPS
            self.after[STEPS] = w.op("Add", STEPS, w.number(1, "int64"))
        self.values |= {item: item for item in names}
        for node in graph.nodes():
            self.values[node.output] = self.one(node)
        for step in graph.steps:
            if isinstance(step, Recurrence):
                self.after |= {state.previous: self.begun(state.update, self.values[state.update], state.previous)
                               for state in step.states}
        for item in names:
            w.scope = item
            w.named(w.op("Identity", self.after[item]), next_name(item))
        (output,) = graph.outputs
        w.scope = output
        self.finished(self.begun(output, self.values[output], self.zero(output)), output)

    def begun(self, site: str, value: str, otherwise: str) -> str:
        """A value, as soon as the site has its first step."""
        late = self.program.graph.late[site]
        if not late:
            return value
        return self.w.op("Where", self.w.once("GreaterOrEqual", STEPS, self.w.number(late, "int64")), value, otherwise)

    def one(self, node: Node) -> str:
        """An operator; what reads a sequence reads this step of it."""
        constants, w = self.program.constants[node.output], self.w
        if not isinstance(constants, Accumulated | Copied | Cropped | Largest | Windowed):
            return self.apply(w, node, self.values, self.suffix(node.output))
        (source,), name = node.inputs, node.output
        shown = name + self.suffix(name), words(self.program, name)
        w.scope = name
        if isinstance(constants, Windowed):
            return w.named(self.window(source, name, constants), *shown)
        late = self.program.graph.late[source]
        if isinstance(constants, Largest):
            most = w.op("Max", name + MAX, self.values[source])
            value = self.after[name + MAX] = self.begun(source, most, name + MAX)
            value = w.op("Identity", value)
        elif isinstance(constants, Accumulated):
            total = w.op("Add", name + SUM, self.addend(source))
            total = self.after[name + SUM] = self.begun(source, total, name + SUM)
            value = self.average(node, total, self.count(late))
        elif isinstance(constants, Copied) and constants.step == 0:
            first = w.op("Equal", STEPS, w.number(late, "int64"))
            value = self.after[name + FIRST] = w.op("Where", first, self.values[source], name + FIRST)
            value = w.op("Identity", value)
        elif isinstance(constants, Copied):
            value = w.op("Identity", self.begun(source, self.values[source], self.zero(source)))
        else:
            value = w.op("Identity", self.values[source])
        return w.named(value, *shown)

    def suffix(self, site: str) -> str:
        """What a site's name ends in: an output that begins later is given its name when it has begun."""
        graph = self.program.graph
        return LOOP if site == graph.outputs[0] and graph.late[site] else ""

    def count(self, late: int) -> str:
        """How many steps there are so far without the first ones, or 1 before there is any."""
        w = self.w
        if not late:
            return self.after[STEPS]
        return w.once("Max", w.once("Sub", self.after[STEPS], w.number(late, "int64")), w.number(1, "int64"))

    def window(self, source: str, name: str, window: Windowed) -> str:
        """This frame and those that are carried."""
        w, features = self.w, self.program.graph.sites[source].features
        whole, axis = w.op("Concat", name + PAST, self.values[source], axis=1), w.numbers([1])
        past = w.op("Slice", whole, w.numbers([features]), w.numbers([ENDLESS]), axis)
        self.after[name + PAST] = self.begun(source, past, name + PAST)
        firsts = [k * window.dilation * features for k in range(window.taps)]
        taps = [w.op("Slice", whole, w.numbers([at]), w.numbers([at + features]), axis) for at in firsts]
        return self.beside(taps, [0, -1])


__all__ = ["LENGTHS", "LOOP", "LOOPED", "MASKED", "WHOLE", "Layout", "Run", "Step", "next_name", "words"]
