"""What was known at a moment: sums over the rows of a key strictly before it, for any number of moments at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.types import Int64

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Before:
    """For m questions (a key and a moment), where the rows of that key strictly before that moment lie: order[start:stop].

    Made by one sort of n rows and m questions: O((n + m) log(n + m)). A row at the very moment is not before it, so rows
    that carry the same time know nothing of each other, in whatever order they come.
    """

    order: NDArray[np.intp]  # (n,) rows by key, then time, then place
    first: NDArray[np.bool_]  # (n,) in that order, whether a key begins here
    start: Int64  # (m,)
    stop: Int64  # (m,)

    @staticmethod
    def of(key: Int64, at: Int64, asked_key: Int64, asked_at: Int64) -> Before:
        """key, at (n,): the rows; asked_key, asked_at (m,): the questions. Times in any unit, integers."""
        order = np.lexsort((at, key))
        keys, moments = np.unique(key), np.unique(np.concatenate((at, asked_at)))
        span = len(moments) + 1
        asked = np.searchsorted(keys, asked_key)
        known = asked < len(keys)
        known &= keys[np.minimum(asked, len(keys) - 1)] == asked_key if len(keys) else False
        rows = np.searchsorted(keys, key[order]) * span + np.searchsorted(moments, at[order])
        start = np.searchsorted(rows, asked * span)
        stop = np.searchsorted(rows, asked * span + np.searchsorted(moments, asked_at))
        ordered = key[order]
        first = np.concatenate(([True], ordered[1:] != ordered[:-1])) if len(order) else np.zeros(0, np.bool_)
        return Before(order, first, start.astype(np.int64), np.where(known, stop, start).astype(np.int64))

    def sums(self, values: Float64) -> Float64:
        """Sums of values (n, c) over the rows before each question, (m, c).

        Each key is summed from its own first row on: what other keys or later rows hold changes no bit of it.
        """
        running = np.ascontiguousarray(values[self.order], np.float64)
        add_up(running, self.first)
        out = np.zeros((len(self.start), values.shape[1]))
        some = self.stop > self.start
        out[some] = running[self.stop[some] - 1]
        return out

    def last(self, back: int) -> NDArray[np.int64]:
        """The row that is `back` (from 1) before each question, -1 where there is none, (m,)."""
        place = self.stop - back
        out = np.full(len(place), -1, np.int64)
        there = place >= self.start
        out[there] = self.order[place[there]]
        return out


@njit(cache=True, nogil=True)
def add_up(values: Float64, first: NDArray[np.bool_]) -> None:
    """Each row of values (n, c) becomes the sum up to it since the last row marked `first`."""
    for i in range(1, len(values)):
        if not first[i]:
            for c in range(values.shape[1]):
                values[i, c] += values[i - 1, c]


def shrunk(total: Float64, count: Float64, prior: Float64 | float, strength: float) -> Float64:
    """(total + strength * prior) / (count + strength): a mean pulled to the prior as by `strength` examples of it."""
    return np.asarray((total + strength * prior) / (count + strength))
