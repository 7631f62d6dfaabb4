"""What any encoder must beat: cues of the recording, which say nothing of the music, and the classic cepstrum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from segue.core.errors import BadInput, NotReady
from segue.core.types import Arrays, Float32
from segue.sound.encoder import Needs, describe, unit
from segue.sound.loudness import loudness
from segue.sound.spectrogram import BANDS, expand

_SILENCE = -70.0


class _Standardized:
    """A few numbers a song, standardized over the library."""

    name: ClassVar[str]
    needs: ClassVar[Needs] = "spectrogram"
    size: int

    def __init__(self) -> None:
        self.centre_: Float32 | None = None
        self.scale_: Float32 | None = None

    def numbers(self, spectrogram: Float32) -> Float32:
        """(size,) what the encoder sees of a song."""
        raise NotImplementedError

    @property
    def dimension(self) -> int:
        """How many numbers a song has."""
        return self.size

    def fit(self, library: Iterable[Float32], rng: np.random.Generator) -> Self:
        """Learn means and deviations; deterministic, `rng` is not used."""
        rows = [self.numbers(spectrogram) for spectrogram in library]
        if len(rows) < 2:
            raise BadInput(f"expected a library of at least 2 songs, found {len(rows)}")
        table = np.array(rows, np.float64)
        self.centre_ = table.mean(axis=0).astype(np.float32)
        self.scale_ = np.maximum(table.std(axis=0), 1e-6).astype(np.float32)
        return self

    def encode(self, spectrogram: Float32) -> Float32:
        """(dimension,) float32 of unit length."""
        if self.centre_ is None or self.scale_ is None:
            raise NotReady("the encoder has not learned from a library yet")
        return unit((self.numbers(spectrogram) - self.centre_) / self.scale_)

    def arrays(self) -> Arrays:
        """Centre and scale, (size,) each."""
        if self.centre_ is None or self.scale_ is None:
            raise NotReady("the encoder has not learned from a library yet")
        return {"centre": self.centre_, "scale": self.scale_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]], manifest: Mapping[str, object]) -> Self:
        """The inverse of arrays() and manifest()."""
        self.centre_ = np.asarray(arrays["centre"], np.float32)
        self.scale_ = np.asarray(arrays["scale"], np.float32)
        return self

    def manifest(self) -> dict[str, object]:
        """Name, version, input."""
        return describe(self, {})


class RecordingCues(_Standardized):
    """Loudness, its spread, and bandwidth: they betray where a recording comes from, and say nothing of the music."""

    name: ClassVar[str] = "cues"
    size = 6

    def numbers(self, spectrogram: Float32) -> Float32:
        """Loudness; crest and spread of the power over time in dB; the bands below which 85, 95 and 99 % of the power lies."""
        power = expand(spectrogram)
        level = 10 * np.log10(power.sum(axis=1) + 1e-9)
        spectrum = np.cumsum(power.sum(axis=0, dtype=np.float64))
        roll_off = np.searchsorted(spectrum, np.array([0.85, 0.95, 0.99]) * spectrum[-1]) / BANDS
        loud = max(loudness(spectrogram), _SILENCE)
        return np.array([loud, level.max() - level.mean(), level.std(), *roll_off], np.float32)


class Mfcc(_Standardized):
    """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980): means and deviations over time, and their changes'."""

    name: ClassVar[str] = "mfcc"
    size = 39

    def numbers(self, spectrogram: Float32) -> Float32:
        """13 means, 13 deviations and 13 deviations of the differences of the bands' orthonormal DCT-II, level included."""
        cepstrum = fft.dct(spectrogram, axis=1, norm="ortho")[:, : self.size // 3]
        changes = np.diff(cepstrum, axis=0, prepend=cepstrum[:1])
        return np.concatenate((cepstrum.mean(axis=0), cepstrum.std(axis=0), changes.std(axis=0))).astype(np.float32)
