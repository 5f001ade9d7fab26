"""Presets: specs of published searches, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bittailor.common.registry import Table
from bittailor.runs.spec import SearchSpec, SpaceSettings
from bittailor.search.settings import SearchSettings


@dataclass(frozen=True)
class Preset:
    """What a paper's search did, as far as this search has it too.

    spec       of the space that the paper is about
    of_space   name of a space -> the spec of the paper's search there, where it differs
    """

    name: str
    source: str
    spec: SearchSpec
    of_space: Mapping[str, SearchSpec]

    def in_space(self, name: str) -> SearchSpec:
        """The spec of the search in a space; the paper's own where it did none there."""
        return self.of_space.get(name, self.spec)


_MOHAQ = SearchSpec(
    guide="error", objectives=("error", "size"),
    # the paper begins with random solutions only; here a front never loses to its baseline
    seeding="homogeneous",
    space=SpaceSettings("per_layer"),
    search=SearchSettings(population=40, offspring=10, generations=60, crossover="sbx", mutation="pm",
                          crossover_probability=1.0, mutated_genes=1.0),
)

PRESETS: Table[Preset] = Table("preset", {preset.name: preset for preset in (
    Preset(
        "mohaq", "Rezk et al., MOHAQ, arXiv 2108.01192, and the scripts published with it", _MOHAQ,
        {"silago": replace(_MOHAQ, space=SpaceSettings("silago"), search=replace(_MOHAQ.search, generations=15),
                           objectives=("error", "silago.speedup", "silago.energy")),
         "bitfusion": replace(_MOHAQ, space=SpaceSettings("bitfusion"), objectives=("error", "bitfusion.speedup"))},
    ),
)})
