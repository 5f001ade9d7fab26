"""Signals from masks: short-time spectra, what a mask leaves of them, and how near the result is to a clean signal.

A network that enhances speech gives a factor 0 .. 1 for every bin of every frame of a noisy spectrum. What is measured
is the signal that is put together from the masked frames, not the mask.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Targets
from bittailor.evaluate.losses import Loss, Values, decibels

if TYPE_CHECKING:
    from torch import Tensor

NOISY, RATE = "noisy", "rate"
"""Extras of the data: what a mask is applied to; and the samples of a second of each item, so that one may listen."""


@lru_cache(maxsize=4)
def window(size: int) -> NDArray[np.float64]:
    """The square root of a periodic Hann window; twice applied, halves that overlap add up to 1."""
    return np.asarray(np.sin(np.pi * np.arange(size) / size))


def spectra(signals: NDArray[Any], size: int) -> NDArray[np.complex64]:
    """[items, frames, size // 2 + 1] of signals [items, samples]: frames of `size` samples, every half of that, as many
    as fit whole."""
    frames = np.lib.stride_tricks.sliding_window_view(signals, size, axis=1)[:, :: size // 2]
    return np.asarray(np.fft.rfft(frames * window(size), axis=2), np.complex64)


def signals(spectrum: NDArray[Any]) -> NDArray[np.float64]:
    """The inverse of `spectra`: [items, samples], of all samples that two frames cover, from half a frame on."""
    size = 2 * (spectrum.shape[2] - 1)
    frames = np.fft.irfft(spectrum, axis=2) * window(size)
    return np.asarray(frames[:, :-1, size // 2 :] + frames[:, 1:, : size // 2], np.float64).reshape(len(frames), -1)


class MaskedSiSdr(Loss):
    """The negative of the scale-invariant signal-to-distortion ratio of what a mask makes of a noisy signal, mean over
    items, dB.

    outputs   the mask [items, frames, bins], of frames of 2 (bins - 1) samples that overlap by half
    targets   y the clean signals, float [items, samples]; extras["noisy"] the noisy signals' `spectra`
    Source    the ratio as in `losses.NegativeSiSdr`.
    """

    key = "masked_si_sdr"
    takes = "clean signals, float [items, samples], and `extras['noisy']`: complex spectra [items, steps, outputs]"
    per_step: ClassVar[bool | None] = True

    def of(self, outputs: Values, targets: Targets) -> float:
        return float(self.per_item(outputs, targets).mean())

    def per_item(self, outputs: Values, targets: Targets) -> NDArray[np.float64]:
        """The negative ratio of each item, float64 [items]."""
        frames, bins = outputs.shape[1:]
        made = signals(outputs * targets.extras[NOISY][:, :frames])
        counted = _counted(targets.lengths, frames, bins)
        wanted = targets.y[:, bins - 1 : bins - 1 + made.shape[1]].astype(np.float64)
        return -np.asarray(decibels(np.where(counted, made, 0), np.where(counted, wanted, 0), np))

    def train(self, outputs: Tensor, targets: Targets) -> Tensor:
        import torch

        frames, bins = outputs.shape[1:]
        half = bins - 1
        pieces = torch.fft.irfft(outputs * targets.extras[NOISY][:, :frames]) * torch.from_numpy(
            window(2 * half).astype(np.float32))
        made = (pieces[:, :-1, half:] + pieces[:, 1:, :half]).flatten(1)
        counted = torch.from_numpy(_counted(targets.lengths.numpy(), frames, bins))
        wanted = targets.y[:, half : half + made.shape[1]]
        ratio: Tensor = decibels(torch.where(counted, made, 0.0), torch.where(counted, wanted, 0.0), torch)
        return -ratio.mean()

    def fits(self, y: Values, outputs: int) -> str | None:
        if y.ndim != 2 or y.dtype.kind != "f":
            return f"it needs clean signals, float [items, samples]; the targets are {y.dtype} of shape {y.shape}"
        if y.shape[1] < 3 * (outputs - 1):
            return (f"signals of {y.shape[1]} samples are too short for a mask of {outputs} bins, whose frames have "
                    f"{2 * (outputs - 1)}: two frames at least")
        return None


def _counted(lengths: NDArray[np.int64], frames: int, bins: int) -> NDArray[np.bool_]:
    """Which samples [items, (frames - 1) (bins - 1)] lie within the items' lengths, in frames."""
    return np.asarray(np.arange((frames - 1) * (bins - 1)) < (lengths[:, None] - 1) * (bins - 1))


MASKED_SI_SDR = MaskedSiSdr()
