"""The log-mel spectrogram that every encoder reads: 16 kHz mono, 96 Slaney bands, 62.5 frames a second."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from segue.core.types import Float32

RATE = 16_000
"""Samples a second."""
WINDOW = 512
HOP = 256
BANDS = 96
FRAMES_A_SECOND = RATE / HOP
COMPRESSION = 1e4
"""log10(COMPRESSION * power + 1), as musicnn has it (Pons and Serra 2019)."""

_BLOCK = 256
"""Frames a block: 1.3 MiB of windows, spectra and powers, which stays in the cache (twice as fast as 512)."""


def log_mel(samples: Float32) -> Float32:
    """(frames, BANDS) float32 of mono samples in [-1, 1] at RATE: log10(1e4 * mel power + 1), frames = 1 + n // HOP.

    Agrees with librosa 0.11's feature.melspectrogram(sr=16000, n_fft=512, hop_length=256, n_mels=96): periodic Hann window,
    frames centred on multiples of HOP with zeros beyond both ends, triangles on the Slaney scale with unit area.
    Beyond a copy of the input and the output it needs 2 MiB.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples are mono, (n,); got shape {samples.shape}")
    padded = np.zeros(len(samples) + WINDOW, np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    out = np.empty((len(frames), BANDS), np.float32)
    window, triangles = _hann(), mel_filters()
    for start in range(0, len(frames), _BLOCK):
        spectrum = fft.rfft(frames[start : start + _BLOCK] * window, axis=1)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        np.matmul(power, triangles, out=out[start : start + _BLOCK])
    return compress(out)


def compress(power: Float32) -> Float32:
    """log10(COMPRESSION * power + 1), in place; exact for small powers too."""
    power *= np.float32(COMPRESSION)
    np.log1p(power, out=power)
    power *= np.float32(1 / np.log(10))
    return power


def expand(spectrogram: Float32) -> Float32:
    """The mel power of a log-mel spectrogram: the inverse of compress, a new array; what is below zero has none."""
    power = np.maximum(spectrogram, np.float32(0))
    power *= np.float32(np.log(10))
    np.expm1(power, out=power)
    power *= np.float32(1 / COMPRESSION)
    return np.asarray(power, np.float32)


@lru_cache(maxsize=1)
def mel_filters() -> Float32:
    """(WINDOW // 2 + 1, BANDS) float32: triangles between the neighbours' centres, each of unit area over Hz (Slaney 1998)."""
    edges = _edges()
    bins = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * heights()
    return np.ascontiguousarray(triangles, np.float32)


def band_centres() -> NDArray[np.float64]:
    """(BANDS,) the frequency in Hz at which each triangle has its peak."""
    return _edges()[1:-1]


def heights() -> NDArray[np.float64]:
    """(BANDS,) of each triangle at its peak, per Hz: two over its width."""
    edges = _edges()
    return 2.0 / (edges[2:] - edges[:-2])


def _edges() -> NDArray[np.float64]:
    return _hertz(np.linspace(0.0, _mel(RATE / 2), BANDS + 2))


def _mel(hertz: float) -> float:
    """Slaney's scale: linear to 1 kHz, 15 mels, and logarithmic above, 27 mels for a factor of 6.4."""
    return hertz * 3 / 200 if hertz < 1_000 else 15 + 27 * float(np.log(hertz / 1_000) / np.log(6.4))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1_000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=1)
def _hann() -> Float32:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
