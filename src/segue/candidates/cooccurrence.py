"""Songs that stand near each other in sessions and playlists: the strongest simple model a radio can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.candidates._pull import Reading
from segue.candidates._sparse import frozen, group_rows, pull, scored, take_top, taken
from segue.core.types import Arrays, Float32, History, Int8, Int32, Int64, Query, Scored

DAY_S = 86_400.0
BLOCK = 65_536
"""Items counted at a time: bounds the scratch of a fit to BLOCK * neighbours * 8 bytes."""
PLACE_DECAY, HALF_LIFE, EXPONENT, BACKWARD, SKIP, SHRINK, NOW, WINDOW = range(8)
"""Places in the settings of the kernels."""


class Cooccurrence:
    """Item-item neighbours from places in one session or playlist (Linden et al. 2003, with distance and age).

    A finished song i pulls each song j within `window` places of it:
        c(i, j) = sum over pairs of  +-1 * place_decay^(distance - 1) * 2^(-age / half_life_days)
    plus for a j that was finished, minus (times skip_weight) for one that was skipped; pairs before it count `backward`.
        s(i, j) = c / (m_i^(1 - popularity_exponent) * m_j^popularity_exponent) * c / (c + shrink)
    with m the decayed finishes of a song: exponent 0 is P(j | i), 0.5 the cosine, 1 the lift. The best `neighbours` are kept.

    A query's answer is the weighted union of the rows of what was finished minus those of what was skipped.
    Fit: one pass over the rows of each song, O(plays * window) time, 4 bytes a play beside the history.
    """

    name: ClassVar[str] = "cooccurrence"

    def __init__(
        self,
        *,
        neighbours: int = 64,
        window: int = 8,
        place_decay: float = 0.85,
        half_life_days: float = 180.0,
        popularity_exponent: float = 0.5,
        backward: float = 1.0,
        skip_weight: float = 0.5,
        shrink: float = 1.0,
        reading: Reading | None = None,
    ) -> None:
        self.neighbours = neighbours
        self.window = window
        self.place_decay = place_decay
        self.half_life_days = half_life_days
        self.popularity_exponent = popularity_exponent
        self.backward = backward
        self.skip_weight = skip_weight
        self.shrink = shrink
        self.reading = reading or Reading()
        self._set(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    def _set(self, ptr: Int64, near: Int32, weight: Float32) -> None:
        self.ptr_ = frozen(ptr, np.int64)
        self.near_ = frozen(near, np.int32)
        self.weight_ = frozen(weight, np.float32)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Count pairs, item block by item block; deterministic, `rng` is not used."""
        n = history.n_items
        by_item = group_rows(np.ascontiguousarray(history.item, np.int32), n)
        columns = (
            np.ascontiguousarray(history.item, np.int32),
            np.ascontiguousarray(history.session, np.int32),
            np.ascontiguousarray(history.signal, np.int8),
            np.ascontiguousarray(history.at, np.uint32),
        )
        now_s = history.now / 1000.0
        mass = _mass(columns[0], columns[2], columns[3], n, now_s, self.half_life_days * DAY_S)
        settings = np.array(
            [
                self.place_decay,
                self.half_life_days * DAY_S,
                self.popularity_exponent,
                self.backward,
                self.skip_weight,
                self.shrink,
                now_s,
                self.window,
            ]
        )
        counts, near, weight = [np.zeros(1, np.int64)], [], []
        for first in range(0, n, BLOCK):
            span = (first, min(first + BLOCK, n))
            size, items, scores = _count(span, by_item, columns, mass, settings, self.neighbours)
            counts.append(size)
            near.append(items)
            weight.append(scores)
        ends = np.cumsum(np.concatenate(counts))
        self._set(ends, np.concatenate(near or [self.near_]), np.concatenate(weight or [self.weight_]))
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """Neighbours of what was finished (and of seeds) minus neighbours of what was skipped; only sums above zero."""
        pulls = self.reading.pulls(query)
        if not len(pulls):
            return Scored.none()
        return scored(pull(pulls.items, pulls.weights, self.ptr_, self.near_, self.weight_, self.neighbours, limit))

    def similar(self, item: int, limit: int) -> Scored:
        """The nearest songs of one song, nothing for an unknown one."""
        one = np.array([item], np.int32)
        weight = np.ones(1, np.float32)
        return scored(pull(one, weight, self.ptr_, self.near_, self.weight_, self.neighbours, limit))

    def arrays(self) -> Arrays:
        """CSR by item: ptr (n_items + 1,), near (e,) best first, weight (e,)."""
        return {"ptr": self.ptr_, "near": self.near_, "weight": self.weight_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        self._set(taken(arrays, "ptr", np.int64), taken(arrays, "near", np.int32), taken(arrays, "weight", np.float32))
        return self


@njit(cache=True, nogil=True)
def _mass(item: Int32, signal: Int8, at: NDArray[np.uint32], n: int, now_s: float, half_life_s: float) -> NDArray[np.float64]:
    """Decayed finishes of each item, (n,)."""
    mass = np.zeros(n, np.float64)
    for row in range(len(item)):
        if signal[row] > 0:
            mass[item[row]] += 2.0 ** (-(now_s - at[row]) / half_life_s)
    return mass


@njit(cache=True, nogil=True)
def _tally(
    row: int,
    step: int,
    scale: float,
    columns: tuple[Int32, Int32, Int8, NDArray[np.uint32]],
    scratch: tuple[NDArray[np.float64], Int32],
    n_seen: int,
    settings: NDArray[np.float64],
) -> int:
    """Add the neighbours of one row on one side; scratch = (sums, NaN where untouched; the items touched)."""
    item, session, signal, _ = columns
    sums, seen = scratch
    weight = scale
    for distance in range(1, int(settings[WINDOW]) + 1):
        other = row + step * distance
        if other < 0 or other >= len(item) or session[other] != session[row]:
            break
        j = item[other]
        if signal[other] != 0 and j != item[row]:
            if np.isnan(sums[j]):
                sums[j] = 0.0
                seen[n_seen] = j
                n_seen += 1
            sums[j] += weight if signal[other] > 0 else -weight * settings[SKIP]
        weight *= settings[PLACE_DECAY]
    return n_seen


@njit(cache=True, nogil=True)
def _count(
    span: tuple[int, int],
    by_item: tuple[Int64, Int32],
    columns: tuple[Int32, Int32, Int8, NDArray[np.uint32]],
    mass: NDArray[np.float64],
    settings: NDArray[np.float64],
    neighbours: int,
) -> tuple[Int64, Int32, Float32]:
    """Neighbours of items span[0]..span[1]-1: sizes, items and scores, row after row."""
    (first, last), (ptr, rows), (_, _, signal, at) = span, by_item, columns
    sums = np.full(len(mass), np.nan, np.float64)
    seen = np.empty(len(mass), np.int32)
    scores = np.empty(len(mass), np.float32)
    sizes = np.zeros(last - first, np.int64)
    out_items = np.empty((last - first) * neighbours, np.int32)
    out_scores = np.empty((last - first) * neighbours, np.float32)
    own_exponent, end = 1.0 - settings[EXPONENT], 0
    for i in range(first, last):
        n_seen = 0
        for e in range(ptr[i], ptr[i + 1]):
            row = rows[e]
            if signal[row] > 0:
                age = 2.0 ** (-(settings[NOW] - at[row]) / settings[HALF_LIFE])
                n_seen = _tally(row, 1, age, columns, (sums, seen), n_seen, settings)
                n_seen = _tally(row, -1, age * settings[BACKWARD], columns, (sums, seen), n_seen, settings)
        kept = 0
        for s in range(n_seen):
            j, count = seen[s], sums[seen[s]]
            sums[j] = np.nan
            if count > 0 and mass[j] > 0:
                norm = mass[i] ** own_exponent * mass[j] ** settings[EXPONENT]
                seen[kept] = j
                scores[kept] = count / norm * count / (count + settings[SHRINK])
                kept += 1
        items, values = take_top(seen[:kept], scores[:kept], neighbours)
        sizes[i - first] = len(items)
        out_items[end : end + len(items)] = items
        out_scores[end : end + len(items)] = values
        end += len(items)
    return sizes, out_items[:end].copy(), out_scores[:end].copy()
