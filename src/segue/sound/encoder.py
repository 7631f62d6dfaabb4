"""The promise of every encoder: learn from a library, turn a spectrogram into a vector of unit length, say which version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.types import Arrays, Float32
from segue.sound.spectrogram import BANDS, COMPRESSION, HOP, RATE, WINDOW
from segue.sound.statistics import STATISTICS_VERSION, patch_statistics

Needs = Literal["statistics", "spectrogram"]
INPUT: dict[str, object] = {"rate": RATE, "window": WINDOW, "hop": HOP, "bands": BANDS, "compression": COMPRESSION}
"""What every manifest says about the spectrograms that its encoder reads."""


@runtime_checkable
class Encoder(Protocol):
    """Turns a log-mel spectrogram into a vector; songs are compared by the cosine of their vectors.

    Hyperparameters go to __init__ (keyword-only), learned state ends in _. Safe to call from several threads once fitted.
    `needs` says what fit reads of each song: "statistics", the cached (patches + 1, STATISTICS) of patch_statistics, so that a
    refit decodes nothing, or "spectrogram", the (frames, BANDS) themselves.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]

    @property
    def dimension(self) -> int:
        """Length of the vectors; NotReady before fit or load where it is not known yet."""
        ...

    def fit(self, library: Iterable[Float32], rng: np.random.Generator) -> Self:
        """Learn from one array a song, of the kind that `needs` names. Returns self.

        The library may be iterated more than once and may be far larger than memory. Same library and same rng give the same
        arrays. An encoder that learns nothing returns at once. BadInput when the library is too small to learn from.
        """
        ...

    def encode(self, spectrogram: Float32) -> Float32:
        """(dimension,) float32 of unit length for (frames, BANDS), frames >= 1: short songs and silence too, always finite.

        NotReady before fit or load. The spectrogram is not changed.
        """
        ...

    def arrays(self) -> Arrays:
        """The learned state as named arrays; with the hyperparameters of the manifest all there is to it."""
        ...

    def load(self, arrays: Mapping[str, NDArray[np.generic]], manifest: Mapping[str, object]) -> Self:
        """The inverse of arrays() and manifest(), hyperparameters included. Returns self."""
        ...

    def manifest(self) -> dict[str, object]:
        """JSON: name, version (a hash of everything that decides a vector), dimension, needs, input, hyperparameters."""
        ...


class StatisticsEncoder:
    """The half that encoders on patch statistics share: they say only how statistics become a vector."""

    needs: ClassVar[Needs] = "statistics"

    def encode(self, spectrogram: Float32) -> Float32:
        """(dimension,) float32 of unit length for (frames, BANDS)."""
        return self.encode_statistics(patch_statistics(spectrogram))

    def encode_statistics(self, statistics: Float32) -> Float32:
        """(dimension,) float32 of unit length for the cached (patches + 1, STATISTICS) of a song, patches >= 1."""
        raise NotImplementedError


def describe(encoder: Encoder, hyperparameters: Mapping[str, object], **more: object) -> dict[str, object]:
    """The manifest that every encoder writes; its version hashes name, input, hyperparameters, arrays and `more`."""
    facts: dict[str, object] = {
        "name": encoder.name,
        "dimension": encoder.dimension,
        "needs": encoder.needs,
        "input": INPUT | ({"statistics": STATISTICS_VERSION} if encoder.needs == "statistics" else {}),
        "hyperparameters": dict(hyperparameters),
        **more,
    }
    digest = blake2b(msgspec.json.encode(facts, order="sorted"), digest_size=8)
    for name, array in sorted(encoder.arrays().items()):
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return {"version": f"{encoder.name}-{digest.hexdigest()}", **facts}


def outdated(manifest: Mapping[str, Any]) -> bool:
    """Whether an encoder, or a part of it, learned from statistics of another version than today's: due to learn anew."""
    version = manifest["input"].get("statistics", STATISTICS_VERSION)
    return version != STATISTICS_VERSION or any(outdated(part) for part in manifest["hyperparameters"].get("parts", ()))


def unit(vector: NDArray[np.floating]) -> Float32:
    """The vector at length 1, float32; one without a direction becomes the first axis, so that a cosine stays defined."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(length) or length < 1e-12:
        out = np.zeros(len(vector), np.float32)
        out[0] = 1.0
        return out
    return np.asarray(vector / length, np.float32)
