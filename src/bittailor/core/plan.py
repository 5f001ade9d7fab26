"""Plan: which format every site has. Frozen, saved as versioned JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bittailor.common import html
from bittailor.common.cached import cached_property
from bittailor.common.files import formed, load_json, save_json
from bittailor.common.units import number, spread
from bittailor.core.graph import Graph
from bittailor.core.qformat import QFormat
from bittailor.errors import FormatError

PLAN_KIND, PLAN_VERSION = "plan", 1


@dataclass(frozen=True)
class Plan:
    """A format for every site of a graph that has one of its own (`Graph.free`).

    formats  site name -> format
    """

    formats: Mapping[str, QFormat]

    @property
    def widths(self) -> dict[str, int]:
        """Site name -> bits."""
        return {name: fmt.bits for name, fmt in self.formats.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the plan, 16 hexadecimal digits."""
        text = json.dumps({name: fmt.to_json() for name, fmt in self.formats.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _parts(self) -> dict[str, list[int]]:
        """Kind of site -> widths."""
        parts: dict[str, list[int]] = {}
        for fmt in self.formats.values():
            parts.setdefault(fmt.kind, []).append(fmt.bits)
        return parts

    def __repr__(self) -> str:
        kinds = ", ".join(f"{kind} {spread(bits)} bits" for kind, bits in self._parts().items())
        return f"Plan({len(self.formats)} sites: {kinds})"

    def _repr_html_(self) -> str:
        rows = [[name, fmt.kind, str(fmt.bits), number(fmt.scale[0]) + (" …" if len(fmt.scale) > 1 else "")
                 if fmt.scale else "of the accumulator", str(fmt.zero_point)] for name, fmt in self.formats.items()]
        return html.table(f"plan of {len(self.formats)} sites", ["site", "kind", "bits", "scale", "zero-point"], rows)

    def check(self, graph: Graph) -> None:
        """FormatError unless the plan names exactly the free sites of the graph, with fitting kinds."""
        wanted = {site.name: site for site in graph.free}
        missing = [name for name in wanted if name not in self.formats]
        extra = [name for name in self.formats if name not in wanted]
        if missing or extra:
            raise FormatError(
                "the plan does not fit the network: "
                + (f"it lacks {', '.join(missing[:4])}" if missing else f"the network has no {', '.join(extra[:4])}")
            )
        for name, fmt in self.formats.items():
            site = wanted[name]
            if fmt.kind != site.kind:
                raise FormatError(f"{name} is of kind {site.kind} but its format is of kind {fmt.kind}")
            if len(fmt.scale) > 1 and len(fmt.scale) != site.features:
                raise FormatError(f"{name} has {site.features} rows but its format {len(fmt.scale)} scales")

    def save(self, path: Path | str) -> None:
        """Write to a JSON file."""
        save_json(path, PLAN_KIND, PLAN_VERSION, {"formats": {n: f.to_json() for n, f in self.formats.items()}})

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read what `save` wrote; FileError if it is something else, damaged or of another version."""
        return formed(path, cls, load_json(path, PLAN_KIND, PLAN_VERSION))
