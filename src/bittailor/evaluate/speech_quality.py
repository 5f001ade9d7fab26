"""How speech sounds, by two measures of the field beside SI-SDR: PESQ (ITU-T P.862) and STOI (Taal et al. 2011).

Both compare a signal with the clean one as an ear does, and take tens of milliseconds a signal: they are reported for
what was chosen, and never searched by. They come from the libraries `pesq` and `pystoi`, an extra.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PESQ_MODES = {8_000: "nb", 16_000: "wb"}
"""Samples of a second -> PESQ's mode. The standard knows no other rates, and signals of others are not resampled."""
SHORTEST_S = 0.5
"""Shorter signals have no STOI, which looks at 0.4 s at a time, and a PESQ that says little."""
MEASURES = ("PESQ", "STOI")
EXTRA = "PESQ and STOI are not measured: their libraries are missing (pip install 'bittailor[enhance]')"


def installed() -> bool:
    """Whether both libraries are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("pesq", "pystoi"))


def speech_quality(
    clean: NDArray[np.floating], heard: NDArray[np.floating], rates: Sequence[int]
) -> dict[str, float | None]:
    """Mean PESQ (1 to 4.64 in wide band, 16 kHz; narrow band at 8 kHz) and mean STOI (0 to 1) over items.

    clean, heard  [items, samples]
    rates         samples of a second, of each item; PESQ is of those with 8,000 or 16,000, STOI of all
    Returns None for a measure that no item has: neither is defined in short signals, or where nobody speaks.
    Raises ImportError where the libraries are missing: ask `installed`.
    """
    import pesq
    from pystoi import stoi

    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for reference, signal, rate in zip(clean, heard, map(int, rates), strict=True):
        if len(reference) < SHORTEST_S * rate or not (reference.any() and signal.any()):
            continue
        if mode := PESQ_MODES.get(rate):
            value = pesq.pesq(rate, reference, signal, mode, pesq.PesqError.RETURN_VALUES)
            found["PESQ"] += [float(value)] if value > 0 else []  # -1: no utterance was found
        with warnings.catch_warnings(record=True) as said:  # of signals too short to be judged
            warnings.simplefilter("always")
            value = float(stoi(reference, signal, rate))
        found["STOI"] += [value] if not said and math.isfinite(value) else []
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}
