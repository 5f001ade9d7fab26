"""The functions that compute: a loop over features for every phase, in the order of the passes, then the head."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bittailor.compile.blocks import bound_of
from bittailor.compile.bound import BoundMatrix, BoundNorm, window_function
from bittailor.compile.image import COUNTER, ctype_of, position_of
from bittailor.compile.layouts import Laid
from bittailor.compile.segments import Instruction, Phase
from bittailor.core.ops.forms import Largest
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.export.c_model import Model
from bittailor.export.c_names import plain
from bittailor.export.c_ops import EMITTERS, Line, centred, norm_of, single_row
from bittailor.export.template import fill

WIDTH = 118


def functions(model: Model) -> str:
    """`<prefix>_step` where the network can stream, and `<prefix>_run`."""
    loops = _Loops(model)
    return loops.streaming() if model.order.streaming else loops.passes()


@dataclass
class _Loops:
    model: Model

    def __post_init__(self) -> None:
        self.program, self.names = self.model.program, self.model.names
        self.order, self.live = self.model.order, self.model.live
        self.number = {site: i for i, site in enumerate(self.order.traced)}
        self.blocks = self.model.image.blocks

    def streaming(self) -> str:
        """One frame, and a whole sequence frame by frame."""
        p, order = self.model.prefix, self.order
        lines = [f"void {p}_step({p}_state *state, {p}_scratch *scratch, const {p}_in x[FEATURES], {p}_out *y) {{\n"]
        if order.sums:
            lines.append(f"    const int counted = state->{COUNTER} < {MEAN_MOST_STEPS}u;\n")
        lines += self._unused()
        body = "".join(self._body(0, "    "))
        lines.append(body if len(lines) > 1 else body.lstrip("\n"))
        if order.counts_steps:
            lines.append(f"    if (state->{COUNTER} < {MEAN_MOST_STEPS}u)\n        state->{COUNTER}++;\n")
        lines += self._head("    if (y == NULL)\n        return;\n", f"state->{COUNTER}")
        late = self.model.late
        y = "t + 1u == steps ? y : NULL"
        if self.model.per_step:
            y = f"y == NULL{f' || t < {late}u' if late else ''} ? NULL : y + {_after('t', late)} * OUTPUTS"
        return "".join(lines) + "}\n\n" + fill("run_streaming.c", prefix=p, limit=self._limit(), y=y)

    def passes(self) -> str:
        """A whole sequence, in passes over its steps."""
        p, order = self.model.prefix, self.order
        lines = [f"int {p}_run({p}_state *state, {p}_scratch *scratch, const {p}_in *x, size_t steps, {p}_out *y) {{\n",
                 f"    if ({self._limit()})\n        return -1;\n", f"    {p}_reset(state);\n",
                 *self._unused()]
        for i, run in enumerate(order.passes):
            words = "from the last step to the first" if run.reverse else "from the first step to the last"
            loop = "for (size_t t = steps; t-- > 0;)" if run.reverse else "for (size_t t = 0; t < steps; t++)"
            lines.append(f"\n    /* pass {i + 1} of {len(order.passes)}, {words} */\n    {loop} {{\n")
            body = "".join(self._body(i, "        "))
            if re.search(r"\bframe\b", body):
                lines.append(f"        const {p}_in *const frame = x + t * FEATURES;\n")
            lines += [body if lines[-1].endswith(";\n") else body.lstrip("\n"), "    }\n"]
        lines += self._head("    if (y == NULL)\n        return 0;\n", "(uint32_t)steps")
        return "".join(lines) + "    return 0;\n}\n"

    def _limit(self) -> str:
        least = self.program.graph.least_steps
        few = "steps == 0" if least == 1 else f"steps < {least}u"
        return few if self.model.limit is None else f"{few} || steps > {self.model.macro}_MAX_STEPS"

    def _unused(self) -> Iterator[str]:
        if not self.model.image.scratch:
            yield "    (void)scratch;\n"
        if not self.model.image.state:
            yield "    (void)state;\n"

    def _body(self, at: int, indent: str) -> Iterator[str]:
        """The phases of a pass; a new state that must wait is copied when nothing reads the old one any more."""
        order = self.order
        if at == 0:
            value = f"{self.model.vector(order.input, 0, at)}[i]"
            seen = "".join(self._observers(order.input, value, "i", indent + "    "))
            if seen:
                yield f"{indent}for (size_t i = 0; i < FEATURES; i++) {{\n{seen}{indent}}}\n"
        late = 0
        for phase in order.passes[at].phases:
            if phase.late > late:
                yield self._left(late := phase.late, indent)
            yield from self._loop(phase, at, indent)
            for update, last in self.live.commits.items():
                if last == phase.number:
                    member = f"state->{self.names[update]}"
                    yield f"{indent}memcpy({member}, {self.model.scratch[update, False]}, sizeof {member});\n"

    def _left(self, late: int, indent: str) -> str:
        """What follows begins with a later step."""
        what = f"\n{indent}/* what follows begins after {late} frames */\n"
        if not self.order.streaming:
            return f"{what}{indent}if (t < {late}u)\n{indent}    continue;\n"
        return (f"{what}{indent}if (state->{COUNTER} < {late}u) {{\n{indent}    state->{COUNTER}++;\n"
                f"{indent}    return;\n{indent}}}\n")

    def _head(self, leave: str, counted: str) -> Iterator[str]:
        order, indent = self.order, "    "
        copy = all(order.output not in phase.made for phase in order.phases)
        if not (order.head or copy):
            return
        end = order.phases[-1].number + 1 if order.phases else 0
        yield f"\n{leave}"
        for site in (*order.alias, *order.kept):
            features = self.program.graph.sites[site].features
            yield f"{indent}TRACE_ALL({self.number[site]}u, {self.model.vector(site, end, None)}, {features}u);\n"
        for phase in order.head:
            yield from self._loop(phase, None, indent, counted)
        if copy:
            yield f"{indent}for (size_t i = 0; i < OUTPUTS; i++)\n"
            yield f"{indent}    y[i] = {self.model.vector(order.output, end, None)}[i];\n"

    def _loop(self, phase: Phase, at: int | None, indent: str, counted: str = "") -> Iterator[str]:
        """One loop over features: what it reads, an operator a line, what outlives it."""
        if phase.made & (self.order.windows.keys() | self.order.crops.keys()):
            yield from self._moved(phase, at, indent)
            return
        inner = indent + "    "
        scope = _Scope(self.model, phase, at, counted)
        lines = [(ins, self._line(scope, ins)) for ins in phase.body]
        yield f"\n{_comment(phase, indent)}"
        yield from self._made_ready(phase, at, indent)
        moved = "".join(f", {array}_row++" for array in self._arrays(phase))
        yield f"{indent}for (size_t i = 0; i < {phase.features}u; i++{moved}) {{\n"
        yield from self._blocks(phase, at, inner)
        for site in scope.loads:
            yield f"{inner}const int32_t {self.names[site]} = {self.model.vector(site, phase.number, at)}[i];\n"
        for ins, line in lines:
            yield line.text(inner, self.names[ins.output], WIDTH)
        for ins, _ in lines:
            yield from self._stores(ins.output, _index(ins), at, inner)
        for ins, _ in lines:
            site = ins.output
            yield f"{inner}TRACE({self.number[site]}u, {_index(ins)}, {self.names[site]});\n"
        yield f"{indent}}}\n"

    def _moved(self, phase: Phase, at: int | None, indent: str) -> Iterator[str]:
        """A window, by a call, or a crop, which has nothing to do; and what looks at it."""
        site = phase.body[0].output
        to = self.model.vector(site, phase.number, at)
        yield f"\n{_comment(phase, indent)}"
        if site in self.order.windows:
            yield from self._window(site, to, phase, at, indent)
        inner = indent + "    "
        lines = [*self._observers(site, f"{to}[i]", "i", inner)]
        if site == self.order.output:
            lines.append(f"{inner}if (y != NULL)\n{inner}    y[{self._row()}i] = {to}[i];\n")
        if lines:
            yield f"{indent}for (size_t i = 0; i < {phase.features}u; i++) {{\n{''.join(lines)}{indent}}}\n"
        yield f"{indent}TRACE_ALL({self.number[site]}u, {to}, {phase.features}u);\n"

    def _window(self, site: str, to: str, phase: Phase, at: int | None, indent: str) -> Iterator[str]:
        """The frames around a step side by side: of a ring of past ones, or of the whole sequence."""
        window, fmt = self.order.windows[site], self.program.formats[site]
        function, of = window_function(window.of, fmt), window.of
        features = self.program.graph.sites[window.source].features
        shape = [f"{features}u", f"{of.taps}u", f"{of.dilation}u"]
        if of.ahead:
            first = _from(self.model.sequence(window.source), phase.late * features)
            terms = [first, _after("steps", phase.late), _after("t", phase.late), *shape, f"{of.ahead}u",
                     str(fmt.zero_point), to]
        else:
            ring, place = self.names[site], self.names[position_of(site)]
            x = self.model.vector(window.source, phase.number, at)
            terms = [f"state->{ring}", f"&state->{place}", x, *shape, to]
        yield f"{indent}{function}(\n{indent}    {', '.join(terms)});\n"

    def _row(self) -> str:
        """Where the output of a step begins."""
        return "" if self.order.streaming else f"{_after('t', self.model.late)} * OUTPUTS + "

    def _line(self, scope: _Scope, ins: Instruction) -> Line:
        constants = self.program.constants[ins.output]
        return EMITTERS[type(constants)](scope, ins, bound_of(self.program, ins, self.blocks))

    def _made_ready(self, phase: Phase, at: int | None, indent: str) -> Iterator[str]:
        """The vectors that kernels want ready; room for the sums of a block of each matrix, and the row in it, which is
        behind the last one when the loop begins."""
        for ready in self.blocks.begins.get(phase.number, ()):
            x = _from(self.model.vector(ready.site, phase.number, at), ready.start)
            to = self.model.scratch[ready.name, False]
            yield f"{indent}{ready.preparation.function}({x}, {ready.stop - ready.start}u, {to});\n"
        for ins in phase.body:
            bound = bound_of(self.program, ins, self.blocks)
            if isinstance(bound, BoundNorm):
                call = norm_of(self.model.vector(ins.lanes[0], phase.number, at), ins.features, bound)
                yield f"{indent}const bt_norm {self.model.norms[ins.output]} =\n{indent}    {call};\n"
        for array, (rows, size) in self._arrays(phase).items():
            yield f"{indent}int32_t {array}[{size}];\n"
            yield f"{indent}const int32_t *{array}_row = {array} + {rows};\n"

    def _arrays(self, phase: Phase) -> dict[str, tuple[int, int]]:
        """The arrays of sums of a loop: (rows of a block, elements)."""
        made = [sums for (site, _), sums in self.model.sums.items() if site in phase.made]
        return {sums.array: (sums.rows, sums.at + sums.rows) for sums in made}

    def _blocks(self, phase: Phase, at: int | None, indent: str) -> Iterator[str]:
        """The kernels, whenever a block of rows begins: those of blocks of the same size together."""
        for array, (rows, _) in self._arrays(phase).items():
            laid = [(ins, one) for ins in phase.body
                    if (one := self.blocks.laid.get(ins.output)) is not None and one.layout.rows == rows]
            most = laid[0][1].rows
            deep = indent + "    " * (1 + (most < phase.features))
            yield f"{indent}if ({array}_row == {array} + {rows}) {{\n"
            if most < phase.features:
                yield f"{indent}    if (i < {most}u) {{\n"
            for ins, one in laid:
                yield from self._kernels(phase, at, ins, one, deep)
            if most < phase.features:
                yield f"{indent}    }} else {{\n"
                yield f"{deep}for (size_t row = 0; row < {phase.features - most}u; row++) {{\n"
                for ins, one in laid:
                    yield from self._left_over(phase, at, ins, one, deep + "    ")
                yield f"{deep}}}\n{indent}    }}\n"
            yield f"{indent}    {array}_row = {array};\n{indent}}}\n"

    def _left_over(self, phase: Phase, at: int | None, ins: Instruction, laid: Laid, indent: str) -> Iterator[str]:
        """A row of a matrix's last rows, which fill no block; all of its columns are in the first part's sum."""
        bound = bound_of(self.program, ins, self.blocks)
        assert isinstance(bound, BoundMatrix)
        x = "" if ins.whole is None else self.model.vector(ins.whole, phase.number, at)
        dot = single_row(bound, self.model.roms[ins.output, "weights"], "row", x)
        for i in range(len(laid.parts)):
            sums = self.model.sums[ins.output, i]
            yield f"{indent}{sums.array}[{f'{sums.at} + ' if sums.at else ''}row] = {0 if i else dot};\n"

    def _kernels(self, phase: Phase, at: int | None, ins: Instruction, laid: Laid, indent: str) -> Iterator[str]:
        """The calls of one matrix, for every part of its columns."""
        layout = laid.layout
        assert ins.whole is not None
        for i, part in enumerate(laid.parts):
            vectors = [_from(self.model.vector(ins.whole, phase.number, at), part.start)]
            if layout.preparation is not None:
                ready = self.blocks.find(phase.number, ins.whole, part, layout.preparation)
                vectors = [*(vectors if layout.raw else ()), self.model.scratch[ready.name, False]]
            words = part.words.size // laid.blocks
            w = f"{self.model.roms[ins.output, f'weights {i}']} + i / {layout.rows}u * {words}u"
            numbers = (f"{n}u" for n in (part.stop - part.start, *part.literals))
            sums = self.model.sums[ins.output, i].block
            yield f"{indent}{layout.kernel}({', '.join((w, *vectors, *numbers, sums))});\n"

    def _stores(self, site: str, index: str, at: int | None, indent: str) -> Iterator[str]:
        """What keeps a value beyond its loop."""
        order, live, name = self.order, self.live, self.names[site]
        value = f"({ctype_of(self.program.formats[site])}){name}"
        if site in live.in_place:
            yield f"{indent}state->{name}[{index}] = {value};\n"
        if site in live.sequences:
            yield f"{indent}{self.model.scratch[site, True]}[t][{index}] = {value};\n"
        if site in live.vectors:
            yield f"{indent}{self.model.scratch[site, False]}[{index}] = {value};\n"
        yield from self._observers(site, name, index, indent)
        if site == order.output and at is None:
            yield f"{indent}y[{index}] = {value};\n"
        elif site == order.output:
            yield f"{indent}if (y != NULL)\n{indent}    y[{self._row()}{index}] = {value};\n"

    def _observers(self, site: str, value: str, index: str, indent: str) -> Iterator[str]:
        """Sums over steps, kept steps and maxima that look at this site."""
        order, formats = self.order, self.program.formats
        for target, source in order.sums.items():
            if source == site:
                term = centred(value, formats[site].zero_point)
                added = f"counted ? {term} : 0" if order.streaming else term
                yield f"{indent}state->{self.names[target]}[{index}] += {added};\n"
        for target, source in order.kept.items():
            if source == site:
                kept = f"state->{self.names[target]}[{index}] = ({ctype_of(formats[site])}){value};"
                largest = isinstance(self.program.constants[target], Largest)
                also = f" || {value} > state->{self.names[target]}[{index}]" if largest else ""
                yield f"{indent}if ({self._first(site)}{also})\n{indent}    {kept}\n"

    def _first(self, site: str) -> str:
        """Whether the step is the first that a pass sees of a site."""
        late = self.program.graph.late[site]
        if self.order.streaming:
            return f"state->{COUNTER} == {late}u"
        reverse = self.order.passes[self.order.pass_of[site]].reverse
        return f"t == {'steps - 1' if reverse else late}u"


@dataclass
class _Scope:
    """What an operator sees of the loop it stands in (`c_ops.Scope`). `loads` collects what it reads from memory."""

    model: Model
    phase: Phase
    at: int | None
    steps: str

    def __post_init__(self) -> None:
        self.loads: dict[str, None] = {}

    def counted(self, site: str) -> str:
        graph = self.model.program.graph
        return _after(self.steps, graph.late[graph.producer[site].inputs[0]])

    def value(self, site: str) -> str:
        if site not in self.phase.made:
            self.loads[site] = None
        return self.model.names[site]

    def vector(self, site: str) -> str:
        return self.model.vector(site, self.phase.number, self.at)

    def rom(self, owner: str, item: str) -> str:
        return self.model.roms[owner, item]

    def block(self, ins: Instruction) -> str:
        laid = self.model.image.blocks.laid.get(ins.output)
        return " + ".join(self.model.sums[ins.output, i].row for i in range(0 if laid is None else len(laid.parts)))

    def sum(self, site: str) -> str:
        return f"state->{self.model.names[site]}[i]"

    def norm(self, site: str) -> str:
        return self.model.norms[site]


def _from(vector: str, start: int) -> str:
    """A vector from one of its features on."""
    return f"{vector} + {start}" if start else vector


def _after(count: str, late: int) -> str:
    """A number of steps or frames without the first ones."""
    return f"({count} - {late}u)" if late else count


def _index(ins: Instruction) -> str:
    """Where in its site a value of the loop's feature i stands."""
    return f"{ins.column}u + i" if ins.column else "i"


def _comment(phase: Phase, indent: str) -> str:
    """The equations of a loop, names without the layer's."""
    start = f"{phase.layer}." if phase.layer else ""
    title = f"{phase.layer}: " if phase.layer else ""
    rows = [f"{indent}/* {plain(title)}{phase.features} feature{'s' * (phase.features > 1)}\n"]
    for ins in phase.body:
        left = ins.output.removeprefix(start)
        if ins.joined:
            left += f"[{ins.column}..{ins.column + ins.features - 1}]"
        right = " ".join(re.sub(rf"(^|\(){re.escape(start)}", r"\1", word)
                         for word in ins.node.operator.words(ins.reads, ins.node.params))
        rows.append(f"{indent} *   {plain(left)} = {plain(right)}\n")
    return "".join(rows) + f"{indent} */\n"
