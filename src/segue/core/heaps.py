"""Heaps of the best k, one a query: kernels that sources and stores of vectors share. The worst of the best is at the root."""

from __future__ import annotations

import numpy as np
from numba import njit

from segue.core.types import Float32, Int32, Int64

_LANE = 32


@njit(cache=True, nogil=True)
def worse(score: np.float32, item: int, other_score: np.float32, other: int) -> bool:
    """Whether (score, item) comes after the other: lower score, or the same and a larger id."""
    return bool(score < other_score or (score == other_score and item > other))


@njit(cache=True, nogil=True)
def sink(ids: Int32, scores: Float32, at: int, size: int) -> None:
    """Restore the heap below `at`: the worst of the best is at the root."""
    item, score = ids[at], scores[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and worse(scores[child + 1], ids[child + 1], scores[child], ids[child]):
            child += 1
        if not worse(scores[child], ids[child], score, item):
            break
        ids[at], scores[at] = ids[child], scores[child]
        at = child
    ids[at], scores[at] = item, score


@njit(cache=True, nogil=True)
def _reaching(row: Float32, begin: int, root: np.float32) -> int:
    """How many of the next _LANE scores reach the root: a count, unlike a maximum, is vectorized as it stands."""
    count = 0
    for j in range(_LANE):
        count += row[begin + j] >= root
    return count


@njit(cache=True, nogil=True)
def offer(row: Float32, names: Int32, ids: Int32, scores: Float32) -> None:
    """Offer the items names[j] with scores row[j] to the heap: what ties with the root wins by a smaller id."""
    j, width, k = 0, len(row), len(ids)
    while j < width:
        stop = min(j + _LANE, width)
        if stop == j + _LANE and _reaching(row, j, scores[0]) == 0:
            j = stop
            continue
        while j < stop:
            if row[j] >= scores[0] and worse(scores[0], ids[0], row[j], names[j]):
                ids[0], scores[0] = names[j], row[j]
                sink(ids, scores, 0, k)
            j += 1


@njit(cache=True, nogil=True)
def offer_block(block: Float32, names: Int32, places: Int64, ids: Int32, scores: Float32) -> None:
    """Row u of the block goes to the heap places[u]."""
    for u in range(block.shape[0]):
        offer(block[u], names, ids[places[u]], scores[places[u]])


@njit(cache=True, nogil=True)
def sort_heaps(ids: Int32, scores: Float32) -> None:
    """Turn each heap into a list, best first, ties by smaller id."""
    for u in range(ids.shape[0]):
        for size in range(ids.shape[1] - 1, 0, -1):
            ids[u, 0], ids[u, size] = ids[u, size], ids[u, 0]
            scores[u, 0], scores[u, size] = scores[u, size], scores[u, 0]
            sink(ids[u], scores[u], 0, size)
