"""Offsets in flash: nothing is lost, common factors of two stand in the code, widths are those that are read quickly;
an exported network reads each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bittailor.compile.image import image_of
from bittailor.compile.offsets import MOST, STEP, WORD, stored_offsets
from bittailor.core.arith import Ints, signed_bits
from bittailor.core.ops.forms import MatrixProduct, Packed
from bittailor.core.program import Program, bind
from bittailor.export import export_program
from bittailor.export.c_model import Model
from bittailor.export.c_text import source
from bittailor.export.verify import verify
from networks import gru_network, uniform_plan


@pytest.mark.parametrize("width", range(2, 60))
def test_nothing_is_lost_and_nothing_is_wider_than_it_must_be(width: int, rng: np.random.Generator) -> None:
    for zeros in (0, 1, 7, width - 2):
        values = rng.integers(-(1 << width - 1), 1 << width - 1, 12) >> zeros << zeros
        values[0] = (1 << width - 1) - (1 << zeros)
        if not values.any():
            continue
        stored = stored_offsets(values)
        assert np.array_equal(stored.values * stored.factor, values)
        assert signed_bits(stored.values) <= stored.bits
        least = signed_bits(stored.values)
        if signed_bits(values) <= WORD:
            assert (stored.values % 2).any()
        if least > MOST:
            assert stored.bits == least
        else:
            assert stored.bits % STEP == 0
            assert stored.bits - least < STEP
        assert stored.ctype == {8: "int8_t", 16: "int16_t"}.get(stored.bits, "uint8_t")


def with_offsets(program: Program, owner: str, offsets: Ints) -> Program:
    """The same program with other offsets of a matrix product."""
    form = program.constants[owner]
    assert isinstance(form, MatrixProduct)
    other = replace(form, offsets=Packed(offsets, signed_bits(offsets)))
    return replace(program, constants={**program.constants, owner: other})


@pytest.mark.parametrize(("bits", "zero_bits", "words"), [
    (4, 0, "bt_element(rom.gru0_r_x_offsets, 8u, i, 4u)"), (4, 9, "bt_element(rom.gru0_r_x_offsets, 8u, i, 4u) * 512"),
    (8, 0, "rom.gru0_r_x_offsets[i]"), (8, 5, "(int32_t)rom.gru0_r_x_offsets[i] * 32"),
    (12, 1, "bt_element(rom.gru0_r_x_offsets, 24u, i, 12u) * 2"), (16, 0, "rom.gru0_r_x_offsets[i]"),
    (16, 3, "(int32_t)rom.gru0_r_x_offsets[i] * 8"), (17, 0, "bt_element(rom.gru0_r_x_offsets, 34u, i, 17u)"),
])
def test_the_generated_code_of_every_width(bits: int, zero_bits: int, words: str) -> None:
    network = gru_network(5, 16, 3)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 5)), 8))
    values = np.full(16, 1 << zero_bits)
    values[3] = ((1 << bits - 1) - 1) << zero_bits
    values[5] = -(1 << bits - 1) << zero_bits
    program = with_offsets(program, "gru0.r.x", values)
    assert f"+ {words}" in source(Model(program, "model"))
    found = next(a for a in image_of(program).arrays if ("gru0.r.x", "offsets") in a.owners)
    assert found.nbytes == 16 * bits // 8


@pytest.mark.parametrize("b_r", [2, 3, 4, 6, 8, 12])
def test_an_exported_network_adds_them(b_r: int, tmp_path: Path) -> None:
    """Biases of few bits share factors; the host compares every site with the engines, sizes with the linker."""
    network = gru_network(5, 16, 3, seed=b_r)
    x = np.random.default_rng(0).normal(size=(4, 6, 5))
    program = bind(network, uniform_plan(network, x, 8, W_ir=3, b_r=b_r, b_z=4, b_in=b_r))
    stored = [a for a in image_of(program).arrays if a.item == "offsets"]
    assert {a.bits for a in stored if a.bits <= MOST} <= {4, 8, 12, 16}
    folder = export_program(program, tmp_path / "out").folder
    report = verify(folder, ["host"], items=6)
    assert report.problem is None
