"""What is kept of a spectrogram: 444 numbers for each 3 s patch, from which encoders learn and relearn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from segue.core.types import Float32
from segue.sound.loudness import levelled
from segue.sound.spectrogram import BANDS, FRAMES_A_SECOND

PATCH = 187
"""Frames of a patch: 3 s, as in musicnn."""
GROUPS = 12
"""Groups of 8 neighbouring bands, of which the modulation spectrum is taken."""
RHYTHMS = 10
"""Ranges of modulation frequency, a third of a decade at most, from RHYTHM_LOW to RHYTHM_HIGH."""
RHYTHM_LOW, RHYTHM_HIGH = 0.5, 20.0
"""Hz: from two seconds a beat to the roughness of fast notes."""
STATISTICS = 3 * BANDS + GROUPS * (RHYTHMS + 3)
"""Numbers a patch: means, deviations, deviations of the differences, modulation spectrum, spectral contrast."""
STATISTICS_VERSION = 3
"""Changes with every change of the numbers: what is cached under another version is computed anew."""


def patch_statistics(spectrogram: Float32, *, level: bool = True) -> Float32:
    """(patches, STATISTICS) float32 of (frames, BANDS): a row for each 3 s, a rest of less than 3 s left out.

    The song is levelled to loudness.TARGET first, so that its mastering does not count, unless `level` is False (for
    measurements). A song shorter than a patch is repeated until it fills one.

    Columns: the BANDS means over time, the BANDS standard deviations, the BANDS standard deviations of the difference between
    neighbouring frames, log10(1 + amplitude) of the modulation of each group of bands in each range of modulation frequency,
    groups outermost; and the spectral contrast (after Jiang et al. 2002) of each group: how far its peak stands above its
    mean, its mean above its valley, and the deviation of the former.
    """
    frames = len(spectrogram)
    if frames == 0:
        raise ValueError("a spectrogram has at least one frame; got none")
    if level:
        spectrogram = levelled(spectrogram)
    if frames < PATCH:
        spectrogram = np.resize(spectrogram, (PATCH, BANDS))
    patches = len(spectrogram) // PATCH
    cube = spectrogram[: patches * PATCH].reshape(patches, PATCH, BANDS)
    means = cube.mean(axis=1)
    changes = np.diff(cube, axis=1)
    grouped = cube.reshape(patches, PATCH, GROUPS, BANDS // GROUPS)
    groups = grouped.mean(axis=3)
    peak, valley = grouped.max(axis=3) - groups, groups - grouped.min(axis=3)
    rhythm = np.abs(np.fft.rfft(groups - groups.mean(axis=1, keepdims=True), axis=1)).astype(np.float32)
    rhythm = np.log10(1 + np.einsum("pmg,mr->pgr", rhythm, _ranges()))
    contrast = (peak.mean(axis=1), valley.mean(axis=1), peak.std(axis=1))
    columns = (means, cube.std(axis=1), changes.std(axis=1), rhythm.reshape(patches, -1), *contrast)
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


@lru_cache(maxsize=1)
def _ranges() -> Float32:
    """(PATCH // 2 + 1, RHYTHMS) weights that average the modulation frequencies of each range; nearest range for each."""
    hertz = np.arange(PATCH // 2 + 1) * FRAMES_A_SECOND / PATCH
    edges = np.geomspace(RHYTHM_LOW, RHYTHM_HIGH, RHYTHMS + 1)
    member = (hertz[:, None] >= edges[:-1]) & (hertz[:, None] < edges[1:])
    return np.asarray(member / np.maximum(1, member.sum(axis=0)), np.float32)
