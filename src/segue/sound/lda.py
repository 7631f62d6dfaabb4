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
from segue.sound.scatter import Scatter
from segue.sound.statistics import patches_of


class _Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hyperparameters as a manifest holds them."""

    size: int = 32
    shrinkage: float = 0.5
    emphasis: float = 0.25
    channel: float = 0.2


class ClipLda(StatisticsEncoder):
    """Fisher's linear discriminant (1936; Rao 1948) over the statistics of 3 s patches, with the recording as the class.

    The patches of one recording are the class: directions in which they agree while recordings differ are kept,

        B v = lambda W v,    W = (1 - shrinkage) * S_w + shrinkage * tr(S_w) / p * I

    with S_w and B the scatter within and between recordings of the standardized statistics. The best `size` eigenvectors,
    scaled so that patches of a recording have variance one along each, times lambda^emphasis, project a patch; a song is the
    mean of its patches, at unit length. Emphasis favours what sets many recordings apart over what sets a few apart.
    A song is learned from both as it is and, for the share `channel` of its patches, as heard through narrower channels (the
    last row of its statistics), as one class: directions that a codec or a recording's bandwidth moves are spread within a
    recording, and count for less (training over several channels, as speaker recognition has it).
    Closed form: one pass over the library, p x p sums however many songs there are, deterministic.
    """

    name: ClassVar[str] = "lda"

    def __init__(self, *, size: int = 32, shrinkage: float = 0.5, emphasis: float = 0.25, channel: float = 0.2) -> None:
        self.size = size
        self.shrinkage = shrinkage
        self.emphasis = emphasis
        self.channel = channel
        self.centre_: Float32 | None = None
        self.projection_: Float32 | None = None

    @property
    def dimension(self) -> int:
        """Directions that are kept."""
        return self.size

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
        p = len(within)
        shrunk = (1 - self.shrinkage) * within + self.shrinkage * np.trace(within) / p * np.eye(p)
        values, vectors = linalg.eigh(between, shrunk, subset_by_index=(p - self.size, p - 1))
        vectors = vectors[:, ::-1] * np.maximum(values[::-1], 0) ** self.emphasis
        vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(self.size)] < 0, -1, 1)
        self.centre_ = mean.astype(np.float32)
        self.projection_ = np.ascontiguousarray(vectors / deviation[:, None], np.float32)
        return self

    def encode_statistics(self, statistics: Float32) -> Float32:
        """(dimension,) float32 of unit length: the mean over the patches of a song."""
        return self.encode_rows(patches_of(statistics))

    def encode_rows(self, rows: Float32) -> Float32:
        """The same for (patches, p) of any kind that fit_scatter has learned from."""
        if self.centre_ is None or self.projection_ is None:
            raise NotReady("the encoder has not learned from a library yet")
        return unit((rows.astype(np.float32) - self.centre_).mean(axis=0) @ self.projection_)

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
