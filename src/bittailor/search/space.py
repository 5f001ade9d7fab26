"""Space: the free choices of a candidate, and genome ↔ structure and widths, both ways, exactly.

A *genome* is what the search changes: for each gene, in order, an index into that gene's options. It means a
*structure*, which network the candidate is (the words of the genes that are no widths; none of them, one network),
and *widths*: site → bits for every site of the space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittailor.common.records import make, shown
from bittailor.errors import BittailorError, FormatError

Genome: TypeAlias = tuple[int, ...]

# the words of the genes that choose a network, in their order
Structure: TypeAlias = tuple[str, ...]

EXACT = 32  # a bias held at 32 bits is the accumulator's own type: it loses nothing
ALLOWED = (*range(1, 17), EXACT)

_FORMAT, _VERSION = "bittailor.space", 1


class Gene(ABC):
    """One free choice of a candidate: one of some options, which stand in an order.

    name  unique in its space
    """

    name: str

    @property
    @abstractmethod
    def options(self) -> tuple[str, ...]:
        """The options as words without blanks, all different; a genome holds the index of one."""

    @abstractmethod
    def index(self, word: str) -> int:
        """The index of an option; FormatError if it is none."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The gene as JSON values."""


@dataclass(frozen=True)
class WidthGene(Gene):
    """A width: the sites that share a width, and the widths that they may have.

    name    unique in its space
    sites   at least one site name; no site stands in two genes
    widths  strictly increasing, each in 1..16, or 32 for an exact bias; a single one is allowed
    Raises  FormatError for anything else.
    """

    name: str
    sites: tuple[str, ...]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        widths = tuple(_bits(width, f"gene '{self.name}'") for width in self.widths)
        object.__setattr__(self, "widths", widths)
        if not self.sites:
            raise FormatError(f"gene '{self.name}' has no sites; give it at least one")
        if not self.widths:
            raise FormatError(f"gene '{self.name}' has no widths; give it some, for example (2, 4, 8)")
        if any(a >= b for a, b in zip(self.widths, self.widths[1:], strict=False)):
            raise FormatError(f"gene '{self.name}' has widths {self.widths}; they must strictly increase")

    @cached_property
    def options(self) -> tuple[str, ...]:
        return tuple(map(str, self.widths))

    def index(self, word: str) -> int:
        if word not in self.options:
            raise FormatError(f"gene '{self.name}' cannot have '{word}' bits; it allows {self.widths}")
        return self.options.index(word)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "sites": list(self.sites), "widths": list(self.widths)}


@dataclass(frozen=True)
class SpaceForm:
    """A space as JSON values; see `Space`."""

    format: str
    version: int
    name: str
    genes: tuple[WidthGene, ...]
    fixed: Mapping[str, int]


