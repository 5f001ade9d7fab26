"""The network of MOHAQ in the constants of its authors, for comparison with their figures.

Source: Rezk et al., arXiv 2108.01192, and the scripts published with it. The formulas are those of `hardware`; here
stand only the counts. Two of them are lower than those of the network that the paper describes: the SRU library keeps a
fourth matrix where a layer's input and output differ in size, so L0 holds 23 x 4400 weights and not 23 x 3300; and
recurrence vectors and biases of four layers are 17,600 values and not 8,800. `Workload.of` counts a real graph in full.

>>> genome = decode("4 2 4 2 | 16 4 8 2 | 4 2 2 | 2 2 16 | 2 8")
>>> round(size_mib(genome), 3), round(ratio(genome), 1)
(1.627, 13.0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bittailor.cost.hardware import ElementwiseWork, MatrixWork, Workload
from bittailor.errors import FormatError

BLOCKS: Mapping[str, tuple[int, int]] = {
    "L0": (23, 3300), "L1": (256, 3300), "L2": (256, 3300), "L3": (256, 3300),
    "Pr1": (1100, 256), "Pr2": (1100, 256), "Pr3": (1100, 256), "FC": (1100, 1904),
}
"""Matrix products: inputs x outputs. 3300: three gates of 550 units in two directions; 1904: states of the decoder."""

ELEMENTWISE = 4 * 1100 * 20
"""Element-wise operations per frame: layers x outputs of both directions x operations of each."""

VECTORS = 8_800
"""Values of recurrence vectors and biases, as the authors count them; always 16 bits."""

FLOAT_BITS = 32
VECTOR_BITS = 16
WIDTHS = (2, 4, 8, 16)
"""What the codes 1, 2, 3, 4 of a published genome stand for."""

_LAYERS, _PROJECTIONS = ("L0", "L1", "L2", "L3"), ("Pr1", "Pr2", "Pr3")

LAYOUTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "silago": tuple((f"W:{block}", f"A:{block}") for block in (*_LAYERS, *_PROJECTIONS, "FC")),
    "bitfusion": tuple((f"{kind}:{block}",) for group in (_LAYERS, _PROJECTIONS, ("FC",))
                       for kind in "WA" for block in group),
}
"""Space -> for each gene, in the paper's order, the sites that it sets: weights W and inputs A of a block."""

WORK = Workload(
    tuple(MatrixWork(name, rows * columns, f"W:{name}", f"A:{name}") for name, (rows, columns) in BLOCKS.items()),
    (ElementwiseWork("add", ELEMENTWISE, ("vectors",)),),
    {f"W:{name}": rows * columns for name, (rows, columns) in BLOCKS.items()} | {"vectors": VECTORS},
)
"""The work of one frame in the paper's counts."""

BEACONS: Mapping[str, str] = {
    "152": "4 2 4 2 | 16 4 8 2 | 4 2 2 | 2 2 16 | 2 8",
    "156": "16 2 2 2 | 16 2 2 2 | 2 2 2 | 2 2 4 | 2 8",
    "192": "2 2 2 2 | 16 8 16 2 | 8 8 2 | 2 2 8 | 2 16",
    "199": "8 2 2 2 | 16 8 16 2 | 8 8 2 | 2 2 8 | 2 16",
}
"""Genomes that the authors retrained, in bits: W of L0..L3, A of L0..L3, W and A of Pr1..Pr3, W and A of FC."""


def decode(bits: str | Sequence[int], layout: str = "bitfusion") -> dict[str, int]:
    """Site -> bits, from a genome in bits and the paper's order; `|` may stand between groups."""
    values = [int(word) for word in bits.replace("|", " ").split()] if isinstance(bits, str) else list(bits)
    genes = LAYOUTS[layout]
    if len(values) != len(genes):
        raise FormatError(f"a genome of {len(values)} widths; the layout '{layout}' has {len(genes)}")
    for value in values:
        if value not in WIDTHS:
            raise FormatError(f"a genome with a width of {value} bits; the paper has {', '.join(map(str, WIDTHS))}")
    return {site: value for sites, value in zip(genes, values, strict=True) for site in sites} | {
        "vectors": VECTOR_BITS}


def from_codes(codes: Sequence[int]) -> list[int]:
    """Widths from the published codes 1..4; the inverse of `to_codes`."""
    for code in codes:
        if not 1 <= code <= len(WIDTHS):
            raise FormatError(f"a genome with the code {code}; the paper has 1..{len(WIDTHS)}")
    return [WIDTHS[code - 1] for code in codes]


def to_codes(bits: Sequence[int]) -> list[int]:
    """Published codes from widths."""
    return [WIDTHS.index(value) + 1 for value in bits]


def size_mib(widths: Mapping[str, int]) -> float:
    """Size of all parameters in MiB."""
    return WORK.bits(widths) / 8 / 2**20


def ratio(widths: Mapping[str, int]) -> float:
    """How many times smaller than the float network."""
    return FLOAT_BITS * sum(WORK.parameters.values()) / WORK.bits(widths)
