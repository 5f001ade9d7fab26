"""Signals from masks, and the task that makes them: speech in noise."""

from __future__ import annotations

import importlib.util
import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

import bittailor as bt
from bittailor.common import cache
from bittailor.errors import DataError
from bittailor.evaluate.masks import MASKED_SI_SDR, signals, spectra
from bittailor.evaluate.metrics import METRICS
from bittailor.evaluate.speech_quality import EXTRA, MEASURES, speech_quality
from bittailor.runs.listening import quality, sounds
from bittailor.runs.problem import Display
from bittailor.tasks import TASKS, enhance
from bittailor.tasks.enhance import FRAME, NOISES, RATIOS_DB, SAMPLES, TEST_NOISES, Corpus
from bittailor.tasks.per_step import MaskNetwork
from bittailor.train.floats import tensors
from bittailor.train.recipe import Retraining

Rng = np.random.Generator
speaks = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None,
                            reason="espeakng-loader is not installed: pip install 'bittailor[speech]'")
SMALL = Corpus(train=("m1", "f1", "klatt"), test=("m2",), each=(3, 4))
METRIC = METRICS["masked_si_sdr"]
SMALL_SEARCH = bt.SearchSpec(metric="masked_si_sdr", search=bt.SearchSettings(population=4, generations=1))


def data_of(rng: Rng, items: int = 4, size: int = 16, frames: int = 9) -> bt.Data:
    """Noisy signals of a few frames, of which a small network can take something out."""
    samples = size // 2 * (frames + 1)
    clean = np.sin(np.arange(samples) * rng.uniform(0.2, 0.6, (items, 1)))
    noisy = spectra(clean + 0.5 * rng.normal(size=clean.shape), size)
    lengths = rng.integers(2, frames + 1, items)
    return bt.Data(enhance.features(noisy), clean, lengths,
                   extras={"noisy": noisy, "rate": np.full(items, 8000)})