@dataclass(frozen=True)
class Space:
    """Everything that a search may choose.

    name    what to call it, for example `per_operator`
    genes   the free choices, at least one
    fixed   site → bits for the sites that are not free
    Raises  FormatError for a width outside 1..16 (or 32), a site or gene named twice, or no genes.

    >>> genes = WidthGene("weights", ("W", "U"), (2, 4, 8)), WidthGene("state", ("h",), (4, 8))
    >>> space = Space("tiny", genes, fixed={"x": 8})
    >>> space.size, space.widths((1, 0))
    (6, {'W': 4, 'U': 4, 'h': 4, 'x': 8})
    >>> space.genome({"W": 4, "U": 4, "h": 4, "x": 8})
    (1, 0)
    """

    name: str
    genes: tuple[Gene, ...]
    fixed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "genes", tuple(self.genes))
        fixed = {site: _bits(width, f"fixed site '{site}'") for site, width in self.fixed.items()}
        object.__setattr__(self, "fixed", fixed)
        if not self.genes:
            raise FormatError(f"space '{self.name}' has no genes: nothing to search; give it at least one")
        _unique((gene.name for gene in self.genes), f"space '{self.name}' has two genes named")
        _unique((*(site for gene in self.width_genes for site in gene.sites), *fixed),
                f"space '{self.name}' sets the width of a site twice:")

    @cached_property
    def width_genes(self) -> tuple[WidthGene, ...]:
        """The genes that are widths, in their order; the others choose a structure."""
        return tuple(gene for gene in self.genes if isinstance(gene, WidthGene))

    @cached_property
    def levels(self) -> NDArray[np.int64]:
        """How many options each gene has: int64 [genes], at least 1."""
        return np.array([len(gene.options) for gene in self.genes], np.int64)

    @property
    def size(self) -> int:
        """How many different candidates there are."""
        return prod(self.levels.tolist())

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site that the space gives a width, free ones first."""
        return (*(site for gene in self.width_genes for site in gene.sites), *self.fixed)

    def check(self, genome: Sequence[int]) -> Genome:
        """The genome as a tuple of ints; FormatError where its length or an index does not fit."""
        if len(genome) != len(self.genes):
            raise FormatError(f"a genome of {len(genome)} values; "
                              f"space '{self.name}' has {len(self.genes)} genes")
        for gene, index in zip(self.genes, genome, strict=True):
            if not 0 <= index < len(gene.options) or index != int(index):
                raise FormatError(f"gene '{gene.name}' is {index}; expected an index "
                                  f"0..{len(gene.options) - 1} into its options {', '.join(gene.options)}")
        return tuple(int(index) for index in genome)

    def widths(self, genome: Sequence[int]) -> dict[str, int]:
        """Site → bits of every site; the inverse of `genome`. FormatError if the genome does not fit."""
        widths: dict[str, int] = {}
        for gene, index in zip(self.genes, self.check(genome), strict=True):
            if isinstance(gene, WidthGene):
                widths |= dict.fromkeys(gene.sites, gene.widths[index])
        return widths | dict(self.fixed)

    def structure(self, genome: Sequence[int]) -> Structure:
        """Which network a genome means; empty where the space has widths only."""
        return tuple(gene.options[index] for gene, index in zip(self.genes, genome, strict=True)
                     if not isinstance(gene, WidthGene))

    def genome(self, widths: Mapping[str, int], structure: Structure = ()) -> Genome:
        """The genome that stands for exactly these widths in this structure; the inverse of `widths` and `structure`.

        Raises  FormatError naming gene and site where the space cannot say it: a width that is not allowed,
                sites of one gene that differ, a fixed site at another width, a site missing or unknown.
        """
        self._same_sites(widths)
        found = []
        for gene in self.width_genes:
            bits = widths[gene.sites[0]]
            for site in gene.sites:
                if widths[site] != bits:
                    raise FormatError(f"gene '{gene.name}' gives one width to all its sites, but "
                                      f"'{gene.sites[0]}' has {bits} bits and '{site}' has {widths[site]}")
            if bits not in gene.widths:
                raise FormatError(f"site '{gene.sites[0]}' has {bits} bits; "
                                  f"gene '{gene.name}' allows {gene.widths}")
            found.append(gene.widths.index(bits))
        for site, bits in self.fixed.items():
            if widths[site] != bits:
                raise FormatError(f"site '{site}' has {widths[site]} bits; "
                                  f"space '{self.name}' fixes it at {bits}")
        return self._joined(found, structure)

    def nearest(self, widths: Mapping[str, int], structure: Structure = ()) -> Genome:
        """The genome closest to these widths: per gene the allowed width with the smallest sum of distances
        to its sites, the larger one of equals. Fixed sites are not looked at and may be missing.

        For what the space cannot say exactly, such as 8 bits with 16-bit biases where biases end at 8.
        Raises  FormatError where a free site is missing.
        """
        found = []
        for gene in self.width_genes:
            for site in gene.sites:
                if site not in widths:
                    raise FormatError(f"site '{site}' of gene '{gene.name}' has no width; give it one")
            distance = [sum(abs(width - widths[site]) for site in gene.sites) for width in gene.widths]
            found.append(max(index for index, d in enumerate(distance) if d == min(distance)))
        return self._joined(found, structure)

    def key(self, genome: Sequence[int]) -> str:
        """The candidate as short canonical text: the option of each gene, in order, as in `8 4 4 16`.

        Two genomes have the same key exactly when they decode to the same structure and widths.
        """
        return " ".join(gene.options[index] for gene, index in zip(self.genes, genome, strict=True))

    def read(self, key: str) -> Genome:
        """The genome of a key; the inverse of `key`. FormatError if it is none of this space.

        >>> Space("tiny", (WidthGene("a", ("W",), (2, 4, 8)), WidthGene("b", ("h",), (4, 8)))).read("8 4")
        (2, 0)
        """
        words = key.split()
        if len(words) != len(self.genes):
            raise FormatError(f"'{key}' has {len(words)} words; space '{self.name}' has {len(self.genes)} genes")
        return tuple(gene.index(word) for gene, word in zip(self.genes, words, strict=True))

    def random(self, rng: np.random.Generator, n: int) -> list[Genome]:
        """`n` genomes, each gene uniform over its options; equal ones may occur."""
        return genomes(rng.integers(0, self.levels, size=(n, len(self.genes))))

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON values; `from_dict` reads it back equal."""
        return {"format": _FORMAT, "version": _VERSION, "name": self.name,
                "genes": [gene.to_dict() for gene in self.genes],
                "fixed": dict(self.fixed)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """The space that `to_dict` wrote. FormatError if it is something else or of another version."""
        if not isinstance(values, Mapping) or values.get("format") != _FORMAT:
            raise FormatError(f"not a search space: expected a JSON object with \"format\": \"{_FORMAT}\"")
        if values.get("version") != _VERSION:
            raise FormatError(f"a search space of version {shown(values.get('version'))}; this bittailor reads "
                              f"version {_VERSION}. Write it again with this version")
        try:
            form = make(SpaceForm, values)
            return cls(form.name, form.genes, form.fixed)
        except BittailorError as error:
            raise FormatError(f"a damaged search space: {error}") from None

    def _joined(self, widths: Sequence[int], structure: Structure) -> Genome:
        """A genome of the indices of the width genes and the words of the others."""
        indices, words = iter(widths), iter(structure)
        if len(widths) + len(structure) != len(self.genes):
            raise FormatError(f"a structure of {len(structure)} choices; space '{self.name}' has "
                              f"{len(self.genes) - len(widths)}")
        return tuple(next(indices) if isinstance(gene, WidthGene) else gene.index(next(words)) for gene in self.genes)

    def _same_sites(self, widths: Mapping[str, int]) -> None:
        for gene in self.width_genes:
            for site in gene.sites:
                if site not in widths:
                    raise FormatError(f"site '{site}' of gene '{gene.name}' has no width; give it one")
        for site in self.fixed:
            if site not in widths:
                raise FormatError(f"site '{site}', fixed at {self.fixed[site]} bits, has no width; add it")
        if len(widths) != len(self.sites):
            extra = next(site for site in widths if site not in set(self.sites))
            raise FormatError(f"site '{extra}' has a width, but stands in no gene of space '{self.name}'")


def genomes(indices: NDArray[np.int64]) -> list[Genome]:
    """Rows of an integer array [n, genes] as genomes: tuples of plain ints."""
    return [tuple(row) for row in indices.tolist()]


def _bits(width: Any, where: str) -> int:
    if isinstance(width, bool) or not isinstance(width, int | np.integer) or width not in ALLOWED:
        raise FormatError(f"{where} has width {width!r}; a width is 1..16 bits, or {EXACT} for an exact bias")
    return int(width)


def _unique(names: Iterable[str], problem: str) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise FormatError(f"{problem} '{name}'")
        seen.add(name)
