"""Retraining: begins at the post-training solution, ends as a calibration of exactly what was trained."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bittailor.common.data import Data, Splits, Targets
from bittailor.common.files import load_tensors, save_tensors
from bittailor.core.network import Network
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.engines import Reference
from bittailor.errors import BittailorError
from bittailor.evaluate.losses import CROSS_ENTROPY, FRAME_CROSS_ENTROPY, SQUARED_ERROR
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.quantise.spaces import homogeneous_widths
from bittailor.tasks import TASKS, Recipe
from bittailor.train import retrain as module
from bittailor.train.checkpoint import FORMAT, KIND
from bittailor.train.distil import distilled
from bittailor.train.floats import Teacher
from bittailor.train.floats import train as train_float
from bittailor.train.learner import usual_rate
from bittailor.train.masters import MasterWeights, learnable
from bittailor.train.recipe import RANGES, Retraining
from bittailor.train.retrain import Retrained, retrain
from networks import gru_network, random_lengths, random_widths

Rng = np.random.Generator
QUICK = Retraining(epochs=2, updates=0, batch=16, rate=5e-3, noise=0.0)


def problem(
    seed: int = 0, items: int = 48, ragged: bool = True, end: str = "last", **kwargs: Any
) -> tuple[Calibration, Data]:
    """A GRU of 8 units that tells apart three classes: which input had the largest sum."""
    rng = np.random.default_rng(seed)
    network = gru_network(3, 8, 3, seed=seed, end=end, **kwargs)
    x = rng.normal(size=(items, 6, 3)).astype(np.float32)
    lengths = random_lengths(rng, items, 6) if ragged else None
    lengths = np.full(items, 6) if lengths is None else lengths
    data = Data(x, x.sum(axis=1).argmax(axis=1), lengths)
    return calibrate(network, data.x, data.lengths), data


def widths_of(calibration: Calibration, weights: int = 2, activations: int = 8) -> dict[str, int]:
    return {s.name: weights if s.kind == "weight" else 8 if s.kind == "bias" else activations
            for s in calibration.network.graph.free}


def program_of(result: Retrained) -> Program:
    return result.calibration.binder().bind(result.calibration.plan(result.widths))


def same_programs(a: Program, b: Program, data: Data) -> bool:
    return a.formats == b.formats and np.array_equal(
        Reference().run(a, a.quantise_input(data.x), data.lengths),
        Reference().run(b, b.quantise_input(data.x), data.lengths),
    )


# --- where it begins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_it_begins_at_the_post_training_solution(bits: int, per_row: bool) -> None:
    calibration, _ = problem()
    calibration = Calibration(calibration.network, replace(calibration.settings, per_row=per_row),
                              calibration.observed, calibration.moments)
    widths = widths_of(calibration, bits)
    masters = MasterWeights(calibration, widths, [])
    plan = calibration.plan(widths)
    assert masters.plan() == plan
    for name, q in masters.integers().items():
        assert np.array_equal(q, calibration.integers(name, plan.formats[name])), name


def test_a_given_range_is_not_learned() -> None:
    calibration, _ = problem()
    graph = calibration.network.graph
    names = learnable(graph, calibration, homogeneous_widths(graph, 8))
    assert names == {"gru0.r.x", "gru0.r.h", "gru0.r.pre", "gru0.z.x", "gru0.z.h", "gru0.z.pre", "gru0.n.x", "gru0.n.h",
                     "gru0.n.reset", "gru0.n.pre", "gru0.h.new", "gru0.h.kept", "head.out"}


# --- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_what_was_trained_is_what_is_shipped(cell: str, ranges: str, rng: Rng, monkeypatch: pytest.MonkeyPatch) -> None:
    """After training, at random widths, the integers of the training network are those of the bound program."""
    calibration, data = problem(items=32, cell=cell, bidirectional=True)
    widths = random_widths(calibration.network, rng)
    seen: list[dict[str, np.ndarray]] = []
    monkeypatch.setattr(module._Retrainer, "run", _watch(module._Retrainer.run, seen, data))
    result = retrain(calibration, widths, data, "error", replace(QUICK, ranges=ranges), seed=1)
    program = program_of(result)
    wanted = Reference().trace(program, program.quantise_input(data.x), data.lengths)
    for site, values in wanted.items():
        assert np.array_equal(seen[0][site], values), site
    assert [row["epoch"] for row in result.history] == [1, 2]


def _watch(original, seen, data):  # type: ignore[no-untyped-def]
    def run(self):  # type: ignore[no-untyped-def]
        made = original(self)
        self._bind()
        q, lengths = self._quantised(torch.from_numpy(data.x)), torch.from_numpy(data.lengths)
        self.network.step(torch.from_numpy(q), lengths, keep=True)
        seen.append(self.network.trace())
        return made
    return run


def test_it_learns() -> None:
    calibration, data = problem(ragged=False, items=96)
    settings = replace(QUICK, epochs=40, rate=1e-2, distil=0.0)
    result = retrain(calibration, widths_of(calibration), data, "error", settings, valid=data)
    first, last = result.history[0], result.history[-1]
    assert last["loss"] < 0.7 * first["loss"]
    assert last["valid"] < first["valid"]
    program = program_of(result)
    outputs = program.read_output(Reference().run(program, program.quantise_input(data.x), data.lengths))
    assert last["valid"] == 100 * np.mean(outputs.argmax(axis=1) != data.y)
    assert np.abs(program.constants["gru0.r.h"].W.values).max() == 1


def test_a_saved_result_gives_the_same_program(tmp_path: Path) -> None:
    calibration, data = problem()
    result = retrain(calibration, widths_of(calibration), data, "error", QUICK)
    result.calibration.network.save(tmp_path / "n.safetensors")
    result.calibration.save(tmp_path / "c.safetensors")
    again = Calibration.load(tmp_path / "c.safetensors", Network.load(tmp_path / "n.safetensors"))
    loaded = again.binder().bind(again.plan(result.widths))
    assert same_programs(program_of(result), loaded, data)
    # neighbours of other widths are served, too
    neighbour = widths_of(calibration, 3)
    again.binder().bind(again.plan(neighbour))


def test_a_start_from_elsewhere() -> None:
    """Zero steps of a warm start are the beacon itself."""
    calibration, data = problem()
    beacon = retrain(calibration, widths_of(calibration), data, "error", QUICK)
    idle = replace(QUICK, epochs=1, rate=1e-30, scale_rate=0.0)
    warm = retrain(calibration, widths_of(calibration), data, "error", idle, start=beacon.calibration)
    assert same_programs(program_of(beacon), program_of(warm), data)


# --- repeatable, resumable ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    QUICK,
    replace(QUICK, ranges="recalibrated", noise=0.2, hidden_match=1.0),
], ids=["learned", "recalibrated"])
def test_resuming_gives_the_same(settings: Retraining, tmp_path: Path) -> None:
    calibration, data = problem()
    settings = replace(settings, epochs=3)
    file = tmp_path / "checkpoint.safetensors"

    def stop(done: int, epochs: int, loss: float) -> None:
        if done == 1:
            raise KeyboardInterrupt

    arguments = calibration, widths_of(calibration), data, "error", settings
    with pytest.raises(KeyboardInterrupt):
        retrain(*arguments, seed=3, checkpoint=file, progress=stop)
    resumed = retrain(*arguments, seed=3, checkpoint=file)
    straight = retrain(*arguments, seed=3)
    finished = retrain(*arguments, seed=3, checkpoint=file,
                       progress=lambda done, epochs, loss: pytest.fail("trained again"))
    losses = [[row["loss"] for row in result.history] for result in (resumed, straight, finished)]
    assert losses[0] == losses[1] == losses[2]
    fingerprints = {result.calibration.network.fingerprint for result in (resumed, straight, finished)}
    assert len(fingerprints) == 1
    assert same_programs(program_of(resumed), program_of(straight), data)
    other = retrain(*arguments, seed=4)
    assert other.calibration.network.fingerprint not in fingerprints


def test_a_checkpoint_of_another_retraining_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibration, data = problem()
    file = tmp_path / "c.safetensors"
    retrain(calibration, widths_of(calibration), data, "error", QUICK, checkpoint=file)
    with caplog.at_level(logging.WARNING):
        result = retrain(calibration, widths_of(calibration, 3), data, "error", QUICK, checkpoint=file)
    assert "holds another retraining" in caplog.text
    assert len(result.history) == 2


@pytest.mark.parametrize("wrong", [
    "key", "done", "history", "seconds", "backed_off", "formats", "more", "epochs", "shape", "nan", "dtype",
    "generator", "moments"])
def test_a_checkpoint_that_does_not_fit_is_not_used_in_part(
    wrong: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a checksum, as somebody leaves it who means it: the retraining is that without a checkpoint."""
    calibration, data = problem()
    file = tmp_path / "c.safetensors"
    arguments = calibration, widths_of(calibration), data, "error", QUICK
    straight = retrain(*arguments, checkpoint=file)
    body, arrays = load_tensors(file, KIND, FORMAT)
    site = next(iter(body["formats"]))
    odd: dict[str, Any] = {
        "done": -1, "history": [{"loss": "x"}] * 2, "seconds": None, "backed_off": 0.5,
        "formats": {site: body["formats"][site]}, "epochs": 3}
    if wrong in body:
        body[wrong] = odd.get(wrong, 1)
    elif wrong == "more":
        body["more"] = 1
    elif wrong == "epochs":
        body |= {"done": 3, "history": [*body["history"], body["history"][0]]}
    elif wrong == "generator":
        arrays["generator"] = arrays["generator"][:-1]
    elif wrong == "moments":
        arrays["weights/exp_avg"] = arrays["weights/exp_avg"][:-1]
    else:
        weights = arrays["weights"]
        arrays["weights"] = {"shape": weights[:-1], "nan": weights * np.nan, "dtype": weights.astype(np.int32)}[wrong]
    save_tensors(file, KIND, FORMAT, body, arrays)
    with caplog.at_level(logging.WARNING):
        result = retrain(*arguments, checkpoint=file)
    assert "checkpoint not used" in caplog.text
    assert [row["loss"] for row in result.history] == [row["loss"] for row in straight.history]
    assert result.calibration.network.fingerprint == straight.calibration.network.fingerprint


