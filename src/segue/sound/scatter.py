"""The sums from which discriminants are learned: one pass over a library of any size, in the memory of one matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32
from segue.sound.spectrogram import FRAMES_A_SECOND
from segue.sound.statistics import PATCH

Float64 = NDArray[np.float64]


class Scatter:
    """Scatter within and between songs, accumulated song by song in float64 around the first song's mean; mergeable."""

    seconds_a_patch = round(PATCH / FRAMES_A_SECOND)

    def __init__(self) -> None:
        self.songs = 0
        self.patches = 0
        self.origin_: Float64 | None = None

    def add(self, statistics: Float32, heard: Float32 | None = None, share: float = 0.5) -> None:
        """Take in the (patches, p) of one song; songs of no patches are left out.

        With `heard`, the (p,) mean of the same patches through another channel, the song counts as if this share of its patches
        had come that way: what the channel moves is then spread within a recording, not between recordings.
        """
        if len(statistics) == 0:
            return
        rows = statistics.astype(np.float64)
        mean = rows.mean(axis=0)
        rows -= mean
        within = rows.T @ rows
        if heard is not None:
            moved = heard - mean
            mean += share * moved
            within += len(rows) * share * (1 - share) * np.outer(moved, moved)
        if self.origin_ is None:
            self.origin_ = mean.copy()
            p = len(mean)
            self._sum, self._within, self._means = np.zeros(p), np.zeros((p, p)), np.zeros((p, p))
        shifted = mean - self.origin_
        self.songs += 1
        self.patches += len(rows)
        self._sum += len(rows) * shifted
        self._within += within
        self._means += len(rows) * np.outer(shifted, shifted)

    def merge(self, other: Scatter) -> None:
        """Take in the sums of another part of the library."""
        if other.origin_ is None:
            return
        if self.origin_ is None:
            self.origin_ = other.origin_.copy()
            self._sum = np.zeros_like(other._sum)
            self._within, self._means = np.zeros_like(other._within), np.zeros_like(other._means)
        shift = other.origin_ - self.origin_
        cross = np.outer(other._sum, shift)
        self._means += other._means + cross + cross.T + other.patches * np.outer(shift, shift)
        self._sum += other._sum + other.patches * shift
        self._within += other._within
        self.songs += other.songs
        self.patches += other.patches

    def moments(self) -> tuple[Float64, Float64, Float64]:
        """Mean (p,) over patches; covariances within and between songs (p, p), which add up to that of all patches."""
        if self.origin_ is None:
            raise ValueError("nothing was added")
        shift = self._sum / self.patches
        between = self._means / self.patches - np.outer(shift, shift)
        return self.origin_ + shift, self._within / self.patches, between
