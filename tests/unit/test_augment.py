"""Augmentation of training items: what may change, and what may not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bittailor.common.data import Data
from bittailor.errors import BittailorError
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.quantise.spaces import homogeneous_widths
from bittailor.train.augment import Augmentation
from bittailor.train.recipe import Retraining
from bittailor.train.retrain import _Retrainer, retrain
from networks import gru_network

ITEMS, STEPS, FEATURES = 200, 12, 2


def problem(end: str = "last") -> tuple[Calibration, dict[str, int], Data]:
    """A GRU of 8 units, its widths, and data that say which input had the largest sum."""
    network = gru_network(3, 8, 3, end=end)
    x = np.random.default_rng(0).normal(size=(48, 6, 3)).astype(np.float32)
    data = Data(x, x.sum(axis=1).argmax(axis=1))
    return calibrate(network, data.x, data.lengths), homogeneous_widths(network.graph, 4), data


@pytest.fixture
def items() -> tuple[torch.Tensor, torch.Tensor]:
    """Items whose values say which item and which step they are; zero beyond their lengths."""
    lengths = torch.arange(ITEMS) % STEPS + 1
    at = torch.arange(STEPS)
    x = (torch.arange(ITEMS)[:, None] * 100 + at + 1.0) * (at < lengths[:, None])
    return torch.stack([x, -x], dim=2), lengths


def altered(x: torch.Tensor, lengths: torch.Tensor, seed: int = 0, **how: float) -> torch.Tensor:
    mean = torch.tensor([-7.0, 7.0])
    given = {"noise": 0.0, "mask": 0.0, "shift": 0, **how}
    return Augmentation(given["noise"], given["mask"], int(given["shift"]), mean)(
        x, lengths, torch.Generator().manual_seed(seed))


def test_nothing_asked_nothing_altered(items: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert not Augmentation(0.0, 0.0, 0, torch.zeros(FEATURES)).alters
    assert altered(*items) is items[0]


@pytest.mark.parametrize("mask", [0.3, 0.5, 1.0])
def test_one_stretch_is_masked_by_the_mean(mask: float, items: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, lengths = items
    found = altered(x, lengths, mask=mask)
    masked = (found != x).any(dim=2)
    assert (found[masked] == torch.tensor([-7.0, 7.0])).all()
    for row, length in zip(masked, lengths.tolist(), strict=True):
        where = torch.nonzero(row).flatten()
        assert len(where) <= mask * length
        assert not len(where) or int(where[-1]) - int(where[0]) == len(where) - 1  # in one piece
        assert not row[length:].any()
    assert masked.any()
    # every step may be masked, the first and the last of an item too
    long = lengths > 4
    assert masked[long, 0].any()
    assert masked[long, lengths[long] - 1].any()


def test_items_move_within_their_lengths(items: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, lengths = items
    found = altered(x, lengths, shift=3)
    moves = set()
    for old, new, length in zip(x[..., 0].numpy(), found[..., 0].numpy(), lengths.tolist(), strict=True):
        fits = [by for by in range(-3, 4)
                if np.array_equal(new[:length], old[np.clip(np.arange(length) - by, 0, length - 1)])]
        assert fits
        assert np.array_equal(new[length:], old[length:])
        moves |= set(fits) if len(fits) == 1 else set()
    assert moves == set(range(-3, 4))
    assert torch.equal(found[..., 1], -found[..., 0])


def test_a_seed_gives_the_same(items: tuple[torch.Tensor, torch.Tensor]) -> None:
    how = {"noise": 0.5, "mask": 0.3, "shift": 2}
    assert torch.equal(altered(*items, seed=4, **how), altered(*items, seed=4, **how))
    assert not torch.equal(altered(*items, seed=4, **how), altered(*items, seed=5, **how))


def test_a_shift_needs_a_target_per_item() -> None:
    calibration, widths, data = problem(end="sequence")
    steps = Data(data.x, np.repeat(data.y[:, None], data.x.shape[1], axis=1), data.lengths)
    with pytest.raises(BittailorError, match="target per step"):
        retrain(calibration, widths, steps, "frame_error", Retraining(epochs=1, shift=1))
    retrain(calibration, widths, steps, "frame_error", Retraining(epochs=1, updates=0, mask=0.5))


def test_a_retraining_is_judged_on_items_as_it_met_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calibration, widths, data = problem()
    seen: list[np.ndarray] = []
    outputs = _Retrainer.outputs

    def noted(self: _Retrainer, given: Data) -> np.ndarray:
        seen.append(given.x)
        return outputs(self, given)

    monkeypatch.setattr(_Retrainer, "outputs", noted)
    retrain(calibration, widths, data, "classification_error", Retraining(epochs=1, updates=0))
    end, begin = seen
    assert np.array_equal(end, begin)
    assert not np.array_equal(begin, data.x)


def test_names_of_beacons_stay_where_nothing_new_is_asked() -> None:
    assert not {"mask", "shift"} & Retraining().identity().keys()
    assert Retraining(mask=0.2).identity()["mask"] == 0.2
    assert Retraining(shift=2).identity() != Retraining().identity()
