"""Presets: the settings of a published search, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bittailor.common.registry import Table
from bittailor.search.settings import SearchSettings


@dataclass(frozen=True)
class Preset:
    """What a paper's search did, as far as this search has it too.

    settings     of NSGA-II
    guide        what selection looks at for the error
    objectives   of a search that names none
    space        of a search that names none
    of_space     space -> objectives and number of generations where the paper's differ for it
    """

    name: str
    source: str
    settings: SearchSettings
    guide: str
    seeding: str
    space: str
    objectives: tuple[str, ...]
    of_space: Mapping[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)

    def objectives_for(self, space: str) -> tuple[str, ...]:
        """The objectives that the paper had in this space."""
        return self.of_space[space][0] if space in self.of_space else self.objectives

    def generations_for(self, space: str) -> int:
        """How many generations, the first population included."""
        return self.of_space[space][1] if space in self.of_space else self.settings.generations


PRESETS: Table[Preset] = Table("preset", {preset.name: preset for preset in (
    Preset(
        name="mohaq",
        source="Rezk et al., MOHAQ, arXiv 2108.01192, and the scripts published with it",
        settings=SearchSettings(population=40, offspring=10, generations=60, crossover="sbx", mutation="pm",
                          crossover_probability=1.0, mutated_genes=1.0),
        guide="error",
        # the paper begins with random solutions only; here a front never loses to its baseline
        seeding="homogeneous",
        space="per_layer",
        objectives=("error", "size"),
        of_space={"silago": (("error", "silago.speedup", "silago.energy"), 15),
                  "bitfusion": (("error", "bitfusion.speedup"), 60)},
    ),
)})
