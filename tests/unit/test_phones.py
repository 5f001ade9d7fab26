"""The synthetic corpus: repeatable, labelled as spoken, its parts apart; and networks with an output per step."""

from __future__ import annotations

import importlib.util
import logging
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from bittailor.common import cache
from bittailor.common.data import Data, Splits
from bittailor.engines import ENGINES
from bittailor.errors import BittailorError, DataError, RangeError
from bittailor.evaluate import decode
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.metrics import METRICS
from bittailor.nn import MODULES
from bittailor.quantise.calibration import calibrate
from bittailor.quantise.spaces import homogeneous_widths
from bittailor.read import from_torch
from bittailor.runs import SearchSpec, SpaceSettings, retrain_picks, run_search, run_sensitivity
from bittailor.search.settings import SearchSettings
from bittailor.tasks import TASKS, Recipe, espeak, phones, sentences
from bittailor.tasks.per_step import PerStepNetwork, mohaq_network
from bittailor.tasks.phones import LABEL_OF, LABELS, PHONE_SET, Corpus
from bittailor.tasks.rooms import Room
from bittailor.tasks.speech import (
    HOP,
    RATE_HZ,
    WINDOW,
    filterbanks,
    frame_labels,
    mel_filters,
    resampled,
    side_by_side,
)
from bittailor.tasks.voices import TEST, TRAIN, VALIDATION
from bittailor.train.floats import train
from bittailor.train.recipe import Retraining

speaks = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None,
                            reason="espeakng-loader is not installed: pip install 'bittailor[speech]'")
SMALL = Corpus(train=("m1", "f1", "iven iven2"), valid=("klatt", "m4"), test=("m2",), speakers=(2, 1, 1), each=1)
DRY = Room(0.3, 200.0, 0)
CLOCK = {"Alicia", "Demonic", "f2", "f3", "f5", "sandro", "victor", "whisper", "whisperf"}


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "user_cache", lambda: tmp_path)
    return tmp_path


# -- the corpus ------------------------------------------------------------------------------------------------


def test_phone_set_is_silence_and_42_phones() -> None:
    assert LABELS[0] == "sil"
    assert len(LABELS) == TASKS["phones"].outputs == 43
    assert len(LABEL_OF) == sum(len(names.split()) for names in PHONE_SET.values()), "a phoneme stands for two labels"


def test_voices_stand_in_one_part_and_none_is_seeded_by_the_clock() -> None:
    utterances = Corpus().utterances()
    assert [sum(u.part == part for u in utterances) for part in range(3)] == [1375, 1000, 500]
    assert [u.part for u in utterances] == sorted(u.part for u in utterances)
    voices, families = ([{getter(u) for u in utterances if u.part == part} for part in range(3)]
                        for getter in (lambda u: u.speaker.voice, lambda u: u.family))
    for parts in (voices, families):
        assert sum(map(len, parts)) == len(set.union(*parts)), "something stands in two parts"
    assert len(set.union(*voices)) == 95
    assert not {voice.removeprefix("en-us+") for voice in set.union(*voices)} & CLOCK
    # variants of one voice are one family
    names = [{name.rstrip("0123456789").lower() for name in family.split()} for family in TRAIN + VALIDATION + TEST
             if family[:-1] not in ("m", "f") and family not in ("Mr serious", "anika anikaRobot", "rob robert")]
    assert all(len(family) == 1 for family in names)
    assert len(set.union(*names)) == len(names)


def test_speakers_differ_and_have_one_room_each() -> None:
    utterances = Corpus().utterances()
    speakers = {u.speaker for u in utterances}
    assert len(speakers) == len({s.room for s in speakers}) == len(utterances) // Corpus().each == 575
    assert len({u.request.text for u in utterances}) == len(utterances)
    assert all(abs(u.request.speed - u.speaker.speed) <= phones.HASTE for u in utterances)


def test_room_keeps_the_direct_sound_and_its_ratio() -> None:
    room = Room(0.3, 6.0, 5)
    response = room.response()
    assert response[0] == 1
    assert not response[1 : round(0.002 * RATE_HZ)].any()
    assert 10 * np.log10(1 / (response[1:] ** 2).sum()) == pytest.approx(6)
    assert np.array_equal(response, Room(0.3, 6.0, 5).response())
    assert not np.array_equal(response, Room(0.3, 6.0, 6).response())
    # 60 dB in 0.3 s: 20 dB from the second to the third tenth
    tenths = (response[round(0.1 * RATE_HZ) : round(0.3 * RATE_HZ)].reshape(2, -1) ** 2).sum(axis=1)
    assert 10 * np.log10(tenths[0] / tenths[1]) == pytest.approx(20, abs=1)
    sound = np.zeros(100)
    sound[30] = 0.5
    assert room.heard(sound)[30:] == pytest.approx(np.append(0.5 * response, np.zeros(69)), abs=1e-12)
    assert DRY.heard(sound)[:100] == pytest.approx(sound, abs=1e-9)


