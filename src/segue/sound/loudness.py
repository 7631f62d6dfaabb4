"""Loudness of a spectrogram and how to level it, so that mastering is not taken for music."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32
from segue.sound.spectrogram import WINDOW, band_centres, compress, expand, heights

TARGET = -23.0
"""Decibels to which songs are levelled, the reference of EBU R 128."""
_FLOOR = -70.0
_GATE = -10.0
_OFFSET = -0.691
"""The gates of BS.1770: frames below the floor, then frames this much below the mean of the others, do not count; and
the offset of its scale."""


def loudness(spectrogram: Float32) -> float:
    """Gated loudness in LUFS of a (frames, BANDS) log-mel spectrogram; -inf for silence.

    After ITU-R BS.1770-4: power weighted by the ear's response (K), mean over the frames that pass an absolute gate and one
    relative to their mean. Frames of 32 ms stand in for its blocks of 400 ms, and bands for its filters.
    """
    power = (expand(spectrogram) @ _weights()).astype(np.float64)
    loud = power[power > 10 ** ((_FLOOR - _OFFSET) / 10)]
    if len(loud) == 0:
        return float("-inf")
    gated = loud[loud >= loud.mean() * 10 ** (_GATE / 10)]
    return float(10 * np.log10(gated.mean()) + _OFFSET)


def levelled(spectrogram: Float32, target: float = TARGET) -> Float32:
    """The spectrogram as it would be of the same recording at the target loudness; silence is returned as it is."""
    level = loudness(spectrogram)
    if level == float("-inf"):
        return spectrogram
    power = expand(spectrogram)
    power *= np.float32(10 ** ((target - level) / 10))
    return compress(power)


@lru_cache(maxsize=1)
def _weights() -> Float32:
    """(BANDS,) turns mel power into K-weighted mean square.

    Triangles times half their width add up to one over the bins; the bins of a sound of mean square m, under a Hann window,
    to m * 3 / 16 * WINDOW^2.
    """
    half_widths = 1 / heights()
    return np.asarray(half_widths * _k_weighting(band_centres()) / (3 / 16 * WINDOW**2), np.float32)


def _k_weighting(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power response of BS.1770's filters, as analogue prototypes (De Man 2014): a high-pass and a shelf of 4 dB."""
    x = hertz / 38.13547
    high_pass = x**4 / ((1 - x**2) ** 2 + (x / 0.50033) ** 2)
    gain, q, s = 10 ** (3.99984 / 20), 0.70718, 1j * hertz / 1_681.974
    shelf = np.abs((gain * s**2 + np.sqrt(gain) / q * s + 1) / (s**2 + s / q + 1)) ** 2
    return np.asarray(high_pass * shelf, np.float64)
