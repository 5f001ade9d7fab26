"""Float training: repeatable, cached, honest about what went wrong."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from bittailor.common.data import Data, Splits
from bittailor.core.cells import CELLS
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate.metrics import METRICS
from bittailor.read import from_torch
from bittailor.tasks import TASKS, Recipe, Task
from bittailor.tasks.adding import generate
from bittailor.tasks.network import LastStepNetwork
from bittailor.train import floats
from bittailor.train.floats import evaluate_module, fingerprint, one_cycle, recipe_for, train

DIGITS = TASKS["digits"]
QUICK = Recipe(epochs=2, batch=64, rate=1e-2, noise=0.1)


@pytest.fixture(scope="module")
def splits() -> Splits:
    parts = DIGITS.load()
    return Splits(parts.train[:200], parts.valid[:50], parts.test[:50])


@pytest.fixture(scope="module")
def quick() -> Task:
    return dataclasses.replace(DIGITS, recipe=QUICK)


def weights(module: torch.nn.Module) -> list[np.ndarray]:
    return [value.numpy() for value in module.state_dict().values()]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(weights(a), weights(b), strict=True))


def test_equal_seeds_give_equal_weights(quick: Task, splits: Splits, tmp_path: Path) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = train(quick, splits, hidden=4, seed=1, cache=tmp_path / "a")
    again = train(quick, splits, hidden=4, seed=1, cache=tmp_path / "b")
    other = train(quick, splits, hidden=4, seed=2, cache=tmp_path / "b")
    assert same(first.module, again.module)
    assert not same(first.module, other.module)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


class WithDropout(LastStepNetwork):
    """Drops a half of the last step's values in training."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(x, lengths), 0.5, self.training)


def test_dropout_is_drawn_by_the_seed(quick: Task, splits: Splits, tmp_path: Path) -> None:
    task = dataclasses.replace(quick, build=WithDropout)
    state = torch.random.get_rng_state()
    first = train(task, splits, hidden=4, seed=1, cache=tmp_path / "a")
    torch.rand(3)
    again = train(task, splits, hidden=4, seed=1, cache=tmp_path / "b")
    assert same(first.module, again.module)
    torch.random.set_rng_state(state)


