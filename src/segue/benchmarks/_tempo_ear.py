"""An ear that hears tempo and tonality and nothing of timbre: a judge of encoders that have learned from neither."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter1d

from segue.core.types import Float32
from segue.sound.network import cut
from segue.sound.statistics import PATCH

RANGES, LAGS = 6, 94
"""Ranges of bands whose onsets are followed apart; frames, 1.5 s, that a beat may take at most."""
HIGH, STEPS = 32, 30
"""The first band of those that lie evenly on a logarithmic scale, and how many bands apart two partials are looked for."""
_EDGES = np.unique(np.geomspace(6, LAGS, 15).astype(int))


def tempo_and_tonality(spectrogram: Float32) -> Float32:
    """(patches, numbers) of (frames, BANDS).

    Of onsets (half-wave rectified differences) the autocorrelation in each of RANGES, its peak in each of 14 spans of time
    (after Tzanetakis and Cook 2002); of the spectrum without its slope the autocorrelation along the bands, of the mean and
    on average over frames, and how far partials stand out.
    """
    cube = cut(spectrogram, PATCH)
    return np.concatenate((_tempo(cube), _tonality(cube)), axis=1).astype(np.float32)


def _tempo(cube: Float32) -> Float32:
    patches, bands = len(cube), cube.shape[2]
    onsets = np.maximum(np.diff(cube, axis=1), 0).reshape(patches, PATCH - 1, RANGES, bands // RANGES).mean(axis=3)
    onsets -= onsets.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(onsets, 2 * PATCH, axis=1)) ** 2
    again = np.fft.irfft(power, axis=1)[:, :LAGS]
    again /= again[:, :1] + 1e-3
    peaks = [again[:, start:end].max(axis=1) for start, end in pairwise(_EDGES.tolist())]
    return np.asarray(np.concatenate(peaks, axis=1), np.float32)


def _tonality(cube: Float32) -> Float32:
    high = cube[:, :, HIGH:]
    partials = high - uniform_filter1d(high, 15, axis=2)
    mean = partials.mean(axis=1)
    stand_out = (mean.std(axis=1, keepdims=True), partials.std(axis=1).mean(axis=1, keepdims=True))
    return np.asarray(np.concatenate((_apart(mean), _apart(partials).mean(axis=1), *stand_out), axis=1), np.float32)


def _apart(partials: Float32) -> Float32:
    """(..., STEPS): how alike the bands are to those 1, 2, ... bands above."""
    size = 2 * partials.shape[-1]
    again = np.fft.irfft(np.abs(np.fft.rfft(partials, size, axis=-1)) ** 2, size, axis=-1)[..., : STEPS + 1]
    return np.asarray(again[..., 1:] / (again[..., :1] + 1e-2), np.float32)