@speaks
def test_every_voice_is_there() -> None:
    from espeakng_loader import get_data_path

    there = {file.name for file in (Path(get_data_path()) / "voices" / "!v").iterdir()}
    assert {u.request.voice.removeprefix("en-us+") for u in Corpus().utterances()} == there - CLOCK


def test_sentences_are_random_words_half_of_them_invented() -> None:
    words = " ".join(sentences.sentence(Random(i)) for i in range(300)).split()
    known = sum(word in sentences.WORDS for word in words) / len(words)
    assert 0.4 < known < 0.6
    assert sentences.sentence(Random(5)) == sentences.sentence(Random(5))
    assert len(set(sentences.WORDS)) == len(sentences.WORDS)


@speaks
def test_speech_is_the_same_in_every_process() -> None:
    first, again = phones.make(SMALL, workers=1), phones.make(SMALL, workers=2)
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(first[0]) == 4 * 2 + 2 + 1


@speaks
def test_an_utterance_does_not_depend_on_those_before_it() -> None:
    alone = espeak.Request("en-us+m1", "water judge")
    several = [espeak.Request("en-us+f1", "thing"), espeak.Request("en-us+klatt", "measure", 200, 60, 60), alone]
    last = list(espeak.speak(several, lambda index, speech: speech, workers=1))[-1]
    first, = espeak.speak([alone], lambda index, speech: speech)
    assert np.array_equal(first.samples, last.samples)
    assert first.events == last.events
    assert first.events != []


@speaks
@pytest.mark.parametrize(("text", "said"), [
    ("fish zoo", "f ih sh z uw"), ("three boys", "th r iy b oy z"), ("thing church", "th ih ng ch er ch"),
    ("hard air", "hh ar d air"), ("measure", "m eh sh er"),
])
def test_labels_are_what_was_said(text: str, said: str) -> None:
    (features, labels), = espeak.speak([espeak.Request("en-us+m3", text)],
                                       lambda i, s: phones.heard(np.random.default_rng(i), s, DRY))
    assert features.shape == (len(labels), 23)
    transcript, = decode.transcripts(side_by_side([features], [labels]).y)
    assert [LABELS[ord(c) - decode.FIRST] for c in transcript] == said.split()


@speaks
def test_parts_are_of_different_voices(empty_cache: Path) -> None:
    train, valid, test = phones.read(None, SMALL)
    assert (len(train), len(valid), len(test)) == (8, 2, 1)
    assert train.x.shape[1:] == valid.x.shape[1:] == test.x.shape[1:]
    assert [sorted(set(part.groups)) for part in (train, valid, test)] == [[0, 1, 2], [3, 4], [5]]
    splits = replace(TASKS["phones"], read=lambda folder: (train, valid, test)).load(seed=3)
    assert (splits.train, splits.valid, splits.test) == (train, valid, test)


@speaks
def test_corpus_is_made_once(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = phones.read(None, SMALL)
    monkeypatch.setattr(phones, "make", lambda corpus: pytest.fail("made again"))
    again = phones.read(None, SMALL)
    assert [part.fingerprint for part in made] == [part.fingerprint for part in again]
    monkeypatch.undo()
    monkeypatch.setattr(cache, "user_cache", lambda: empty_cache)
    file, = (empty_cache / "data" / "phones").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    with caplog.at_level(logging.WARNING):
        assert phones.read(None, SMALL)[0].fingerprint == made[0].fingerprint
    assert "making it again" in caplog.text
    assert replace(SMALL, seed=1).key() != SMALL.key()


@speaks
@pytest.mark.parametrize("voice", ["en-us+nobody", "nobody"])
def test_voice_that_is_not_there_is_named(voice: str) -> None:
    with pytest.raises(BittailorError, match=f"cannot make speech: espeak-ng has no voice '{re.escape(voice)}'"):
        list(espeak.speak([espeak.Request(voice, "x")], lambda index, speech: speech))


@speaks
def test_processes_that_end_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("")
    monkeypatch.setattr(espeak, "WORKER", tmp_path / "ends.py")
    with pytest.raises(BittailorError, match="its process ended"):
        list(espeak.speak([espeak.Request("en-us", "x")] * 3, lambda index, speech: speech))


@speaks
def test_unknown_phoneme_is_named() -> None:
    speech = espeak.Speech(22050, np.ones(5000, np.int16), [(0, "'A:"), (900, "qq")])
    with pytest.raises(BittailorError, match="the phoneme 'qq', which the phone set"):
        phones.heard(np.random.default_rng(0), speech, DRY)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "espeakng_loader" else find(name))
    with pytest.raises(BittailorError, match=r"needs espeakng_loader, .* pip install 'bittailor\[speech\]'"):
        TASKS["phones"].load()