def test_cache_returns_the_same_weights(quick: Task, splits: Splits, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = train(quick, splits, 4, cache=tmp_path, progress=lambda done, total, loss: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    again = train(quick, splits, 4, cache=tmp_path, progress=lambda done, total, loss: pytest.fail("trained again"))
    assert (first.cached, again.cached) == (False, True)
    assert same(first.module, again.module)
    assert (again.valid, again.file, again.key) == (first.valid, first.file, first.key)
    assert again.seconds == pytest.approx(first.seconds, abs=1e-3)
    assert not again.module.training
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_trained_cached_and_read(cell: str, quick: Task, splits: Splits, tmp_path: Path) -> None:
    first = train(quick, splits, 4, cache=tmp_path, cell=cell)
    again = train(quick, splits, 4, cache=tmp_path, cell=cell)
    assert (first.cached, again.cached) == (False, True)
    assert same(first.module, again.module)
    network = from_torch(first.module)
    assert network.graph.steps[0].name == f"{cell}0"
    got = network(splits.valid.x, splits.valid.lengths)
    assert np.allclose(got, evaluate_module(first.module, splits.valid), atol=1e-5)
    assert first.valid == METRICS["classification_error"].value(got, splits.valid.targets)


def test_a_cell_has_a_key_of_its_own(splits: Splits) -> None:
    keys = {cell: fingerprint(DIGITS, splits, 4, 0, cell) for cell in CELLS}
    assert len(set(keys.values())) == len(CELLS)
    assert fingerprint(DIGITS, splits, 4, 0) == keys["gru"]


def test_key_depends_on_all_that_weights_depend_on(quick: Task, splits: Splits, tmp_path: Path) -> None:
    slower = dataclasses.replace(quick, recipe=dataclasses.replace(QUICK, rate=5e-3))
    fewer = Splits(splits.train[:150], splits.valid, splits.test)
    runs = [train(quick, splits, 4, 0, tmp_path), train(quick, splits, 5, 0, tmp_path),
            train(quick, splits, 4, 1, tmp_path), train(slower, splits, 4, 0, tmp_path),
            train(quick, fewer, 4, 0, tmp_path)]
    assert len({run.key for run in runs}) == len(runs)
    assert not any(run.cached for run in runs)


@pytest.mark.parametrize("damage", ["cut", "other", "bits", "renamed"])
def test_damaged_cache_costs_a_warning(
    quick: Task, splits: Splits, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(quick, splits, 4, cache=tmp_path)
    assert first.file is not None
    whole = first.file.read_bytes()
    if damage == "renamed":
        other = train(quick, splits, 4, seed=9, cache=tmp_path)
        assert other.file is not None
        first.file.write_bytes(other.file.read_bytes())
    else:
        first.file.write_bytes({"cut": whole[:-7], "other": b"text", "bits": whole[:-4] + b"????"}[damage])
    with caplog.at_level(logging.WARNING):
        again = train(quick, splits, 4, cache=tmp_path)
    assert len(caplog.records) == 1
    assert first.file.name in caplog.text
    assert not again.cached
    assert same(first.module, again.module)
    assert train(quick, splits, 4, cache=tmp_path).cached


def test_folder_that_cannot_be_written_costs_a_warning(
    quick: Task, splits: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    run = train(quick, splits, 4, cache=tmp_path / "file" / "below")
    assert run.file is None
    assert "not cached" in caplog.text


def test_divergence_is_said(quick: Task, splits: Splits, tmp_path: Path) -> None:
    wild = dataclasses.replace(
        TASKS["adding"], recipe=Recipe(epochs=9, batch=8, rate=1e38, clip=1e38))
    data = generate(40, seed=0, steps=5)
    with pytest.raises(BittailorError, match=r"training 'adding' diverged: the loss is \S+ in epoch"):
        train(wild, Splits(data, data, data), 4, cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("x", "y", "said"), [
    (np.zeros((20, 8, 9)), np.arange(20) % 10, r"cannot read items of shape \(8, 9\)"),
    (np.zeros((20, 8, 8)), np.arange(20) % 11, r"labels run 0\.\.10"),
    (np.zeros((20, 8, 8)), np.full((20, 1), 0.5), "needs class labels"),
])
def test_data_of_another_task_are_refused(
    quick: Task, tmp_path: Path, x: np.ndarray, y: np.ndarray, said: str
) -> None:
    data = Data(x, y)
    with pytest.raises(DataError, match=said):
        train(quick, Splits(data, data, data), 4, cache=tmp_path)


def test_targets_of_another_width_are_refused(tmp_path: Path) -> None:
    data = Data(np.zeros((20, 8, 2)), np.zeros((20, 3)))
    with pytest.raises(DataError, match=r"targets have shape \(20, 3\) but the network has 1 outputs"):
        train(TASKS["adding"], Splits(data, data, data), 4, cache=tmp_path)


def test_few_steps_are_evaluated_at_once(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    module, sizes = DIGITS.network(4), list[int]()
    module.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[0] * inputs[0].shape[1]))
    whole = evaluate_module(module, splits.valid)
    assert sizes == [50 * 8]
    monkeypatch.setattr(floats, "STEPS_AT_ONCE", 100)
    np.testing.assert_allclose(evaluate_module(module, splits.valid), whole, atol=1e-6)
    assert sizes[1:] == [96, 96, 96, 96, 16]
    monkeypatch.setattr(floats, "STEPS_AT_ONCE", 1)
    evaluate_module(module, splits.valid[:2])
    assert sizes[-2:] == [8, 8]


@pytest.mark.parametrize(("hidden", "share"), [(4, 1.0), (32, 1.0), (64, 1.0), (128, 0.5), (256, 0.25)])
def test_wide_networks_have_lower_rates(hidden: int, share: float, splits: Splits, tmp_path: Path) -> None:
    assert DIGITS.hidden == 32
    recipe = recipe_for(DIGITS, hidden)
    assert recipe.rate == share * DIGITS.recipe.rate
    assert dataclasses.replace(recipe, rate=DIGITS.recipe.rate) == DIGITS.recipe
    # the rate that a network is trained with is the one in its key
    asked = dataclasses.replace(DIGITS, recipe=recipe, hidden=hidden)
    assert fingerprint(asked, splits, hidden, 0) == fingerprint(DIGITS, splits, hidden, 0)
    one = dataclasses.replace(DIGITS, recipe=dataclasses.replace(DIGITS.recipe, epochs=1))
    other = dataclasses.replace(one, recipe=recipe_for(one, hidden), hidden=hidden)
    few = Splits(splits.train[:40], splits.valid, splits.test)
    runs = [train(task, few, hidden, cache=tmp_path / name) for task, name in ((one, "a"), (other, "b"))]
    assert same(runs[0].module, runs[1].module)


def test_outputs_do_not_depend_on_the_batch_or_on_padding(splits: Splits) -> None:
    module = DIGITS.network(4)
    lengths = 1 + np.arange(50) % 8
    data = Data(splits.valid.x, splits.valid.y, lengths)
    whole = evaluate_module(module, data)
    assert whole.shape == (50, 10)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(evaluate_module(module, data, batch=7), whole, atol=1e-6)
    one = data[3:4]
    alone = Data(one.x[:, : one.lengths[0]], one.y)
    np.testing.assert_allclose(evaluate_module(module, alone), whole[3:4], atol=1e-6)
    assert module.training


def test_training_uses_the_valid_steps_only(quick: Task, splits: Splits, tmp_path: Path) -> None:
    lengths = np.full(200, 3)
    short = Data(splits.train.x[:, :3], splits.train.y)
    padded = Data(splits.train.x, splits.train.y, lengths)
    runs = [train(quick, Splits(data, splits.valid, splits.test), 4, cache=tmp_path) for data in (short, padded)]
    for left, right in zip(*(weights(run.module) for run in runs), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_learning_rate_rises_then_falls_to_zero() -> None:
    shares = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1)
    assert shares[-1] == pytest.approx(0)
    assert np.argmax(shares) == 10


def test_digits_reach_the_known_accuracy(tmp_path: Path) -> None:
    run = train(DIGITS, DIGITS.load(), cache=tmp_path)
    assert run.valid < 5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "worst"), [("mnist1d", 6.0), ("adding", 3e-4)])
def test_generated_tasks_reach_the_known_accuracy(name: str, worst: float, tmp_path: Path) -> None:
    task = TASKS[name]
    assert train(task, task.load(), cache=tmp_path).valid < worst
