"""What is kept of a spectrogram: 778 numbers for each 3 s patch, from which encoders learn and relearn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft

from segue.core.types import Float32
from segue.sound.loudness import levelled
from segue.sound.spectrogram import BANDS, FRAMES_A_SECOND, band_centres, compress, expand

PATCH = 187
"""Frames of a patch: 3 s, as in musicnn."""
GROUPS = 12
"""Groups of 8 neighbouring bands, of which the modulation spectrum is taken."""
RHYTHMS = 10
"""Ranges of modulation frequency, a third of a decade at most, from RHYTHM_LOW to RHYTHM_HIGH."""
RHYTHM_LOW, RHYTHM_HIGH = 0.5, 20.0
"""Hz: from two seconds a beat to the roughness of fast notes."""
CEPSTRA = 16
"""Cepstral coefficients whose covariances are kept: the shape of a timbre's cloud, not only its middle."""
SCALES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Edges of ranges of the cepstrum, in half waves over the bands: how finely a ripple divides the spectrum."""
RIPPLES = (len(SCALES) - 1) * RHYTHMS
"""Ripples: a range of the cepstrum that swings at a range of modulation frequency."""
STATISTICS = 3 * BANDS + GROUPS * (RHYTHMS + 3) + CEPSTRA * (CEPSTRA + 1) // 2 + GROUPS * (GROUPS - 1) // 2 + GROUPS + RIPPLES
"""Numbers a patch: means, deviations, deviations of the differences, modulation spectrum, spectral contrast, covariances,
correlations, skewness, ripples."""
STATISTICS_VERSION = 5
"""Changes with every change of the numbers: what is cached under another version is computed anew. New numbers come last, so
that an encoder which learned from fewer still hears those that it knows, until the library is embedded anew."""
CHANNELS = (4_000.0, 5_000.0, 6_000.0, 7_000.0)
"""Hz: where narrower channels, through which the patches of a song are heard a second time in turn, let half the power pass."""
_SWING = np.float32(0.107)
"""Amplitude in log10, one decibel, below which a ripple is as good as none: logarithms of less would be of noise."""
_FAINT = np.float32(0.02)
"""A deviation that is as good as none, in log10: a group that rests is correlated with nothing."""


def patch_statistics(spectrogram: Float32, *, level: bool = True) -> Float32:
    """(patches + 1, STATISTICS) float32 of (frames, BANDS): a row for each 3 s, a shorter rest left out; and the channel.

    The last row is the mean over the same patches heard through narrower channels, one after another of CHANNELS: what of the
    numbers a codec or a narrow recording moves, for encoders to learn not to mind. `patches_of` leaves it out.

    The song is levelled to loudness.TARGET first, so that its mastering does not count, unless `level` is False (for
    measurements). A song shorter than a patch is repeated until it fills one.
    """
    if len(spectrogram) == 0:
        raise ValueError("a spectrogram has at least one frame; got none")
    narrow = compress(expand(spectrogram) * _channels()[np.arange(len(spectrogram)) // PATCH % len(CHANNELS)])
    rows = [_rows(levelled(each) if level else each) for each in (spectrogram, narrow)]
    return np.concatenate((rows[0], rows[1].mean(axis=0, keepdims=True)))


def patches_of(statistics: Float32) -> Float32:
    """(patches, STATISTICS) of what patch_statistics gives: the rows of the patches."""
    return statistics[:-1]


def _rows(spectrogram: Float32) -> Float32:
    """(patches, STATISTICS) of (frames, BANDS).

    Columns: the BANDS means over time, the BANDS standard deviations, the BANDS standard deviations of the difference between
    neighbouring frames, log10(1 + amplitude) of the modulation of each group of bands in each range of modulation frequency,
    groups outermost; the spectral contrast (after Jiang et al. 2002) of each group: how far its peak stands above its mean, its
    mean above its valley, and the deviation of the former; the covariances of CEPSTRA cepstral coefficients (the full Gaussian
    of Mandel and Ellis 2005), as signed roots; the correlations between groups (after Seyerlehner et al. 2010); the
    skewness of each group's changes, which is high for struck and plucked sounds; and the ripples, scales outermost.
    """
    if len(spectrogram) < PATCH:
        spectrogram = np.resize(spectrogram, (PATCH, BANDS))
    patches = len(spectrogram) // PATCH
    cube = spectrogram[: patches * PATCH].reshape(patches, PATCH, BANDS)
    changes = np.diff(cube, axis=1)
    groups = cube.reshape(patches, PATCH, GROUPS, BANDS // GROUPS).mean(axis=3)
    moving = groups - groups.mean(axis=1, keepdims=True)
    rhythm = np.abs(np.fft.rfft(moving, axis=1)).astype(np.float32)
    rhythm = np.log10(1 + np.einsum("pmg,mr->pgr", rhythm, _ranges())).reshape(patches, -1)
    cepstra = cube @ _cosines()
    cepstra -= cepstra.mean(axis=1, keepdims=True)
    columns = [
        cube.mean(axis=1),
        cube.std(axis=1),
        changes.std(axis=1),
        rhythm,
        *_contrast(cube, groups),
        _covariances(cepstra),
    ]
    moving /= moving.std(axis=1, keepdims=True) + _FAINT
    columns += [_products(moving)[0], _skewness(groups), _ripples(cepstra)]
    return np.concatenate(columns, axis=1).astype(np.float32, copy=False)


def _contrast(cube: Float32, groups: Float32) -> tuple[Float32, Float32, Float32]:
    """(patches, GROUPS) thrice: peak above mean, mean above valley, deviation of the former."""
    grouped = cube.reshape(*groups.shape, BANDS // GROUPS)
    peak, valley = grouped.max(axis=3) - groups, groups - grouped.min(axis=3)
    return peak.mean(axis=1), valley.mean(axis=1), peak.std(axis=1)


def _covariances(cepstra: Float32) -> Float32:
    """(patches, CEPSTRA (CEPSTRA + 1) / 2): signed roots of variances, then covariances, of the first cepstra."""
    both = np.concatenate(_products(cepstra[:, :, :CEPSTRA])[::-1], axis=1)
    return np.asarray(np.sign(both) * np.sqrt(np.abs(both)), np.float32)


def _ripples(cepstra: Float32) -> Float32:
    """(patches, RIPPLES): log10 of the size of spectro-temporal modulations (Chi, Ru and Shamma 2005), half a square's log.

    A vibrato, a tremolo and a melody swing alike in every band of a modulation spectrum, and differ in how finely what swings
    divides the spectrum: the power of each cepstral coefficient at each modulation frequency, averaged over ranges of both.
    """
    waves, ranges, scales = _waves()
    power = np.square(waves @ cepstra)
    sizes = 0.5 * np.log10(ranges @ power @ scales + _SWING**2)
    return np.asarray(sizes.transpose(0, 2, 1).reshape(len(cepstra), -1), np.float32)


def _products(moving: Float32) -> tuple[Float32, Float32]:
    """Of (patches, PATCH, k), means over time of products: of pairs (patches, k (k - 1) / 2), of squares (patches, k)."""
    products = np.matmul(moving.transpose(0, 2, 1), moving) / np.float32(PATCH)
    k = products.shape[1]
    above = np.triu_indices(k, 1)
    return products[:, above[0], above[1]], products[:, np.arange(k), np.arange(k)]


def _skewness(groups: Float32) -> Float32:
    """(patches, GROUPS): the third moment of the change from frame to frame, over the third power of its deviation."""
    changes = np.diff(groups, axis=1)
    return np.asarray((changes**3).mean(axis=1) / (changes.std(axis=1) + _FAINT) ** 3, np.float32)


@lru_cache(maxsize=1)
def _cosines() -> Float32:
    """(BANDS, SCALES[-1]) the orthonormal DCT-II of the bands: what makes a cepstrum of a frame."""
    return np.ascontiguousarray(fft.dct(np.eye(BANDS), axis=1, norm="ortho")[:, : SCALES[-1]], np.float32)


@lru_cache(maxsize=1)
def _waves() -> tuple[Float32, Float32, Float32]:
    """Cosines and sines of the modulation frequencies in RHYTHM_LOW to RHYTHM_HIGH (2 f, PATCH), so scaled that a swing's
    amplitude comes out; (RHYTHMS, 2 f), the mean of the two squares' sums over each range; (SCALES[-1], scales), means.
    """
    ranges = _ranges()
    used = np.flatnonzero(ranges.any(axis=1))
    angle = 2 * np.pi * used[:, None] * np.arange(PATCH) / PATCH
    waves = np.concatenate((np.cos(angle), np.sin(angle))) * (2 / PATCH)
    place = np.arange(SCALES[-1])[:, None]
    member = (place >= SCALES[:-1]) & (place < SCALES[1:])
    return waves.astype(np.float32), np.tile(ranges[used].T, 2), (member / member.sum(axis=0)).astype(np.float32)


@lru_cache(maxsize=1)
def _channels() -> Float32:
    """(channels, BANDS) the power that Butterworth low-passes of order eight let through."""
    return np.asarray(1 / (1 + (band_centres() / np.array(CHANNELS)[:, None]) ** 16), np.float32)


@lru_cache(maxsize=1)
def _ranges() -> Float32:
    """(PATCH // 2 + 1, RHYTHMS) weights that average the modulation frequencies of each range; nearest range for each."""
    hertz = np.arange(PATCH // 2 + 1) * FRAMES_A_SECOND / PATCH
    edges = np.geomspace(RHYTHM_LOW, RHYTHM_HIGH, RHYTHMS + 1)
    member = (hertz[:, None] >= edges[:-1]) & (hertz[:, None] < edges[1:])
    return np.asarray(member / np.maximum(1, member.sum(axis=0)), np.float32)