# -- features and labels ---------------------------------------------------------------------------------------


def test_bands_cover_the_spectrum_once() -> None:
    total = mel_filters().sum(axis=0)
    inside = (np.arange(len(total)) * 16000 / 512 > 120) & (np.arange(len(total)) * 16000 / 512 < 7000)
    assert total[inside] == pytest.approx(1)


def test_features_have_mean_0_and_deviation_1() -> None:
    features = filterbanks(np.random.default_rng(0).normal(size=16000) * np.linspace(0.01, 1, 16000))
    assert features.shape == (98, 23)
    assert features.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert features.std(axis=0) == pytest.approx(1, abs=1e-4)
    assert np.isfinite(filterbanks(np.zeros(1000))).all()


def test_resampling_keeps_a_tone() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert resampled(tone, 22050)[1000:-1000] == pytest.approx(expected[1000:-1000], abs=2e-3)


def test_frames_take_the_label_at_their_middle() -> None:
    middle = WINDOW // 2
    y = frame_labels([0, middle + 1, middle + HOP + 1, middle + 3 * HOP + 1], [0, 3, 3, 0], 6)
    assert y.tolist() == [[0, 0], [3, 1], [3, 2], [3, 2], [0, 3], [0, 3]]
    assert frame_labels([0, middle, middle + 1], [4, 5, 6], 2).tolist() == [[5, 0], [6, 1]]  # 4 is too short
    assert frame_labels([0, 300, 400], [0, 0, 1], 3).tolist() == [[0, 0], [0, 0], [1, 1]]  # silences that meet
    for starts in ([], [5], [0, 9, 3]):
        with pytest.raises(DataError, match="start at sample 0"):
            frame_labels(starts, [0] * len(starts), 2)


# -- networks with an output per step --------------------------------------------------------------------------


def spoken(items: int, seed: int, labels: int = 5, steps: int = 24) -> Data:
    """Items whose label can be seen in their features."""
    rng = np.random.default_rng(seed)
    code = 2 * np.eye(labels, 6)
    features, targets = [], []
    for _ in range(items):
        length = int(rng.integers(8, steps + 1))
        segment = np.repeat(np.arange(length), rng.integers(2, 5, length))[:length]
        label = np.array([0, *rng.permutation(np.tile(np.arange(1, labels), 8))])[segment]
        features.append((code[label] + 0.6 * rng.normal(size=(length, 6))).astype(np.float32))
        targets.append(np.stack([label, segment], axis=1))
    x, y = np.zeros((items, steps, 6), np.float32), np.full((items, steps, 2), -1)
    for i, (item, target) in enumerate(zip(features, targets, strict=True)):
        x[i, : len(item)], y[i, : len(item)] = item, target
    return Data(x, y, np.array([len(item) for item in features]))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(spoken(60, 0), spoken(12, 1), spoken(6, 2))


def task_of(metric: str) -> object:
    return replace(TASKS["phones"], name="tiny", metric=metric, inputs=6, outputs=5, hidden=6,
                   recipe=Recipe(epochs=8, batch=10, rate=3e-2))


@pytest.mark.parametrize("metric", ["per", "per_ctc", "per_beam"])
def test_training_learns_phones(metric: str, splits: Splits, tmp_path: Path) -> None:
    seen: list[float] = []
    trained = train(task_of(metric), splits, cache=tmp_path, progress=lambda done, total, loss: seen.append(loss))
    assert seen[-1] < 0.75 * seen[0]
    assert trained.valid < 40
    assert train(task_of(metric), splits, cache=tmp_path).valid == trained.valid


@pytest.mark.parametrize("cell", MODULES)
def test_network_is_read_with_every_cell(cell: str, splits: Splits) -> None:
    module = PerStepNetwork(6, 3, 5, cell=cell)
    data = splits.test
    lengths = torch.from_numpy(data.lengths)
    with torch.no_grad():
        whole = module.eval()(torch.from_numpy(data.x), lengths).numpy()
        alone = module(torch.from_numpy(data.x[1:2, : data.lengths[1]])).numpy()
    np.testing.assert_allclose(whole[1, : data.lengths[1]], alone[0], atol=1e-5)
    network = from_torch(module, 6)
    valid = data.y[:, :, 0] >= 0
    np.testing.assert_allclose(network(data.x, data.lengths)[valid], whole[valid], atol=1e-4)
    again = PerStepNetwork(6, 3, 5, cell=cell)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


