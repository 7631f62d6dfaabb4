"""The default encoder: discriminant analysis that learns, without labels, what sets one recording apart from the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from segue.core.errors import BadInput, NotReady
from segue.core.types import Arrays, Float32
from segue.sound.encoder import StatisticsEncoder, describe, unit
from segue.sound.scatter import Float64, Scatter
from segue.sound.statistics import patches_of

_NOTHING = 1e-9
"""Of the largest eigenvalue: a direction along which recordings differ no more than that is none, and has no say."""
_STEADY = 1e-3
"""Of the mean variance within a recording: what is steadier counts as if it were as unsteady as that."""


class _Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hyperparameters as a manifest holds them."""

    size: int = 64
    shrinkage: float = 0.5
    emphasis: float = 0.25
    channel: float = 0.2


class ClipLda(StatisticsEncoder):
    """Fisher's linear discriminant (1936; Rao 1948) over the statistics of 3 s patches, with the recording as the class.

    The patches of one recording are the class: directions in which they agree while recordings differ are kept,

        B v = lambda W v,    W = (1 - shrinkage) * S_w + shrinkage * diag(S_w)

    with S_w and B the scatter within and between recordings of the standardized statistics: shrunk to its diagonal (Schaefer
    and Strimmer 2005), so that what is unsteady within a recording stays so. The best `size` eigenvectors (of as many as there
    are statistics), scaled so that patches of a recording have variance one along each, times lambda^emphasis, project a patch;
    a song is the mean of its patches, at unit length. Emphasis favours what sets many recordings apart over what sets a few
    apart.
    A song is learned from both as it is and, for the share `channel` of its patches, as heard through narrower channels (the
    last row of its statistics), as one class: directions that a codec or a recording's bandwidth moves are spread within a
    recording, and count for less (training over several channels, as speaker recognition has it).
    Closed form: one pass over the library, p x p sums however many songs there are, deterministic.
    """

    name: ClassVar[str] = "lda"

    def __init__(self, *, size: int = 64, shrinkage: float = 0.5, emphasis: float = 0.25, channel: float = 0.2) -> None:
        self.size = size
        self.shrinkage = shrinkage
        self.emphasis = emphasis
        self.channel = channel
        self.centre_: Float32 | None = None
        self.projection_: Float32 | None = None

    @property
    def dimension(self) -> int:
        """Directions that are kept: `size`, or as many as there are statistics where those are fewer."""
        return self.size if self.projection_ is None else self.projection_.shape[1]

    def fit(self, library: Iterable[Float32], rng: np.random.Generator) -> Self:
        """Learn from what patch_statistics gives of each song, read once; deterministic, `rng` is not used."""
        scatter = Scatter()
        for statistics in library:
            scatter.add(patches_of(statistics), statistics[-1], self.channel)
        return self.fit_scatter(scatter)

    def fit_scatter(self, scatter: Scatter) -> Self:
        """Learn from the sums of a library. BadInput below two songs of two patches."""
        if scatter.songs < 2 or scatter.patches <= scatter.songs:
            raise BadInput(
                f"expected at least 2 songs, and songs of more than {scatter.seconds_a_patch:g} s, to learn how songs sound; "
                f"found {scatter.songs} songs with {scatter.patches} patches in all"
            )
        mean, within, between = scatter.moments()
        deviation = np.sqrt(np.maximum(np.diag(within + between), 1e-12))
        within /= np.outer(deviation, deviation)
        between /= np.outer(deviation, deviation)
        values, vectors = _discriminants(within, between, self.shrinkage, self.size)
        vectors *= np.where(values > _NOTHING * values[0], np.maximum(values, 0) ** self.emphasis, 0)
        vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))] < 0, -1, 1)
        self.centre_ = mean.astype(np.float32)
        self.projection_ = np.ascontiguousarray(vectors / deviation[:, None], np.float32)
        return self

    def encode_statistics(self, statistics: Float32) -> Float32:
        """(dimension,) float32 of unit length: the mean over the patches of a song."""
        return self.encode_rows(patches_of(statistics))

    def encode_rows(self, rows: Float32) -> Float32:
        """The same for (patches, p) of any kind that fit_scatter has learned from; more columns than then are not read."""
        if self.centre_ is None or self.projection_ is None:
            raise NotReady("the encoder has not learned from a library yet")
        known = rows[:, : len(self.centre_)].astype(np.float32)  # statistics grow at their end
        return unit((known - self.centre_).mean(axis=0) @ self.projection_)

    def arrays(self) -> Arrays:
        """Centre (p,) and projection (p, size)."""
        if self.centre_ is None or self.projection_ is None:
            raise NotReady("the encoder has not learned from a library yet")
        return {"centre": self.centre_, "projection": self.projection_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]], manifest: Mapping[str, object]) -> Self:
        """The inverse of arrays() and manifest()."""
        chosen = msgspec.convert(manifest["hyperparameters"], _Chosen)
        self.size, self.shrinkage, self.emphasis, self.channel = chosen.size, chosen.shrinkage, chosen.emphasis, chosen.channel
        self.centre_ = np.asarray(arrays["centre"], np.float32)
        self.projection_ = np.asarray(arrays["projection"], np.float32)
        return self

    def manifest(self) -> dict[str, object]:
        """Name, version, input, hyperparameters."""
        chosen = _Chosen(size=self.size, shrinkage=self.shrinkage, emphasis=self.emphasis, channel=self.channel)
        return describe(self, msgspec.to_builtins(chosen))


def _discriminants(within: Float64, between: Float64, shrinkage: float, size: int) -> tuple[Float64, Float64]:
    """The largest eigenvalues (k,), falling, and their vectors (p, k), of between against the shrunk within; k <= size, p."""
    p = len(within)
    own = np.diag(within)
    shrunk = (1 - shrinkage) * within + np.diag(shrinkage * np.maximum(own, max(_STEADY * own.mean(), 1e-12)))
    values, vectors = linalg.eigh(between, shrunk, subset_by_index=(max(0, p - size), p - 1))
    return values[::-1], vectors[:, ::-1]
