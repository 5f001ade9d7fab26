"""What a search does, apart from what it searches."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bittailor.common.records import whole
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.optimisers.base import OptimiserSettings


@dataclass(frozen=True)
class SearchSettings(OptimiserSettings):
    """The optimiser, its settings, and how long it searches. The same settings give the same search.

    population             solutions that survive a generation, 2 or more
    offspring              new solutions per generation; 0: as many as `population`
    seed                   0 .. 2**32 - 1
    crossover, mutation    names in `CROSSOVERS` and `MUTATIONS`
    crossover_probability  share of pairs that are crossed, 0..1
    mutated_genes          how many genes of a child mutate on average, more than 0
    generations            the first population included, 1 or more
    optimiser              a name in `OPTIMISERS`
    Raises                 BittailorError where a value is out of range, UnknownName for an unknown name.
    """

    generations: int = 40
    optimiser: str = "nsga2"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.generations, "generations", 1)
        _ = OPTIMISERS[self.optimiser]

    @property
    def evaluations(self) -> int:
        """How many solutions a search asks for, unless its space holds fewer."""
        return self.population + (self.generations - 1) * (self.offspring or self.population)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; `SearchSettings(**values)` reads them back."""
        return asdict(self)