def test_candidates_are_measured_in_portions_alike(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(task_of("per"), splits, cache=tmp_path)
    network = from_torch(trained.module, 6)
    calibration = calibrate(network, splits.train.x, splits.train.lengths)
    widths = [homogeneous_widths(network.graph, bits) for bits in (8, 4, 2)]
    found = {}
    for engine, held in (("reference", 1 << 25), ("reference", 5000), ("native", 1 << 25)):
        if ENGINES[engine].available() is None:
            monkeypatch.setattr("bittailor.evaluate.evaluator.HELD_VALUES", held)
            evaluator = Evaluator(calibration, splits.valid, "per", engine, ("loss", "size"))
            found[engine, held] = evaluator.evaluate(widths)
    first, *others = found.values()
    assert len(others) >= 1
    assert all(rows == first for rows in others)
    assert first[0]["error"] == pytest.approx(trained.valid, abs=5)
    assert first[0]["loss"] < first[-1]["loss"]
    fitted = METRICS["per_beam"].fitted(
        splits.train.targets, lambda: network(splits.valid.x, splits.valid.lengths), splits.valid.targets)
    row, = Evaluator(calibration, splits.valid, fitted, "reference", ()).evaluate(widths[:1])
    assert 0 < row["error"] <= first[0]["error"] + 5


def test_networks_that_do_not_fit_are_refused(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'tiny': metric 'per': labels run 0..4 but the network has 3 outputs"):
        train(replace(task_of("per"), outputs=3), splits, cache=tmp_path)  # type: ignore[type-var]
    with pytest.raises(DataError, match="'tiny': the network gives one output per item"):
        train(replace(task_of("per"), build=None), splits, cache=tmp_path)  # type: ignore[type-var]
    with pytest.raises(DataError, match="'tiny': the metric 'classification_error' needs one label per item"):
        train(replace(task_of("per"), metric="error"), splits, cache=tmp_path)  # type: ignore[type-var]


def test_network_of_the_paper_has_its_size() -> None:
    network = mohaq_network()
    sizes = {name: weights.numel() for name, weights in network.named_parameters() if weights.ndim == 2}
    assert sum(n for name, n in sizes.items() if "proj" in name) == 3 * 281_600
    # per direction; the first layer has a fourth matrix, which the paper's figure of 75,900 leaves out
    assert [2 * sizes[f"sru.weight_ih_l{i}"] for i in range(4)] == [101_200, 844_800, 844_800, 844_800]
    assert sizes["head.weight"] == 2_094_400
    assert mohaq_network(39).head.out_features == 39
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 23)).shape == (1, 3, 1904)


def test_too_wide_products_still_say_so() -> None:
    """Errors of single candidates keep their place among portions."""
    data = spoken(4, 3)
    network = from_torch(PerStepNetwork(6, 3, 5), 6)
    evaluator = Evaluator(calibrate(network, data.x, data.lengths), data, "per", "reference", ("size",))

    def program(widths: dict[str, int]) -> object:
        if widths["broken"]:
            raise RangeError("broken")
        return original({k: v for k, v in widths.items() if k != "broken"})

    original = evaluator.program
    evaluator.program = program  # type: ignore[method-assign, assignment]
    good = homogeneous_widths(network.graph, 8)
    rows = evaluator.attempt([good | {"broken": b} for b in (0, 1, 0)])
    assert isinstance(rows[1], RangeError)
    assert rows[0] == rows[2] != {}


def test_beam_decoding_is_searched_retrained_and_analysed(splits: Splits, tmp_path: Path) -> None:
    """The decoder is learnt once from training and validation data; every engine, process and later command has it."""
    trained = train(task_of("per_beam"), splits, cache=tmp_path)
    network = from_torch(trained.module, 6)
    settings = SearchSettings(population=6, generations=2, seed=1)
    fitted = METRICS["per_beam"].fitted(
        splits.train.targets, lambda: network(splits.valid.x, splits.valid.lengths), splits.valid.targets)
    runs = []
    for engine in [name for name in ENGINES if ENGINES[name].available() is None]:
        run = run_search(network, splits, tmp_path / engine,
                         SearchSpec(metric="per_beam", space=SpaceSettings("per_layer"), search=settings, engine=engine,
                                    workers=2))
        runs.append([(s.key, s.values, s.test) for s in run.front])
        some = run.spec.divide(splits).select
        assert run.result["float"]["select"] == fitted.value(network(some.x, some.lengths), some.targets)
        assert trained.valid == fitted.value(network(splits.valid.x, splits.valid.lengths), splits.valid.targets)
    assert all(found == runs[0] for found in runs)
    for solution in run.front:
        program = run.program(solution)
        outputs = program.read_output(ENGINES["reference"].run(
            program, program.quantise_input(splits.test.x), splits.test.lengths))
        assert fitted.value(outputs, splits.test.targets) == solution.test
    (retrained,) = retrain_picks(run, splits, ["best"], recipe=Retraining(epochs=1), workers=1)
    assert retrained.after is not None
    found = run_sensitivity(run, splits, "best")
    assert found.base["error"] == run.pick("best").values["error"]
