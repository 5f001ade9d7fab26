"""A simple synthetic room: a few early reflections and a tail of noise that dies away, after the direct sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittailor.tasks.base import need
from bittailor.tasks.speech import RATE_HZ

Samples = NDArray[np.float64]

EARLY = 6
EARLY_S = (0.002, 0.04)  # after the direct sound
TAIL_S = 0.005  # when the tail begins


@dataclass(frozen=True)
class Room:
    """What a room does to a voice.

    seconds    reverberation time: until reflections have fallen by 60 dB, more than 0
    direct_db  energy of the direct sound over that of all reflections
    seed       decides the reflections
    """

    seconds: float
    direct_db: float
    seed: int

    def response(self) -> Samples:
        """What is heard of a click at 16 kHz: 1 at once, then the reflections.

        Source  the noise model of late reverberation: J.-D. Polack (1988), as in M. Jeub et al.: A binaural room
                impulse response database for the evaluation of dereverberation algorithms. DSP 2009.
        """
        rng = np.random.default_rng([self.seed, 2])
        length = max(2, round(RATE_HZ * max(self.seconds, EARLY_S[1])))
        heard = rng.normal(size=length)
        heard[: round(RATE_HZ * TAIL_S)] = 0
        at = rng.uniform(*EARLY_S, EARLY)
        np.add.at(heard, (RATE_HZ * at).astype(np.int64) % length, 10 * rng.choice([-1.0, 1.0], EARLY))
        heard *= np.exp(-np.log(1e3) / self.seconds * np.arange(length) / RATE_HZ)
        heard *= 10 ** (-self.direct_db / 20) / np.sqrt((heard**2).sum())
        heard[0] = 1.0
        return heard

    def heard(self, sound: Samples) -> Samples:
        """The sound in this room, as long as before and longer by the tail; the direct sound stays where it was."""
        need("scipy", "tasks")
        from scipy.signal import fftconvolve

        return np.asarray(fftconvolve(sound, self.response()), np.float64)
