"""Transcripts, edit distances, decoding and losses of sequences, against what can be counted by hand or by torch."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from bittailor.common.data import Data, Targets
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate import decode, losses
from bittailor.evaluate.decode import FIRST, Bigram, Decoder, fit_decoder
from bittailor.evaluate.metrics import METRICS
from bittailor.train.floats import tensors


def labelled(*items: str, steps: int = 0) -> np.ndarray:
    """`Data.y` of items like "--aab": a label a step, `-` silence; a `|` begins a new segment of the same label."""
    steps = steps or max(len(item.replace("|", "")) for item in items)
    y = np.full((len(items), steps, 2), -1)
    for row, item in zip(y, items, strict=True):
        step, segment, last = 0, 0, item[0]
        for c in item:
            if c == "|" or (c != last and last != "|"):
                segment += 1
            if c != "|":
                row[step] = "-abcdefgh".index(c), segment
                step += 1
            last = c
    return y


def targets(y: np.ndarray) -> Targets:
    """Labels per step as metrics take them."""
    return Targets(y, (y[:, :, 0] >= 0).sum(axis=1))


def text(value: str) -> str:
    return "".join("-abcdefgh"[ord(c) - FIRST] for c in value)


def sure(*paths: str, labels: int = 4, steps: int = 0) -> np.ndarray:
    """Outputs whose largest value follows a path."""
    steps = steps or max(map(len, paths))
    outputs = np.zeros((len(paths), steps, labels))
    for row, path in zip(outputs, paths, strict=True):
        row[np.arange(len(path)), ["-abcdefgh".index(c) for c in path]] = 5
    return outputs


def random_outputs(seed: int, items: int = 4, steps: int = 9, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Random outputs and labels of different lengths."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(items):
        length = rng.integers(2, steps + 1)
        row = "".join(rng.choice(list("-abc"[:labels])) * int(rng.integers(1, 4)) for _ in range(length))
        rows.append(row[:length])
    return rng.normal(size=(items, steps, labels)), labelled(*rows, steps=steps)


def test_transcripts_leave_silence_out_and_tell_equal_phones_apart() -> None:
    y = labelled("--aab-", "aa|a-b", "---", "a-a")
    assert [text(t) for t in decode.transcripts(y)] == ["ab", "aab", "", "aa"]
    assert decode.phones(y) == 7
    assert decode.frames(y) == 6 + 5 + 3 + 3


def test_collapsed_paths() -> None:
    path = np.array([[0, 1, 1, 0, 1, 2], [2, 2, 2, -1, -1, -1]])
    assert [text(t) for t in decode.collapsed(path)] == ["aab", "b"]


@pytest.mark.parametrize(("path", "error"), [
    ("-aabb-c", 0.0), ("-aabb--", 100 / 3), ("aaabbac", 100 / 3), ("-accb-c", 100 / 3), ("-------", 100.0),
    ("abcabca", 400 / 3),
])
def test_error_rate_counts_edits_over_the_reference(path: str, error: float) -> None:
    assert METRICS["per_ctc"].value(sure(path), targets(labelled("-aabb-c"))) == pytest.approx(error)


@pytest.mark.parametrize(("path", "taken"), [
    ("aabaa", "aaaaa"), ("aabcc", "aaacc"), ("aabcdd", "aaaadd"), ("baa-a", "-aaaa"), ("bcaa", "--aa"), ("aab", "aaa"),
    ("aabb", "aabb"), ("a", "-"), ("--a--", "-----"),
])
def test_what_lasts_a_single_step_is_no_phone(path: str, taken: str) -> None:
    other = "bbaacca"  # an item beside it, longer or shorter
    paths = labelled(path, other)[:, :, 0]
    found = decode.steady(paths)
    assert ["-abcd"[label] for label in found[0][: len(path)]] == list(taken)
    assert (found[paths < 0] == -1).all()
    assert ["-abcd"[label] for label in found[1][: len(other)]] == list("bbaaccc")
    assert METRICS["per"].value(sure(path, other, labels=5), targets(labelled(taken, "bbaaccc"))) == 0


def test_error_rate_is_of_all_items_together() -> None:
    y, outputs = labelled("aabbcc", "cc"), sure("aabbcc", "bb")
    assert METRICS["per"].value(outputs, targets(y)) == pytest.approx(25)
    assert METRICS["per"].amount(targets(y)) == 4


def test_distances_are_those_of_levenshtein() -> None:
    def plain(a: str, b: str) -> int:
        row = list(range(len(b) + 1))
        for i, c in enumerate(a, 1):
            row, last = [i], row
            for j, d in enumerate(b, 1):
                row.append(min(row[-1] + 1, last[j] + 1, last[j - 1] + (c != d)))
        return row[-1]

    rng = np.random.default_rng(3)
    words = ["".join(chr(FIRST + c) for c in rng.integers(0, 5, n)) for n in rng.integers(0, 30, 80)]
    assert decode.distances(words[:40], words[40:]).tolist() == [
        plain(a, b) for a, b in zip(words[:40], words[40:], strict=True)]


def test_outputs_beyond_the_end_mean_nothing() -> None:
    outputs, y = random_outputs(1)
    other = np.where((y[:, :, :1] < 0), 99.0, outputs)
    for name in ("per", "per_ctc"):
        metric, wanted = METRICS[name], targets(y)
        assert metric.value(outputs, wanted) == metric.value(other, wanted)
        assert metric.loss_for(wanted).of(outputs, wanted) == metric.loss_for(wanted).of(other, wanted)
    decoder = Decoder(Bigram.of(y, 4))
    lengths = (y[:, :, 0] >= 0).sum(axis=1)
    assert (decoder.path(outputs, lengths) == decoder.path(other, lengths)).all()


@pytest.mark.parametrize("name", ["per", "per_ctc"])
def test_amounts_make_sums_of_the_means(name: str) -> None:
    """What racing relies on."""
    outputs, y = random_outputs(2, items=6)
    metric, y = METRICS[name], targets(y)
    loss = metric.loss_for(y)
    for of, amount in ((metric.value, metric.amount), (loss.of, loss.amount)):
        parts = [of(outputs[i], y[i]) * amount(y[i]) for i in (slice(0, 2), slice(2, 6))]
        assert of(outputs, y) * amount(y) == pytest.approx(sum(parts))


@pytest.mark.parametrize("name", ["per", "per_ctc", "classification_error", "mse", "mse per step", "si_sdr",
                                  "frame_error", "binary_error", "binary_error per step"])
def test_losses_of_search_and_training_agree(name: str) -> None:
    outputs, y = random_outputs(4, items=5, steps=12)
    lengths = (y[:, :, 0] >= 0).sum(axis=1)
    if name == "classification_error":
        outputs, y = outputs[:, 0], y[:, 0, 0]
    if name in ("mse", "mse per step", "si_sdr"):
        outputs = outputs[:, 0] if name == "mse" else outputs
        y = np.roll(outputs, 1).astype(np.float32)
    if name == "frame_error":
        y = y[:, :, 0]
    if name.startswith("binary_error"):
        outputs = 1 / (1 + np.exp(-(outputs[..., :1] if "step" in name else outputs[:, 0, :1])))
        y = np.minimum(y[:, :, 0], 1) if "step" in name else np.maximum(np.minimum(y[:, 0, 0], 1), 0)
    wanted = Targets(y, lengths)
    loss = METRICS[name.split()[0]].loss_for(wanted)
    ours = loss.of(outputs, wanted)
    theirs = loss.train(torch.from_numpy(outputs), tensors(wanted))
    assert np.isfinite(ours)
    assert float(theirs) == pytest.approx(ours)


def test_training_losses_take_fewer_steps_than_labels() -> None:
    outputs, y = random_outputs(5, steps=7)
    longest = int((y[:, :, 0] >= 0).sum(axis=1).max())
    of = losses.FRAME_CROSS_ENTROPY.train
    whole = of(torch.from_numpy(outputs), tensors(targets(y)))
    assert float(of(torch.from_numpy(outputs[:, :longest]), tensors(targets(y)))) == pytest.approx(float(whole))


def test_ctc_sums_over_paths() -> None:
    outputs, y = np.random.default_rng(0).normal(size=(1, 4, 3)), labelled("aa|a-")
    logs = outputs[0] - np.log(np.exp(outputs[0]).sum(axis=1, keepdims=True))
    total = sum(np.exp(sum(logs[t, c] for t, c in enumerate(path)))
                for path in itertools.product(range(3), repeat=4)
                if text(decode.collapsed(np.array([path]))[0]) == "aa")
    assert decode.ctc(outputs, y) == pytest.approx(-np.log(total) / 2)


def test_ctc_of_a_transcript_that_cannot_fit_is_infinite() -> None:
    assert decode.ctc(np.zeros((1, 2, 3)), labelled("a|a")) == np.inf


def score(decoder: Decoder, outputs: np.ndarray, path: tuple[int, ...]) -> float:
    logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True)) - decoder.prior * decoder.bigram.share
    total = decoder.weight * decoder.bigram.first[path[0]] + logs[0, path[0]]
    for t in range(1, len(path)):
        total += logs[t, path[t]]
        if path[t] != path[t - 1]:
            total += decoder.weight * decoder.bigram.follow[path[t - 1], path[t]] - decoder.penalty
    return float(total)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beam", [4, 9])
def test_wide_beam_finds_the_best_path(seed: int, beam: int) -> None:
    outputs, y = random_outputs(seed, items=3, steps=5)
    decoder = Decoder(Bigram.of(y, 4), weight=1.5, penalty=0.3, prior=0.5, beam=beam)
    lengths = (y[:, :, 0] >= 0).sum(axis=1)
    found = decoder.path(outputs, lengths)
    for item, length in enumerate(lengths):
        best = max(score(decoder, outputs[item], path) for path in itertools.product(range(4), repeat=int(length)))
        assert score(decoder, outputs[item], tuple(found[item, :length])) == pytest.approx(best, abs=1e-4)
        assert (found[item, length:] == -1).all()


def test_narrow_beam_is_no_better_than_a_wide_one() -> None:
    outputs, y = random_outputs(7, items=6, steps=20)
    lengths = (y[:, :, 0] >= 0).sum(axis=1)
    wide = Decoder(Bigram.of(y, 4), weight=3, penalty=0.5, beam=4)
    for beam in (1, 2, 3):
        for item, length in enumerate(lengths):
            paths = [replace(wide, beam=b).path(outputs, lengths)[item, :length] for b in (beam, 4)]
            low, high = (score(wide, outputs[item], tuple(path)) for path in paths)
            assert low <= high + 1e-4


def test_bigram_counts_what_follows_what() -> None:
    bigram = Bigram.of(labelled("-ab-", "-ab", "-ac"), 4)
    assert np.exp(bigram.follow).sum(axis=1) == pytest.approx(1)
    assert np.exp(bigram.first).sum() == pytest.approx(1)
    assert np.isneginf(np.diag(bigram.follow)).all()
    assert bigram.follow[0, 1] == bigram.follow[0].max()
    assert bigram.follow[1, 2] > bigram.follow[1, 3] > bigram.follow[1, 0]
    assert bigram.first.argmax() == 0


def test_fitting_helps_where_order_tells() -> None:
    """Outputs that do not know b from c, in data where a is always followed by b."""
    y = labelled(*["-aabb-aabb-"] * 5)
    outputs = sure(*["-aacc-aabb-"] * 5)
    outputs[:, [3, 4], 2] = 4.9
    metric, wanted = METRICS["per_beam"], targets(y)
    assert METRICS["per"].value(outputs, wanted) == pytest.approx(25)
    fitted = metric.fitted(wanted, lambda: outputs, wanted)
    assert fitted.value(outputs, wanted) == 0
    assert fitted.fitted(wanted, lambda: pytest.fail("fitted once"), wanted) is fitted
    with pytest.raises(BittailorError, match="learns a bigram"):
        metric.value(outputs, wanted)


def test_fitting_never_loses_to_the_first_try() -> None:
    outputs, y = random_outputs(11, items=8, steps=15)
    decoder = fit_decoder(y, outputs, y)
    assert decoder(outputs, y) <= Decoder(Bigram.of(y, 4))(outputs, y)


@pytest.mark.parametrize(("change", "said"), [
    (lambda y: y[:, :, :1], "targets|y"),
    (lambda y: np.where(y < 0, 0, y), "-1 beyond"),
    (lambda y: np.where(y > 0, y * np.array([1, 2]), y), "grow by 0 or 1"),
    (lambda y: y + np.array([0, 1]) * (y >= 0), "begin at 0"),
    (lambda y: np.where(y > 0, y * np.array([1, 0]), y), "two labels in one segment"),
])
def test_labels_that_are_not_of_steps_are_refused(change: object, said: str) -> None:
    y = labelled("-aab", "a")
    x, lengths = np.zeros((2, 4, 3)), np.array([4, 1])
    assert Data(x, y, lengths).y.dtype == np.int64
    changed = change(y)  # type: ignore[operator]
    if changed.shape[2] == 1:
        assert "label and a segment" in str(losses.PHONE_CROSS_ENTROPY.fits(Data(x, changed, lengths).y, 3))
        return
    with pytest.raises(DataError, match=said):
        Data(x, changed, lengths)


def test_metrics_say_what_they_take() -> None:
    y = targets(labelled("-aab"))
    METRICS["per"].check(y, 3, True)
    with pytest.raises(DataError, match=r"labels run 0\.\.2 but the network has 2 outputs"):
        METRICS["per"].check(y, 2, True)
    with pytest.raises(DataError, match="one output per item; the metric 'per' needs one per step"):
        METRICS["per"].check(y, 3, False)
    with pytest.raises(DataError, match="one output per step; the metric 'accuracy' needs one per item"):
        METRICS["accuracy"].check(Targets(np.zeros(3, int), np.ones(3, int)), 3, True)
    with pytest.raises(DataError, match="leave out the last step"):
        METRICS["accuracy"].check(y, 3, False)


def test_groups_stay_together(tmp_path: object) -> None:
    data = Data(np.zeros((4, 1, 1)), np.arange(4), groups=np.array([3, 3, 5, 5]))
    assert data[1:3].groups.tolist() == [3, 5]
    assert data.fingerprint == Data(data.x, data.y).fingerprint
    with pytest.raises(DataError, match="one an item"):
        Data(np.zeros((4, 1, 1)), np.arange(4), groups=np.array([3, 3]))
