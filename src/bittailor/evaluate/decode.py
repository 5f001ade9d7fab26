"""From outputs per step to transcripts: greedy and beam decoding, edit distance, losses of whole sequences.

Everywhere: outputs float [items, steps, labels], before the softmax; labels as in `Data.y`, int64 [items, steps, 2]
= (label, segment), -1 beyond an item's end; label 0 is silence, or the blank of CTC, and stands in no transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.errors import BittailorError

Floats = NDArray[np.floating[Any]]

FIRST = 0xE000
"""The character of label 0: transcripts are text to the edit distance, and what lies above is no surrogate."""
BEAM = 8
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
PENALTIES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
PRIORS = (0.0, 0.25, 0.5, 0.75, 1.0)
ROUNDS = 3


def per_step(labels: Any) -> Any:
    """The label of each step [items, steps], of targets [items, steps] or [items, steps, 2]; NumPy or torch."""
    return labels[:, :, 0] if labels.ndim == 3 else labels


def transcripts(labels: NDArray[np.int64]) -> list[str]:
    """What was said, a character a phone: the labels of the segments in their order, without silence."""
    new = np.diff(labels[:, :, 1], axis=1, prepend=-1) == 1
    return _texts(labels[:, :, 0], new)


def collapsed(path: NDArray[np.signedinteger[Any]]) -> list[str]:
    """Transcripts of a label for each step [items, steps] (negative: none): runs of one label count once."""
    return _texts(path, np.diff(path, axis=1, prepend=-1) != 0)


def _texts(values: NDArray[np.signedinteger[Any]], new: NDArray[np.bool_]) -> list[str]:
    kept = new & (values > 0)
    text = (values[kept] + FIRST).astype("<u4").tobytes().decode("utf-32-le")
    ends = np.cumsum(kept.sum(axis=1)).tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def greedy(outputs: Floats, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label of the largest output at each step, -1 beyond the end; the first of equal ones, in every engine."""
    valid = per_step(labels) >= 0
    path = np.full(valid.shape, -1)
    path[valid] = outputs[valid].argmax(axis=1)
    return path


def steady(path: NDArray[np.int64]) -> NDArray[np.int64]:
    """The path without runs of a single step: such a step takes the label of the last longer run before it, or silence.

    At the border of two phones the largest output often is a third one's, for a step. Phones of 10 ms hardly exist
    (0.3 % of those of the task `phones`; a hidden Markov model of the usual three states has none).
    """
    new = np.diff(path, axis=1, prepend=-2) != 0
    single = new & np.append(new[:, 1:], np.ones((len(path), 1), bool), axis=1) & (path >= 0)
    source = np.maximum.accumulate(np.where(single, 0, np.arange(path.shape[1])), axis=1)
    first = np.where(single[:, :1], 0, path[:, :1])
    return np.take_along_axis(np.append(first, path[:, 1:], axis=1), source, axis=1)


def distances(said: Sequence[str], meant: Sequence[str]) -> NDArray[np.int64]:
    """Levenshtein distance of each pair: the fewest phones to insert, to delete and to replace."""
    try:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cpdist
    except ImportError:
        raise BittailorError("a phone error rate needs rapidfuzz, which is not installed; "
                             "pip install 'bittailor[speech]'") from None
    return np.asarray(cpdist(said, meant, scorer=Levenshtein.distance, dtype=np.int64), np.int64)


def phones(labels: NDArray[np.int64]) -> int:
    """How many phones the transcripts hold."""
    first = np.diff(labels[:, :, 1], axis=1, prepend=-1) == 1
    return int((first & (labels[:, :, 0] > 0)).sum())


def frames(labels: NDArray[np.int64]) -> int:
    """How many steps have a label."""
    return int((per_step(labels) >= 0).sum())


def error_rate(path: NDArray[np.signedinteger[Any]], labels: NDArray[np.int64]) -> float:
    """Edit distances over phones that were said, all items together, in %."""
    return 100.0 * float(distances(collapsed(path), transcripts(labels)).sum()) / max(1, phones(labels))


def greedy_error_rate(outputs: Floats, labels: NDArray[np.int64]) -> float:
    """Phone error rate of the largest output at each step, in %; what lasts a single step is no phone."""
    return error_rate(steady(greedy(outputs, labels)), labels)


