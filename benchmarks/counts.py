"""How the code is built, in figures that a redesign should improve: two checkouts side by side, as a table in Markdown.

    python benchmarks/counts.py --old-commit fc1d24f
    python benchmarks/counts.py --old ../other/checkout --names      # also which circles, classes and second lists

Read from the sources alone. A circle is a set of modules each of which imports, anywhere but under TYPE_CHECKING,
something that leads back to it. A second list is a literal with most of the names of a table (`Table("kind", …)`)
in another place: where somebody who adds a row has to go, too.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import checkouts
from command import as_command

LONG = 60
"""Lines that a function should not exceed."""
MOST = 0.7
"""The share of a table's names that makes another literal a second list of them; three names at least."""


@dataclass(frozen=True)
class Module:
    """A source file."""

    name: str
    path: Path
    tree: ast.Module
    text: str

    @property
    def functions(self) -> list[ast.FunctionDef]:
        """All, methods and inner ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]


class Sources:
    """The sources of a checkout."""

    def __init__(self, checkout: Path) -> None:
        self.root = checkout / "src" / "bittailor"
        self.modules = {name: Module(name, path, ast.parse(text), text) for path in sorted(self.root.rglob("*.py"))
                        for text in [path.read_text()]
                        for name in [".".join(path.relative_to(self.root.parent).with_suffix("").parts)
                                     .removesuffix(".__init__")]}

    def room(self, name: str) -> list[Module]:
        """The modules of a package."""
        return [m for m in self.modules.values() if m.name.startswith(f"bittailor.{name}")]

    def lines(self, *kinds: str) -> int:
        """Lines of files of some kinds."""
        return sum(len(file.read_text().splitlines()) for file in self.root.rglob("*") if file.suffix in kinds)

    def circles(self, typing: bool = False) -> list[list[str]]:
        """Sets of modules that import each other, the largest first.

        typing  count imports under TYPE_CHECKING, too
        """
        edges = {name: sorted(set(self.imports(module.tree, typing))) for name, module in self.modules.items()}
        return sorted((sorted(part) for part in strong_parts(edges) if len(part) > 1), key=lambda part: -len(part))

    def imports(self, tree: ast.AST, typing: bool) -> Iterator[str]:
        """The modules of the package that a piece of code imports at some time."""
        for node in ast.iter_child_nodes(tree):
            if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                for other in node.orelse:
                    yield from self.imports(other, typing)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.modules)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield from [name for name in (whole, node.module) if name in self.modules][:1]
            else:
                yield from self.imports(node, typing)

    @cached_property
    def same_names(self) -> dict[str, list[str]]:
        """Class -> the modules that have one of that name, where there are several."""
        owners = defaultdict(list)
        for module in self.modules.values():
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef):
                    owners[node.name].append(module.name)
        return {name: places for name, places in sorted(owners.items()) if len(places) > 1}

    @cached_property
    def second_lists(self) -> list[str]:
        """Literals that hold most of the names of a table."""
        tables, kept = {}, set()
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Table" and len(node.args) == 2:
                    kept |= {id(part) for part in ast.walk(node)}
                    if len(names := table_names(node.args[1])) > 2:
                        tables[f"{module.name} {ast.unparse(node.args[0])}"] = names
        found = []
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if id(node) in kept or not (names := listed(node)):
                    continue
                for table, known in tables.items():
                    both = len(names & known)
                    if both > 2 and both >= MOST * max(len(known), len(names)):
                        found.append(f"{module.name}:{getattr(node, 'lineno', 0)} lists {table}")
        return found

    def of_operators(self) -> int:
        """Comparisons of a node's operator by name, outside the operators' own files."""
        own = ("bittailor.ops.", "bittailor.core.ops.")
        return sum(isinstance(side, ast.Attribute) and side.attr == "op" for module in self.modules.values()
                   if not module.name.startswith(own) for node in ast.walk(module.tree)
                   if isinstance(node, ast.Compare) for side in (node.left, *node.comparators))

    def ignored_types(self) -> int:
        """Comments that silence the type checker."""
        found = 0
        for module in self.modules.values():
            with module.path.open("rb") as file:
                found += sum(token.type == tokenize.COMMENT and bool(re.search(r"# *type: ignore\b", token.string))
                             for token in tokenize.tokenize(file.readline))
        return found

    def casts(self) -> int:
        """Calls of `cast`."""
        return sum(isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "cast"
                   for module in self.modules.values() for node in ast.walk(module.tree))


def strong_parts(edges: Mapping[str, list[str]]) -> list[list[str]]:
    """Strongly connected parts of a directed graph (R. Tarjan, 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    parts: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in edges[name]:
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            at = stack.index(name)
            parts.append(stack[at:])
            del stack[at:]

    for name in edges:
        if name not in order:
            visit(name)
    return parts


def table_names(node: ast.expr) -> set[str]:
    """The keys of a table: of a literal, or the first strings of the calls that a comprehension goes over."""
    if isinstance(node, ast.Dict):
        return {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    if not isinstance(node, ast.DictComp):
        return set()
    calls = [part for part in ast.walk(node.generators[0].iter) if isinstance(part, ast.Call)]
    given = [next((k.value for k in call.keywords if k.arg == "name"), next(iter(call.args), None)) for call in calls]
    return {value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str)}


def listed(node: ast.AST) -> set[str]:
    """The strings of a literal collection, the keys of a dictionary."""
    items = node.keys if isinstance(node, ast.Dict) else (
        node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [])
    return {item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)}


