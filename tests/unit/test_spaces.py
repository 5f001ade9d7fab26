"""Spaces over a graph: which sites share a gene, and genome <-> widths both ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import networks
from bittailor.core.qformat import allowed_widths
from bittailor.errors import FormatError, UnknownName
from bittailor.quantise.spaces import SPACES, WIDTHS, grouped, homogeneous, homogeneous_widths, per_layer, per_operator
from bittailor.search.space import Space

GRAPH = networks.gru_network(5, 4, 3, layers=2, bidirectional=True).graph
FREE = {site.name: site for site in GRAPH.free}
ACTIVATIONS = ["input", "*.r.*", "*.z.*", "*.n.*", "*.h", "*.h.new", "*.h.kept", "*.out"]
GROUPS = {
    "input matrices": (["*.W_i?"], (2, 3, 4)), "recurrent": (["*.W_h?"], (1, 8)), "head": (["head.W"], (4, 8)),
    "biases": (["*.b*"], (8,)), "rest": (ACTIVATIONS, (4, 8, 16)),
}


def spaces() -> list[Space]:
    return [per_operator(GRAPH), per_layer(GRAPH), homogeneous(GRAPH), grouped(GRAPH, GROUPS),
            per_operator(GRAPH, widths=(1, 8), activations=(2, 16), biases=(4, 32))]


@pytest.mark.parametrize("space", spaces(), ids=lambda s: s.name)
@given(seed=st.integers(0, 2**32))
def test_genome_and_widths_are_a_bijection(space: Space, seed: int) -> None:
    a, b = space.random(np.random.default_rng(seed), 2)
    assert space.genome(space.widths(a)) == a
    assert space.widths(space.genome(space.widths(b))) == space.widths(b)
    assert (a == b) == (space.widths(a) == space.widths(b)) == (space.key(a) == space.key(b))
    widths = space.widths(a)
    assert widths.keys() == FREE.keys()
    assert all(bits in allowed_widths(FREE[name].kind) for name, bits in widths.items())


@pytest.mark.parametrize("space", spaces(), ids=lambda s: s.name)
def test_every_site_is_chosen_once_and_json_is_equal(space: Space) -> None:
    assert sorted(space.sites) == sorted(FREE)
    assert Space.from_dict(space.to_dict()) == space


def test_per_operator_has_a_gene_for_every_site() -> None:
    space = per_operator(GRAPH)
    assert [gene.name for gene in space.genes] == list(FREE)
    assert all(gene.sites == (gene.name,) for gene in space.genes)
    assert not space.fixed


def test_homogeneous_is_one_gene_and_biases_stay_at_16() -> None:
    space = homogeneous(GRAPH)
    for i, bits in enumerate(WIDTHS):
        assert space.widths((i,)) == homogeneous_widths(GRAPH, bits)
    widths = homogeneous_widths(GRAPH, 4)
    assert {widths[name] for name, site in FREE.items() if site.kind == "bias"} == {16}
    assert {widths[name] for name, site in FREE.items() if site.kind != "bias"} == {4}


def test_per_layer_has_two_genes_per_matrix_product() -> None:
    space = per_layer(GRAPH)
    by_name = {gene.name: gene for gene in space.genes}
    # 2 layers x 2 directions x (input, recurrent) and the head; sources: input, 4 states, 1 joined output, end
    assert sum(name.startswith("W:") for name in by_name) == 9
    assert by_name["W:gru0:input"].sites == ("gru0.W_ir", "gru0.W_iz", "gru0.W_in")
    assert by_name["W:gru0.rev:gru0.rev.h"].sites == ("gru0.rev.W_hr", "gru0.rev.W_hz", "gru0.rev.W_hn")
    assert by_name["A:gru0.h"].sites == ("gru0.h",)
    assert space.fixed["gru0.r.pre"] == 16
    assert space.fixed["gru0.b_r"] == 16


def test_a_grouping_of_ones_own() -> None:
    space = grouped(GRAPH, GROUPS, "mine")
    assert [gene.name for gene in space.genes] == ["input matrices", "recurrent", "head", "rest"]
    assert space.fixed["head.b"] == 8
    assert space.widths((0, 1, 0, 2))["gru1.W_hn"] == 8


@pytest.mark.parametrize(("change", "message"), [
    ({"rest": (["input"], (4, 8))}, r"site\(s\) are in no group, first 'gru0.r.x'; add a last group"),
    ({"typo": (["gru9.*"], (4, 8))}, "group 'typo' matches no site; there are: input"),
    ({"again": (["head.W"], (4, 8))}, "site 'head.W' is in two groups, 'head' and 'again'"),
    ({"rest": (ACTIVATIONS, (1, 8))}, "input: 1 bits is no width for an activation"),
    ({"rest": (ACTIVATIONS, ())}, "has no widths"),
    ({"head": (["head.W"], (0, 8))}, "width 0"),
    ({"head": (["head.W"], (8, 17))}, "width 17"),
    ({"head": (["head.W"], (8, 32))}, "head.W: 32 bits is no width for a weight"),
    ({"head": (["head.W"], (17,))}, "17"),
    ({"head": (["head.W"], (8, 4))}, "must strictly increase"),
])
def test_groupings_that_do_not_work(change: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        grouped(GRAPH, GROUPS | change)


def test_nothing_to_search() -> None:
    with pytest.raises(FormatError, match="has no genes"):
        grouped(GRAPH, {"all": (["*"], (8,))})


@pytest.mark.parametrize("bits", [0, 17])
@pytest.mark.parametrize("name", SPACES)
def test_widths_out_of_range(name: str, bits: int) -> None:
    with pytest.raises(FormatError, match=rf"{bits}"):
        SPACES[name](GRAPH, widths=(bits,))


def test_one_bit_is_for_weights_only() -> None:
    with pytest.raises(FormatError, match=r"input: 1 bits is no width for an activation; choose 2..16"):
        homogeneous(GRAPH, widths=(1, 2))
    assert per_operator(GRAPH, widths=(1, 2), activations=(2, 3))


def test_unknown_space() -> None:
    with pytest.raises(UnknownName, match="did you mean 'per_layer'"):
        SPACES["per_layers"]
