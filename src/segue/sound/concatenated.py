"""Several encoders side by side: what one does not hear, another may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Arrays, Float32
from segue.sound.encoder import Encoder, Needs, describe
from segue.sound.statistics import patch_statistics

PLAIN = {"size": 192, "shrinkage": 0.3, "emphasis": 0.0}
"""The default encoder's settings beside a network: more and plainer discriminants add more to it (docs/decisions.md)."""


class _Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hyperparameters as a manifest holds them."""

    weights: list[float]
    parts: list[dict[str, Any]]


class Concatenated:
    """The vectors of its parts, each of unit length, one after another; the whole at unit length.

    The cosine of two songs is then the mean of the cosines that the parts give, weighted by the squares of `weights`; equal
    weights, the default, need no labels. Each part learns from the library by itself.
    """

    name: ClassVar[str] = "concatenated"
    needs: ClassVar[Needs] = "spectrogram"

    def __init__(self, parts: Sequence[Encoder], *, weights: Sequence[float] | None = None) -> None:
        """BadInput without parts, or unless there is one positive weight for each."""
        self.parts = tuple(parts)
        self.weights = tuple(float(w) for w in weights) if weights is not None else (1.0,) * len(self.parts)
        if not self.parts or len(self.weights) != len(self.parts) or min(self.weights) <= 0:
            raise BadInput(
                f"expected one positive weight a part, found {len(self.parts)} parts, weights {self.weights}", "weights"
            )

    @property
    def dimension(self) -> int:
        """The sum over the parts."""
        return sum(part.dimension for part in self.parts)

    def fit(self, library: Iterable[Float32], rng: np.random.Generator) -> Self:
        """Each part learns from the (frames, BANDS) of the songs, with a generator of its own; they are read for each part."""
        for part, own in zip(self.parts, rng.spawn(len(self.parts)), strict=True):
            part.fit(_Statistics(library) if part.needs == "statistics" else library, own)
        return self

    def encode(self, spectrogram: Float32) -> Float32:
        """(dimension,) float32 of unit length for (frames, BANDS)."""
        length = float(np.linalg.norm(self.weights))
        vectors = (part.encode(spectrogram) * (w / length) for part, w in zip(self.parts, self.weights, strict=True))
        return np.concatenate([np.asarray(v, np.float32) for v in vectors])

    def arrays(self) -> Arrays:
        """The arrays of part 0 as `0.NAME`, and so on."""
        return {f"{place}.{key}": array for place, part in enumerate(self.parts) for key, array in part.arrays().items()}

    def load(self, arrays: Mapping[str, NDArray[np.generic]], manifest: Mapping[str, object]) -> Self:
        """The inverse of arrays() and manifest(), for the same kinds of parts; BadInput for others."""
        chosen = msgspec.convert(manifest["hyperparameters"], _Chosen)
        names = [str(facts.get("name")) for facts in chosen.parts]
        if names != [part.name for part in self.parts]:
            raise BadInput(f"expected an encoder of {[part.name for part in self.parts]}, found one of {names}", "parts")
        self.weights = tuple(chosen.weights)
        for place, (part, facts) in enumerate(zip(self.parts, chosen.parts, strict=True)):
            start = f"{place}."
            part.load({key[len(start) :]: array for key, array in arrays.items() if key.startswith(start)}, facts)
        return self

    def manifest(self) -> dict[str, object]:
        """Name, version, input, and the manifests of the parts."""
        return describe(self, {"weights": list(self.weights), "parts": [part.manifest() for part in self.parts]})


class _Statistics:
    """The statistics of each song of a library of spectrograms, however often it is iterated."""

    def __init__(self, library: Iterable[Float32]) -> None:
        self._library = library

    def __iter__(self) -> Iterator[Float32]:
        return (patch_statistics(spectrogram) for spectrogram in self._library)