def length(node: ast.FunctionDef) -> int:
    """Lines of a function, its documentation too."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def longest(modules: list[Module]) -> str:
    """The longest function of some modules."""
    lines, name, where = max((length(f), f.name, m.name) for m in modules for f in m.functions)
    return f"{lines} (`{where.removeprefix('bittailor.')}.{name}`)"


def parameters(sources: Sources, name: str) -> int:
    """How many a function takes."""
    node = next(f for m in sources.modules.values() for f in m.functions if f.name == name)
    return len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])


def circled(circles: list[list[str]]) -> str:
    """How many, and how large in all."""
    return f"{len(circles)} ({sum(map(len, circles))})" if circles else "0"


def figures(sources: Sources) -> dict[str, str]:
    """All counts."""
    modules = list(sources.modules.values())
    root = [m for m in modules if m.path.parent == sources.root and m.path.name not in ("__init__.py", "__main__.py")]
    return {
        "lines of Python": f"{sources.lines('.py'):,}",
        "lines of C (engine, device runtime, templates)": f"{sources.lines('.c', '.h', '.S'):,}",
        "modules": str(len(modules)),
        "modules at the package root": str(len(root)),
        "longest function, lines": longest(modules),
        "longest function of runs/, lines": longest(sources.room("runs")),
        f"functions of more than {LONG} lines": str(sum(length(f) > LONG for m in modules for f in m.functions)),
        "parameters of `run_search`": str(parameters(sources, "run_search")),
        "import circles (modules in them)": circled(sources.circles()),
        "the same, imports for type checkers included": circled(sources.circles(typing=True)),
        "operators compared by name outside `core/ops`": str(sources.of_operators()),
        "`type: ignore`": str(sources.ignored_types()),
        "`cast(…)`": str(sources.casts()),
        "class names with two owners": str(len(sources.same_names)),
        "second lists of a table's names": str(len(sources.second_lists)),
    }


def main() -> None:
    """Print the table."""
    parser = checkouts.parser(__doc__)
    parser.add_argument("--names", action="store_true", help="also say which")
    options = parser.parse_args()
    with checkouts.checkouts(options) as (before, now):
        old, new = Sources(before), Sources(now)
        counts = figures(old), figures(new)
        print("| count | old | new |\n|---|---|---|")
        for name, value in counts[0].items():
            print(f"| {name} | {value} | {counts[1][name]} |")
        for title, sources in (("old", old), ("new", new)) if options.names else ():
            print(f"\n{title}:")
            for circle in sources.circles():
                print(f"  circle: {', '.join(circle)}")
            for name, owners in sources.same_names.items():
                print(f"  class {name}: {', '.join(owners)}")
            for line in sources.second_lists:
                print(f"  {line}")


if __name__ == "__main__":
    as_command(main)
