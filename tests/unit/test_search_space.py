"""Space: genome ↔ widths is a bijection, and whatever cannot be said is refused by name."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.errors import FormatError
from bittailor.search import Space, WidthGene

TINY = Space("tiny", (WidthGene("w", ("W", "U"), (2, 4, 8)), WidthGene("h", ("h",), (4, 8)),
                      WidthGene("b", ("b",), (8, 16, 32))), {"x": 8})

_WIDTHS = st.sets(st.sampled_from([*range(1, 17), 32]), min_size=1, max_size=8).map(lambda s: tuple(sorted(s)))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=8))
    genes = tuple(WidthGene(f"g{i}", tuple(f"s{i}.{j}" for j in range(n)), draw(_WIDTHS)) for i, n in enumerate(sizes))
    return Space("any", genes, draw(st.dictionaries(st.sampled_from(["x", "y"]), st.integers(1, 16))))


@given(spaces(), st.integers(0, 2**32))
def test_widths_and_genome_are_inverse(space: Space, seed: int) -> None:
    for genome in space.random(np.random.default_rng(seed), 5):
        widths = space.widths(genome)
        assert space.genome(widths) == genome
        assert space.nearest(widths) == genome
        assert set(widths) == set(space.sites)


def test_every_plan_has_one_genome_and_one_key() -> None:
    every = list(product(*(range(len(gene.widths)) for gene in TINY.genes)))
    assert len(every) == TINY.size == 18
    assert len({tuple(sorted(TINY.widths(genome).items())) for genome in every}) == TINY.size
    assert len({TINY.key(genome) for genome in every}) == TINY.size
    assert TINY.key((1, 0, 2)) == "4 4 32"


@given(spaces())
def test_json_round_trip(space: Space) -> None:
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_size_is_exact_for_large_spaces() -> None:
    space = Space("large", tuple(WidthGene(f"g{i}", (f"s{i}",), tuple(range(2, 9))) for i in range(93)))
    assert space.size == 7**93


@pytest.mark.parametrize(("given_bits", "expected"), [(16, 8), (1, 2), (3, 4), (6, 8), (5, 4), (8, 8)])
def test_nearest_clamps_and_takes_the_larger_of_equals(given_bits: int, expected: int) -> None:
    widths = {"W": given_bits, "U": given_bits, "h": 4, "b": 16}
    assert TINY.widths(TINY.nearest(widths))["W"] == expected


def test_random_stays_in_range_and_repeats_for_a_seed() -> None:
    first, again = (TINY.random(np.random.default_rng(5), 200) for _ in range(2))
    assert first == again
    assert set(first) == set(product(range(3), range(2), range(3)))
    assert all(type(index) is int for index in first[0])


@pytest.mark.parametrize(("widths", "message"), [
    ((0, 4), "gene 'g' has width 0"), ((4, 17), "gene 'g' has width 17"), ((4, 4), "strictly increase"),
    ((8, 4), "strictly increase"), ((), "has no widths"), ((2.5,), "width 2.5"), ((True, 4), "width True"),
    (("8",), "width '8'"),
])
def test_bad_widths(widths: tuple[int, ...], message: str) -> None:
    with pytest.raises(FormatError, match=message) as error:
        WidthGene("g", ("s",), widths)
    assert "\n" not in str(error.value)


def test_bad_spaces() -> None:
    gene = WidthGene("g", ("s",), (4, 8))
    for make, message in [
        (lambda: WidthGene("g", (), (4,)), "gene 'g' has no sites"),
        (lambda: Space("p", ()), "space 'p' has no genes"),
        (lambda: Space("p", (gene, WidthGene("k", ("s",), (4,)))), "sets the width of a site twice: 's'"),
        (lambda: Space("p", (WidthGene("g", ("s", "s"), (4,)),)), "sets the width of a site twice: 's'"),
        (lambda: Space("p", (gene,), {"s": 8}), "sets the width of a site twice: 's'"),
        (lambda: Space("p", (gene, WidthGene("g", ("t",), (4,)))), "two genes named 'g'"),
        (lambda: Space("p", (gene,), {"t": 17}), "fixed site 't' has width 17"),
        (lambda: Space.from_dict({"format": "other"}), "not a search space"),
        (lambda: Space.from_dict({**TINY.to_dict(), "version": 9}), "version 9"),
        (lambda: Space.from_dict({**TINY.to_dict(), "genes": [{"name": "g"}]}), "damaged"),
        (lambda: Space.from_dict({**TINY.to_dict(), "fixed": 3}), "damaged"),
    ]:
        with pytest.raises(FormatError, match=message) as error:
            make()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    ({"W": 3, "U": 3}, "site 'W' has 3 bits; gene 'w' allows"),
    ({"W": 4}, "gene 'w' gives one width to all its sites, but 'W' has 4 bits and 'U' has 8"),
    ({"x": 4}, "site 'x' has 4 bits; space 'tiny' fixes it at 8"),
    ({"q": 4}, "site 'q' has a width, but stands in no gene"),
    ({"h": None}, "site 'h' of gene 'h' has no width"),
    ({"x": None}, "site 'x', fixed at 8 bits, has no width"),
])
def test_widths_that_the_space_cannot_say(change: dict[str, int | None], message: str) -> None:
    widths = {"W": 8, "U": 8, "h": 8, "b": 32, "x": 8} | change
    with pytest.raises(FormatError, match=message):
        TINY.genome({site: bits for site, bits in widths.items() if bits is not None})


def test_genomes_that_do_not_fit() -> None:
    for genome, message in [((0, 0), "a genome of 2 values"), ((3, 0, 0), "gene 'w' is 3; expected an index 0..2"),
                            ((0, -1, 0), "gene 'h' is -1"), ((0, 0.5, 0), "gene 'h' is 0.5")]:
        with pytest.raises(FormatError, match=message):
            TINY.widths(genome)  # type: ignore[arg-type]
