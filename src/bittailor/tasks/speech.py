"""Speech for tasks with an output per step: filterbank features, phone labels per frame, utterances side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.data import Data
from bittailor.errors import DataError
from bittailor.tasks.base import need

if TYPE_CHECKING:
    from torch import nn

RATE_HZ = 16_000
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms
FFT = 512
BANDS = 23
LOWEST_HZ, HIGHEST_HZ = 20.0, 8000.0
PRE_EMPHASIS = 0.97
FLOOR = 1e-10  # added to a band's energy (full scale = 1) before the logarithm: below the step of 16-bit samples


def resampled(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Samples at 16 kHz of samples at `rate` Hz."""
    if rate == RATE_HZ:
        return samples
    need("scipy", "tasks")
    from scipy.signal import resample_poly

    common = gcd(rate, RATE_HZ)
    return np.asarray(resample_poly(samples, RATE_HZ // common, rate // common), np.float64)


def filterbanks(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    """Natural logarithms of mel band energies [frames, 23], each band of mean 0 and deviation 1 over the utterance.

    samples   16 kHz, -1..1; frames of 25 ms every 10 ms, as many as fit whole (one at least: zeros fill a short one)
    Pre-emphasis, Hamming windows, power spectrum, triangular bands of equal width in mel from 20 Hz to 8 kHz; no
    deltas. These are the inputs of P2's recogniser, which normalises by speaker; one utterance needs no other here.
    Source  mel = 1127 ln(1 + f / 700): S. Young et al., The HTK Book.
    """
    emphasised = np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1])
    padded = np.append(emphasised, np.zeros(max(0, WINDOW - len(emphasised))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.fft.rfft(windows * np.hamming(WINDOW), FFT)
    energies = np.log((spectrum.real**2 + spectrum.imag**2) @ mel_filters().T / WINDOW + FLOOR)
    centred = energies - energies.mean(axis=0)
    return np.asarray(centred / np.maximum(centred.std(axis=0), 1e-3), np.float32)


@lru_cache(maxsize=1)
def mel_filters() -> NDArray[np.float64]:
    """Weights [bands, FFT // 2 + 1] of the triangular bands over the bins of the power spectrum."""
    lowest, highest = (1127 * np.log(1 + hertz / 700) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    corners = np.linspace(lowest, highest, BANDS + 2)
    bins = 1127 * np.log(1 + np.arange(FFT // 2 + 1) * RATE_HZ / FFT / 700)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    weights: NDArray[np.float64] = np.clip(
        np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)), 0, None)
    return weights


def frame_labels(starts: ArrayLike, labels: ArrayLike, frames: int) -> NDArray[np.int64]:
    """`Data.y` of one utterance, [frames, 2]: the label and the number of the segment at the middle of each frame.

    starts  first sample of each segment at 16 kHz, ascending, the first at 0
    labels  of the segments, 0 for silence; silences that meet count as one
    A segment too short to hold the middle of any frame is not in the labels, nor in the transcript made of them.
    """
    at = np.asarray(starts)
    if not len(at) or at[0] != 0 or (np.diff(at) < 0).any():
        raise DataError("segments must start at sample 0 and ascend")
    middles = HOP * np.arange(frames) + WINDOW // 2
    segment = np.searchsorted(at, middles, side="right") - 1
    label = np.asarray(labels, np.int64)[segment]
    new = (np.diff(segment) > 0) & ((label[1:] != 0) | (label[:-1] != 0))
    return np.stack([label, np.append(0, np.cumsum(new))], axis=1)


def side_by_side(
    features: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.int64]], groups: ArrayLike = (), steps: int = 0
) -> Data:
    """Utterances of different lengths as `Data`, filled up with zeros and labels -1.

    features, labels  [frames, BANDS] and [frames, 2] of each utterance
    groups            a number for each utterance's speaker; speakers are not split between training and validation
    steps             how many steps the data shall have; those of the longest utterance at least
    """
    lengths = np.array([len(item) for item in features])
    steps = max(steps, int(lengths.max()))
    x = np.zeros((len(features), steps, BANDS), np.float32)
    y = np.full((len(features), steps, 2), -1, np.int64)
    for i, (item, label) in enumerate(zip(features, labels, strict=True)):
        x[i, : len(item)] = item
        y[i, : len(label)] = label
    return Data(x, y, lengths, np.asarray(groups, np.int64))


def network(inputs: int, hidden: int, outputs: int, seed: int, cell: str) -> nn.Module:
    """The untrained float network of a speech task: two layers in both directions and a linear layer at each step; of
    SRU, four layers with projections, in the proportions of P2's."""
    from bittailor.tasks.per_step import PerStepNetwork, mohaq_network

    if cell == "sru":
        return mohaq_network(outputs, seed, inputs=inputs, hidden=hidden)
    return PerStepNetwork(inputs, hidden, outputs, seed, cell)