def ctc_error_rate(outputs: Floats, labels: NDArray[np.int64]) -> float:
    """Phone error rate of the largest output at each step, in %, where phones are peaks between blanks."""
    return error_rate(greedy(outputs, labels), labels)


def frame_cross_entropy(outputs: Floats, labels: NDArray[np.int64]) -> float:
    """Mean over all steps with a label of -ln P(label), nat."""
    wanted = per_step(labels)
    valid = wanted >= 0
    return -float(np.take_along_axis(_log_softmax(outputs[valid]), wanted[valid][:, None], axis=1).mean())


def frame_cross_entropies(outputs: Floats, labels: NDArray[np.int64]) -> Floats:
    """-ln P(label) summed over the steps of each item with a label, nat: float64 [items]."""
    wanted = per_step(labels)
    chosen = np.take_along_axis(_log_softmax(outputs), np.maximum(wanted, 0)[:, :, None], axis=2)[:, :, 0]
    return np.asarray(-np.where(wanted >= 0, chosen, 0.0).sum(axis=1))


def ctc(outputs: Floats, labels: NDArray[np.int64]) -> float:
    """-ln of the probability of the transcripts, summed over all paths and items, by phone: nat. Label 0 is blank.

    Infinite where a transcript has no path: it is longer than its item.
    Source  A. Graves, S. Fernández, F. Gomez, J. Schmidhuber: Connectionist Temporal Classification (2006), eq. 5-8.
    """
    said = [[ord(c) - FIRST for c in text] for text in transcripts(labels)]
    lengths = (labels[:, :, 0] >= 0).sum(axis=1)
    count = np.array([len(text) for text in said])
    states = np.zeros((len(said), 2 * int(count.max(initial=0)) + 1), np.int64)
    for row, text in zip(states, said, strict=True):
        row[1 : 2 * len(text) : 2] = text
    skip = np.zeros(states.shape, bool)  # from the phone before over the blank between, unless they are equal
    skip[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    steps = np.take_along_axis(_log_softmax(outputs), states[:, None, :], axis=2)
    alpha = np.full(states.shape, -np.inf)
    alpha[:, :2] = steps[:, 0, :2]
    for t in range(1, int(lengths.max())):
        more = lengths > t
        now = alpha[more]
        one, two = np.full(now.shape, -np.inf), np.full(now.shape, -np.inf)
        one[:, 1:], two[:, 2:] = now[:, :-1], now[:, :-2]
        two[~skip[more]] = -np.inf
        alpha[more] = np.logaddexp(np.logaddexp(now, one), two) + steps[more, t]
    item = np.arange(len(said))
    last = np.where(count > 0, alpha[item, 2 * count - 1], -np.inf)
    return -float(np.logaddexp(alpha[item, 2 * count], last).sum()) / max(1, int(count.sum()))


def _log_softmax(outputs: Floats) -> Floats:
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


@dataclass(frozen=True, eq=False)
class Bigram:
    """Which label follows which, estimated on labelled data; silence is a label like the others here.

    first   ln P(label) of an item's first segment [labels]
    follow  ln P(label | label before) [before, label]; -inf for a label after itself
    share   ln of the share of steps that have a label [labels]
    """

    first: Floats
    follow: Floats
    share: Floats

    @classmethod
    def of(cls, labels: NDArray[np.int64], count: int) -> Bigram:
        """Estimated from `labels` with `count` different ones, unseen pairs after Witten and Bell (1991)."""
        new = np.diff(labels[:, :, 1], axis=1, prepend=-1) == 1
        steps = np.bincount(labels[:, :, 0][labels[:, :, 0] >= 0], minlength=count) + 1.0
        single = np.bincount(labels[:, :, 0][new], minlength=count) + 1.0
        single /= single.sum()
        pairs = np.zeros((count, count))
        for before, after in _pairs(labels[:, :, 0], new):
            np.add.at(pairs, (before, after), 1)
        np.fill_diagonal(pairs, 0)  # a path cannot show it
        kinds = np.maximum(1, (pairs > 0).sum(axis=1, keepdims=True))
        follow = (pairs + kinds * single) / (pairs.sum(axis=1, keepdims=True) + kinds)
        np.fill_diagonal(follow, 0)
        begin = np.bincount(labels[:, 0, 0], minlength=count) + count * single
        with np.errstate(divide="ignore"):
            return cls(np.log(begin / begin.sum()), np.log(follow / follow.sum(axis=1, keepdims=True)),
                       np.log(steps / steps.sum()))


def _pairs(values: NDArray[np.int64], new: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for row, begins in zip(values, new, strict=True):
        text = row[begins]
        yield text[:-1], text[1:]


@dataclass(frozen=True, eq=False)
class Decoder:
    """The best path through steps under outputs and a phone bigram: Viterbi search with a beam.

    A step scores ln P(label | input) - prior ln P(label); a new segment, weight ln P(label | label before) - penalty;
    staying in one costs nothing.

    weight   of the bigram
    penalty  for each new segment; against insertions where positive
    prior    how much of the labels' own frequency is taken back out of the outputs, 0..1
    beam     a new segment begins from one of so many best labels of the step before; as many as there are labels,
             or more, make the search exact
    """

    bigram: Bigram
    weight: float = 1.0
    penalty: float = 0.0
    prior: float = 0.0
    beam: int = BEAM

    def __call__(self, outputs: Floats, labels: NDArray[np.int64]) -> float:
        """Phone error rate of the best paths, in %."""
        return error_rate(self.path(outputs, (labels[:, :, 0] >= 0).sum(axis=1)), labels)

    def path(self, outputs: Floats, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The best label for each step [items, steps], -1 beyond the end."""
        order = np.argsort(-lengths, kind="stable")  # so that the items still running are the first ones
        running = (lengths[:, None] > np.arange(outputs.shape[1])).sum(axis=0)
        steps = (_log_softmax(outputs[order]) - self.prior * self.bigram.share).astype(np.float32)
        items, most, count = outputs.shape
        change = (self.weight * np.where(np.eye(count) > 0, 0, self.bigram.follow) - self.penalty).astype(np.float32)
        np.fill_diagonal(change, -np.inf)
        best = steps[:, 0] + (self.weight * self.bigram.first).astype(np.float32)
        came = np.tile(np.arange(count, dtype=np.int16), (most, items, 1))
        for t in range(1, int(lengths.max())):
            n = int(running[t])
            now = best[:n]
            if self.beam < count:
                kept = np.argpartition(-now, self.beam - 1, axis=1)[:, : self.beam]
                kept.sort(axis=1)  # so that of equal ones the first is taken, whatever the beam
                arriving = np.take_along_axis(now, kept, axis=1)[:, :, None] + change[kept]
                source = np.take_along_axis(kept, arriving.argmax(axis=1), axis=1)
            else:
                arriving = now[:, :, None] + change
                source = arriving.argmax(axis=1)
            coming = arriving.max(axis=1)
            moves = coming > now
            came[t, :n][moves] = source[moves]
            best[:n] = np.where(moves, coming, now) + steps[:n, t]
        paths = np.full((items, most), -1)
        label = best.argmax(axis=1)
        for t in range(int(lengths.max()) - 1, -1, -1):
            n = int(running[t])
            paths[:n, t] = label[:n]
            label[:n] = came[t, np.arange(n), label[:n]]
        found = np.empty_like(paths)
        found[order] = paths
        return found


def fit_decoder(train: NDArray[np.int64], outputs: Floats, labels: NDArray[np.int64]) -> Decoder:
    """A decoder: the bigram of the training labels; weight, penalty and prior by the least phone error rate of
    `outputs` on `labels` (validation data, the float network), one after the other until none gets better."""
    decoder = Decoder(Bigram.of(train, outputs.shape[2]))
    least = decoder(outputs, labels)
    changes: tuple[tuple[tuple[float, ...], Callable[[Decoder, float], Decoder]], ...] = (
        (PRIORS, lambda d, value: replace(d, prior=value)),
        (WEIGHTS, lambda d, value: replace(d, weight=value)),
        (PENALTIES, lambda d, value: replace(d, penalty=value)),
    )
    for _ in range(ROUNDS):
        before = least
        for values, changed in changes:
            for value in values:
                trial = changed(decoder, value)
                error = trial(outputs, labels)
                if error < least:
                    decoder, least = trial, error
        if least == before:
            break
    return decoder