@pytest.mark.parametrize("size", [4, 16, 512])
def test_spectra_and_signals_are_inverses(size: int, rng: Rng) -> None:
    x = rng.normal(size=(3, 5 * size + size // 2 - 1))
    spectrum = spectra(x, size)
    assert spectrum.shape == (3, 9, size // 2 + 1)
    back = signals(spectrum)
    assert back.shape == (3, 8 * (size // 2))
    assert np.abs(back - x[:, size // 2 : size // 2 + back.shape[1]]).max() < 1e-5


def test_a_mask_of_ones_leaves_the_noisy_signal(rng: Rng) -> None:
    data = data_of(rng)
    found = METRIC.per_item(np.ones(data.x.shape), data.targets)
    for i, value in enumerate(found):
        n = 8 * (int(data.lengths[i]) - 1)
        e, s = signals(data.extras["noisy"][i : i + 1])[0, :n], data.y[i, 8 : 8 + n].astype(float)
        part = (e @ s) / (s @ s) * s
        assert value == pytest.approx(10 * np.log10((part @ part) / ((part - e) @ (part - e))), abs=1e-4)
    # frames beyond an item's length do not matter
    masks = rng.random(data.x.shape)
    other = np.where((np.arange(9) < data.lengths[:, None])[:, :, None], masks, 0.5)
    assert METRIC.value(masks, data.targets) == pytest.approx(METRIC.value(other, data.targets), abs=1e-9)


def test_the_loss_of_search_and_of_training_agree(rng: Rng) -> None:
    data = data_of(rng)
    masks = rng.random(data.x.shape).astype(np.float32)
    longest = int(data.lengths.max())
    ours = MASKED_SI_SDR.of(masks, data.targets)
    assert METRIC.value(masks, data.targets) == pytest.approx(-ours)
    for steps in (longest, 9):
        asked = torch.from_numpy(masks[:, :steps]).requires_grad_()
        theirs = MASKED_SI_SDR.train(asked, tensors(data.targets))
        assert float(theirs.detach()) == pytest.approx(ours, abs=1e-3)
        theirs.backward()
        assert asked.grad is not None
        assert bool(torch.isfinite(asked.grad).all())


@pytest.mark.parametrize(("change", "said"), [
    ({"extras": {}}, r"needs the noisy spectra .*\[items, steps, 9\], as extras\['noisy'\] of the data; got none"),
    ({"extras": {"noisy": np.zeros((4, 9, 9))}}, r"got float64 \(4, 9, 9\)"),
    ({"extras": {"noisy": np.zeros((4, 9, 8), complex)}}, r"got complex128 \(4, 9, 8\)"),
    ({"y": np.zeros(4, int)}, "needs clean signals"),
    ({"y": np.zeros((4, 9, 9))}, "needs clean signals"),
    ({"y": np.zeros((4, 20))}, "20 samples are too short for a mask of 9 bins"),
])
def test_wrong_targets_get_advice(change: dict[str, object], said: str, rng: Rng) -> None:
    data = data_of(rng)
    given = {"y": data.y, "extras": data.extras, **change}
    with pytest.raises(DataError, match=said):
        METRIC.check(bt.Data(data.x, **given).targets, 9, True)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="needs one per step"):
        METRIC.check(data.targets, 9, False)


def test_a_mask_is_searched_retrained_and_exported(tmp_path: Path, rng: Rng) -> None:
    from bittailor.cli.actions import export_solution, verify_export

    data = bt.Splits(*(data_of(rng, items=12) for _ in range(3)))
    module = MaskNetwork(9, 6, 9)
    run = bt.run_search(bt.from_torch(module, 9), data, tmp_path / "run", bt.SearchSpec(
        metric="masked_si_sdr", search=bt.SearchSettings(population=8, generations=2, seed=1)))
    assert run.metric.maximise
    heard = sounds(run.path)
    assert [s.item for s in heard] == sorted(s.item for s in heard)
    assert {s.item for s in heard} == {0, 1, 2}
    assert [s.name for s in heard if s.item == 0] == ["noisy", "clean", "float", "8 bit", *run.picks]
    with wave.open(io.BytesIO(heard[0].wav)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 8 * 8)
        samples = np.frombuffer(file.readframes(64), "<i2")
    wanted = signals(data.test.extras["noisy"][:1])[0]
    assert np.abs(samples / np.abs(samples).max() - wanted / np.abs(wanted).max()).max() < 1e-3
    pytest.importorskip("matplotlib")
    page = bt.write_report(run).read_text()
    assert page.count("<audio controls") == len(heard)
    assert "media-src data:" in page
    assert "no output is better" not in run.metric.label
    best = run.pick("best")
    (again,) = bt.retrain_picks(run, data, ["best"], recipe=Retraining(epochs=3, updates=0), workers=1)
    assert again.after is not None
    assert np.isfinite(again.after.values["error"])
    assert best.values["error"] <= max(s.values["error"] for s in run.front)
    export_solution(tmp_path / "run", tmp_path / "c", pick="best")
    assert verify_export(tmp_path / "c", cores=["host"], items=2).problem is None


# --- PESQ and STOI ---------------------------------------------------------------------------------------------------


def voice(rng: Rng, seconds: float = 1.5, rate: int = 16_000) -> np.ndarray:
    """Something that PESQ takes for utterances: buzzes with pauses between."""
    at = np.arange(int(seconds * rate)) / rate
    return np.sign(np.sin(2 * np.pi * 120 * at)) * (np.sin(2 * np.pi * 2 * at) > 0) * 0.3 + 1e-4 * rng.normal(
        size=len(at))


def test_quality_falls_with_noise(rng: Rng) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = np.stack([voice(rng), voice(rng)])
    values = [speech_quality(clean, clean + level * rng.normal(size=clean.shape), [16_000] * 2)
              for level in (0.0, 0.01, 0.1)]
    for measure in MEASURES:
        assert values[0][measure] > values[1][measure] > values[2][measure] > 0
    assert values[0]["PESQ"] > 4.5
    assert values[0]["STOI"] == pytest.approx(1.0, abs=1e-3)


def test_quality_where_there_is_none(rng: Rng) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = voice(rng)[None]
    assert speech_quality(clean, clean, [11_025])["PESQ"] is None
    assert speech_quality(clean, np.zeros_like(clean), [16_000]) == {"PESQ": None, "STOI": None}
    assert speech_quality(clean[:, :50], clean[:, :50], [16_000])["STOI"] is None


def test_quality_of_a_run_is_kept_and_reported(tmp_path: Path, rng: Rng, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    monkeypatch.setattr("bittailor.runs.confirming.installed", lambda: True)
    monkeypatch.setattr("bittailor.runs.listening.speech_quality", lambda *_: {"PESQ": 1.25, "STOI": None})
    data = bt.Splits(*(data_of(rng, items=6) for _ in range(3)))
    run = bt.run_search(bt.from_torch(MaskNetwork(9, 6, 9), 9), data, tmp_path / "run", SMALL_SEARCH)
    found = quality(run.path)
    assert found is not None
    assert found.items == 6
    assert list(found.values) == ["noisy", "float", "8 bit", *run.picks]
    assert "<td>1.250</td><td>–</td>" in bt.write_report(run).read_text()


def test_without_the_libraries_one_line_says_so(
    tmp_path: Path, rng: Rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(Display):
        def tell(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    monkeypatch.setattr("bittailor.runs.confirming.installed", lambda: False)
    data = bt.Splits(*(data_of(rng, items=6) for _ in range(3)))
    run = bt.run_search(bt.from_torch(MaskNetwork(9, 6, 9), 9), data, tmp_path / "run", SMALL_SEARCH, display=Told())
    assert [line for line in lines if "pip install 'bittailor[enhance]'" in line] == [EXTRA]
    assert quality(run.path) is None


# --- the task --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [*NOISES, *TEST_NOISES], ids=lambda noise: noise.__name__)
def test_noises_are_repeatable_and_never_the_same(noise: enhance.Noise) -> None:
    speech = np.random.default_rng(0).integers(-1000, 1000, (8, SAMPLES)).astype(np.int16)
    a, b, c = (noise(np.random.default_rng(seed), speech) for seed in (1, 1, 2))
    assert a.shape == (SAMPLES,)
    assert np.isfinite(a).all()
    assert np.array_equal(a, b)
    assert np.abs(np.corrcoef(a, c)[0, 1]) < 0.9
    assert a.std() > 0


@speaks
def test_speech_in_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "user_cache", lambda: tmp_path)
    train, test = enhance.read(None, SMALL)
    assert (len(train), len(test)) == (9, 4)
    assert train.x.shape[1:] == (2 * SAMPLES // FRAME - 1, FRAME // 2 + 1)
    again, _ = enhance.read(None, SMALL)  # from the cache
    assert again.fingerprint == train.fingerprint
    assert train.groups.tolist() == sorted(train.groups.tolist())
    for data in (train, test):
        noisy = signals(data.extras["noisy"])
        clean = data.y[:, FRAME // 2 : FRAME // 2 + noisy.shape[1]]
        ratio = 10 * np.log10((clean**2).sum(axis=1) / ((noisy - clean) ** 2).sum(axis=1))
        assert ((ratio > RATIOS_DB[0] - 2) & (ratio < RATIOS_DB[1] + 2)).all()
        assert np.abs(data.x).max() < 4
    module = TASKS["enhance"].network(8)
    with torch.no_grad():
        mask = module(torch.from_numpy(test.x)).numpy()
    assert mask.shape == test.x.shape
    METRIC.check(test.targets, mask.shape[2], True)
    # a mask does not look ahead
    cut = test.x.copy()
    cut[:, 60:] = 0
    with torch.no_grad():
        assert np.allclose(module(torch.from_numpy(cut)).numpy()[:, :60], mask[:, :60], atol=1e-6)


def test_voices_and_noises_of_the_parts_differ() -> None:
    requests, _, count = Corpus().requests()
    assert not {r.voice for r in requests[:count]} & {r.voice for r in requests[count:]}
    assert set(NOISES) & set(TEST_NOISES) == {enhance.babble}