def test_threads_and_the_global_generator_are_left_alone() -> None:
    calibration, data = problem()
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    retrain(calibration, widths_of(calibration), data, "error", replace(QUICK, epochs=1, noise=0.1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_divergence_is_an_error() -> None:
    calibration, data = problem()
    wild = replace(QUICK, rate=1e30)
    said = r"the retraining diverged in epoch 1 of 2: .*\. Lower its rate \(1e\+30\)"
    with pytest.raises(BittailorError, match=said):
        retrain(calibration, widths_of(calibration), data, "error", wild)


def test_an_epoch_that_diverges_is_begun_anew_at_lower_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same result as with the lower rate from the start; a run that was stopped after it goes on with that rate."""
    calibration, data = problem()
    plain = module._Retrainer._update

    def diverging(self: Any, items: Any, scales: bool) -> Any:
        if not self.backed_off and self.moved:
            plain(self, items, scales)  # something changes first
            raise self._diverged("the loss is nan")
        return plain(self, items, scales)

    slow = replace(QUICK, rate=QUICK.rate / 4, scale_rate=QUICK.scale_rate / 4)
    wanted = retrain(calibration, widths_of(calibration), data, "error", slow, seed=2)
    monkeypatch.setattr(module._Retrainer, "_update", diverging)
    found = retrain(calibration, widths_of(calibration), data, "error", QUICK, seed=2)
    assert found.calibration.network.fingerprint == wanted.calibration.network.fingerprint
    assert found.worse is None

    def stop(done: int, epochs: int, loss: float) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "c.safetensors"
    with pytest.raises(KeyboardInterrupt):
        retrain(calibration, widths_of(calibration), data, "error", QUICK, seed=2, checkpoint=file, progress=stop)
    again = retrain(calibration, widths_of(calibration), data, "error", QUICK, seed=2, checkpoint=file)
    assert again.calibration.network.fingerprint == wanted.calibration.network.fingerprint


def test_what_ends_worse_than_it_began_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    network = gru_network(3, 8, 3, seed=0)
    calibration, data = problem()
    data = Data(data.x, network(data.x, data.lengths), data.lengths)  # nothing to gain
    widths = widths_of(calibration, 8)
    with caplog.at_level(logging.WARNING):
        result = retrain(calibration, widths, data, "mse", replace(QUICK, rate=3.0), seed=1)
    assert result.worse is not None
    assert "ended worse than it began" in result.worse
    assert result.worse in caplog.text
    assert len(result.history) == 2
    begun = calibration.binder().bind(calibration.plan(widths))
    assert same_programs(program_of(result), begun, data)


@pytest.mark.parametrize("end", ["last", "sequence"])
def test_a_batch_in_parts_is_the_same_step(end: str, rng: Rng) -> None:
    calibration, data = problem(end=end)
    metric = "error"
    if end == "sequence":
        labels = np.repeat(data.y[:, None], 6, axis=1)
        data, metric = Data(data.x, labels, data.lengths), "frame_error"
    # hidden states are matched by steps where a loss goes by items: ragged parts would weigh them a little otherwise
    settings = replace(QUICK, epochs=1, batch=48, hidden_match=0.1 * (end == "sequence"), distil=0.0)
    whole, parts = (retrain(calibration, widths_of(calibration), data, metric, replace(settings, memory=memory), seed=1)
                    for memory in (1.0, 1e-9))
    assert parts.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-5)
    assert parts.history[0]["train"] == whole.history[0]["train"]
    for name, value in whole.calibration.network.parameters.items():
        step = 0.02 * np.abs(value).max()
        # Adam's first step is the sign of a gradient: where that is about zero, parts may give the other one
        assert np.mean(np.abs(parts.calibration.network.parameters[name] - value) > step) < 0.02, name


def test_rates_follow_the_network() -> None:
    calibration, data = problem()
    assert usual_rate(calibration) == 1e-2
    wide = calibrate(gru_network(3, 300, 3, seed=0), data.x, data.lengths)
    assert 1e-4 < usual_rate(wide) < 4e-3
    assert Retraining().identity()["rate"] == 1e-2
    assert Retraining(updates=2500).epochs_for(24) == 500
    assert Retraining(updates=2500).epochs_for(270) == 500
    assert Retraining(updates=2500).epochs_for(8000) == 20


@pytest.mark.parametrize(("change", "message"), [
    ({"ranges": "free"}, "ranges 'free' are unknown; choose one of frozen, learned, recalibrated"),
    ({"epochs": -1}, "epochs is -1; expected a whole number, 0 or more"),
    ({"rate": -1.0}, "rate is -1.0; expected 0 or more"),
    ({"clip": 0.0}, "clip is 0.0; expected more than 0"),
    ({"noise": float("nan")}, "noise is nan; expected a number"),
    ({"distil": 1.5}, "distil is 1.5; expected a weight of 0..1"),
])
def test_settings_are_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(BittailorError) as error:
        Retraining(**change)  # type: ignore[arg-type]
    assert str(error.value) == message


# --- teachers -------------------------------------------------------------------------------------------------------


def test_the_teacher_is_the_float_network() -> None:
    """Softened outputs alone, without labels: what the student learns is its teacher."""
    calibration, data = problem(ragged=False, items=96)
    blind = Data(data.x, np.zeros(len(data), np.int64), data.lengths)
    settings = replace(QUICK, epochs=15, distil=1.0, hidden_match=0.5)
    result = retrain(calibration, widths_of(calibration, 4), blind, "error", settings)
    program = program_of(result)
    student = program.read_output(Reference().run(program, program.quantise_input(data.x), data.lengths))
    teacher = calibration.network(data.x, data.lengths)
    assert np.mean(student.argmax(axis=1) == teacher.argmax(axis=1)) > 0.9
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_regression_and_outputs_per_step() -> None:
    rng = np.random.default_rng(0)
    calibration, data = problem()
    targets = Data(data.x, rng.normal(size=(len(data), 3)), data.lengths)
    result = retrain(calibration, widths_of(calibration, 4), targets, "mse", replace(QUICK, epochs=6), valid=targets)
    assert result.history[-1]["valid"] < result.history[0]["valid"]
    steps, data = problem(end="sequence")
    valid = np.arange(6)[None] < data.lengths[:, None]
    labels = np.where(valid[:, :, None], np.stack([np.broadcast_to(data.y[:, None], valid.shape),
                                                    np.zeros(valid.shape, np.int64)], axis=2), -1)
    result = retrain(steps, widths_of(steps, 4), Data(data.x, labels, data.lengths), "per",
                     replace(QUICK, epochs=6, noise=0.1))
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_the_distilled_loss(rng: Rng) -> None:
    outputs, teacher = (torch.from_numpy(rng.normal(size=(5, 4, 3))) for _ in range(2))
    labels = torch.from_numpy(rng.integers(0, 3, 5))
    wanted = Targets(labels, torch.full((5,), 4))
    plain = CROSS_ENTROPY.train(outputs[:, 0], wanted)
    assert distilled(CROSS_ENTROPY, 0.0, 2.0)(outputs[:, 0], wanted, teacher[:, 0]) == plain
    p, q = (torch.softmax(x[:, 0] / 2, dim=1) for x in (teacher, outputs))
    soft = 4 * float((p * (p / q).log()).sum(dim=1).mean())
    mixed = distilled(CROSS_ENTROPY, 0.25, 2.0)(outputs[:, 0], wanted, teacher[:, 0])
    assert float(mixed) == pytest.approx(0.75 * float(plain) + 0.25 * soft)
    squares = distilled(SQUARED_ERROR, 1.0, 2.0)(outputs[:, 0], Targets(teacher[:, 1], None), teacher[:, 0])
    assert float(squares) == pytest.approx(float(((outputs - teacher)[:, 0] ** 2).mean()))
    # of outputs per step only those within an item's length count
    lengths = torch.tensor([1, 2, 4, 3, 1])
    changed = teacher.clone()
    changed[torch.arange(4)[None] >= lengths[:, None]] = 9.0
    of = distilled(FRAME_CROSS_ENTROPY, 1.0, 2.0)
    assert of(outputs, Targets(labels, lengths), teacher) == of(outputs, Targets(labels, lengths), changed)
    for weight, temperature in ((-0.1, 1.0), (0.5, 0.0)):
        with pytest.raises(BittailorError):
            distilled(CROSS_ENTROPY, weight, temperature)


def test_a_float_student(tmp_path: Path) -> None:
    """A smaller float network learns from a larger one, labels or not; both are cached apart."""
    task = replace(TASKS["digits"], recipe=Recipe(epochs=20, batch=32, rate=2e-2))
    splits = task.load()
    splits = Splits(splits.train[:400], splits.valid, splits.test)
    large = train_float(task, splits, 16, cache=tmp_path)
    blind = Splits(Data(splits.train.x, np.roll(splits.train.y, 1), splits.train.lengths), splits.valid, splits.test)
    small = train_float(task, blind, 8, cache=tmp_path, teacher=Teacher(large.module, 1.0))
    alone = train_float(task, blind, 8, cache=tmp_path)
    assert small.valid < 40 < alone.valid, (large.valid, small.valid, alone.valid)
    assert len({large.key, small.key, alone.key}) == 3
    assert train_float(task, blind, 8, cache=tmp_path, teacher=Teacher(large.module, 1.0)).cached
    assert not train_float(task, blind, 8, cache=tmp_path, teacher=Teacher(large.module, 0.9)).cached


def test_masters_stay_within_reach() -> None:
    calibration, _ = problem()
    widths = widths_of(calibration, 2)
    masters = MasterWeights(calibration, widths, [])
    masters.weights.mul_(100)
    masters.confine()
    for name, fmt in masters.formats.items():
        if isinstance(fmt, QFormat) and fmt.kind == "weight":
            assert float(masters.view(name).abs().max()) <= 1.5 * fmt.scale[0]
