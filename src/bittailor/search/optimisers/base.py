"""What an optimiser is: it proposes genomes and is told what they gave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittailor.common.records import check, whole
from bittailor.errors import BittailorError
from bittailor.search.optimisers.operators import CROSSOVERS, MUTATIONS, Floats
from bittailor.search.space import Genome, Space

MOST_SOLUTIONS = 1_000_000
"""Of one generation."""


@dataclass(frozen=True)
class OptimiserSettings:
    """How new solutions are made. The same settings give the same ones.

    population             solutions that survive a generation, 2 or more
    offspring              new solutions per generation; 0: as many as `population`
    seed                   0 .. 2**32 - 1
    crossover, mutation    names in `CROSSOVERS` and `MUTATIONS`
    crossover_probability  share of pairs that are crossed, 0..1
    mutated_genes          how many genes of a child mutate on average, more than 0
    Raises                 BittailorError where a value is out of range, UnknownName for an unknown operator.
    """

    population: int = 40
    offspring: int = 0
    seed: int = 0
    crossover: str = "uniform"
    mutation: str = "reset"
    crossover_probability: float = 0.9
    mutated_genes: float = 1.0

    def __post_init__(self) -> None:
        check(self)
        whole(self.population, "population", 2, MOST_SOLUTIONS)
        whole(self.offspring, "offspring", 0, MOST_SOLUTIONS)
        if not 0 <= self.crossover_probability <= 1:
            raise BittailorError(f"crossover_probability is {self.crossover_probability}; expected 0..1")
        if not 0 < self.mutated_genes < np.inf:
            raise BittailorError(f"mutated_genes is {self.mutated_genes}; expected more than 0")
        _ = CROSSOVERS[self.crossover], MUTATIONS[self.mutation]


class Optimiser(ABC):
    """A search method, by ask and tell. No genome is asked for twice; an empty answer means nothing is left.

    All its randomness comes from `settings.seed`: the same answers give the same questions, so that a search resumes
    by replaying what is stored. A genome decodes to one plan and each plan has one genome, so unequal genomes are
    unequal plans.
    """

    title: str
    """What it is called in the literature."""

    @abstractmethod
    def __init__(self, space: Space, settings: OptimiserSettings, seeds: Iterable[Genome], objectives: int) -> None:
        """seeds       genomes that come first in the first population, all of them even if they are more than fit
        objectives  how many there are
        """

    @abstractmethod
    def ask(self) -> list[Genome]:
        """The next generation: genomes that were never asked for."""

    @abstractmethod
    def tell(self, points: Floats, violations: Floats) -> None:
        """What the genomes asked for gave, in their order.

        points      float64 [asked, objectives], minimised; not looked at where the violation is infinite
        violations  float64 [asked]: 0 for a solution that keeps all constraints, infinity for a failed one
        """

    @abstractmethod
    def revise(self, genomes: Sequence[Genome], points: Floats, violations: Floats) -> None:
        """Other values for survivors (`population`), from the next `tell` on."""

    def invite(self, genomes: Sequence[Genome]) -> None:
        """Solutions of other islands, which the next `ask` asks for too, but for those that it asked for before.

        Raises  BittailorError where the method takes none.
        """
        if genomes:
            raise BittailorError(f"{type(self).__name__} takes no solutions of other islands; leave out --islands")

    @property
    @abstractmethod
    def population(self) -> tuple[list[Genome], Floats, NDArray[np.bool_]]:
        """The survivors: genomes, points [n, objectives], and which of them keep all constraints."""
