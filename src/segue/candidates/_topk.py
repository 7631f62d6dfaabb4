"""The best k items for many query vectors at once: blocks of scores by sgemm, a heap a query behind a threshold test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from segue.core.types import MISSING, Float32, Int32, Int64

_QUERIES = 128
_ITEMS = 1024
"""A block of scores is 512 KB: it is scanned while it is still in the core's own cache."""
_LANE = 32


@njit(cache=True, nogil=True)
def _worse(score: np.float32, item: int, other_score: np.float32, other: int) -> bool:
    """Whether (score, item) comes after the other: lower score, or the same and a larger id."""
    return bool(score < other_score or (score == other_score and item > other))


@njit(cache=True, nogil=True)
def _sink(ids: Int32, scores: Float32, at: int, size: int) -> None:
    """Restore the heap below `at`: the worst of the best is at the root."""
    item, score = ids[at], scores[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(scores[child + 1], ids[child + 1], scores[child], ids[child]):
            child += 1
        if not _worse(scores[child], ids[child], score, item):
            break
        ids[at], scores[at] = ids[child], scores[child]
        at = child
    ids[at], scores[at] = item, score


@njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz"})
def _lane_max(row: Float32, begin: int) -> np.float32:
    best: np.float32 = row[begin]
    for j in range(begin, begin + _LANE):
        best = max(best, row[j])
    return best


@njit(cache=True, nogil=True)
def offer(row: Float32, first: int, width: int, ids: Int32, scores: Float32) -> None:
    """Offer items first + j with scores row[j], j < width, to the heap. Ids come in ascending order over the calls.

    An item that only ties with the root comes later, so it has the larger id and loses: a plain > keeps ties exact.
    """
    j = 0
    k = len(ids)
    while j < width:
        stop = min(j + _LANE, width)
        if stop == j + _LANE and not _lane_max(row, j) > scores[0]:
            j = stop
            continue
        while j < stop:
            if row[j] > scores[0]:
                ids[0], scores[0] = first + j, row[j]
                _sink(ids, scores, 0, k)
            j += 1


@njit(cache=True, nogil=True)
def _offer_block(block: Float32, first: int, ids: Int32, scores: Float32) -> None:
    for u in range(block.shape[0]):
        offer(block[u], first, block.shape[1], ids[u], scores[u])


@njit(cache=True, nogil=True)
def _mask_block(block: Float32, first: int, ptr: Int64, exclude: Int32, start: int) -> None:
    """Set the excluded items of each query of the block to -inf; lists need no order."""
    width = block.shape[1]
    for u in range(block.shape[0]):
        for j in range(ptr[start + u], ptr[start + u + 1]):
            at = exclude[j] - first
            if 0 <= at < width:
                block[u, at] = -np.inf


@njit(cache=True, nogil=True)
def _sort_heaps(ids: Int32, scores: Float32) -> None:
    """Turn each heap into a list, best first, ties by smaller id."""
    for u in range(ids.shape[0]):
        for size in range(ids.shape[1] - 1, 0, -1):
            ids[u, 0], ids[u, size] = ids[u, size], ids[u, 0]
            scores[u, 0], scores[u, size] = scores[u, size], scores[u, 0]
            _sink(ids[u], scores[u], 0, size)


def top_k(
    queries: Float32,
    items: Float32,
    k: int,
    threads: int = 1,
    exclude: tuple[Int64, Int32] | None = None,
) -> tuple[Int32, Float32]:
    """The k items with the largest inner product for each query: ids (m, k) int32 and scores (m, k) float32.

    queries (m, d) and items (n, d), float32, C order, finite. Best first; equal float32 scores by smaller item id. `exclude`
    is a CSR (ptr (m + 1,), ids) of items each query must not get. Where fewer than k items are left, ids are MISSING and
    scores -inf. Memory: half a megabyte a thread beside the answer.
    """
    m, n = len(queries), len(items)
    width = min(k, n)
    ids = np.full((m, k), MISSING, np.int32)
    scores = np.full((m, k), -np.inf, np.float32)

    def block_of(start: int) -> None:
        rows = queries[start : start + _QUERIES]
        best, values = np.full((len(rows), width), MISSING, np.int32), np.full((len(rows), width), -np.inf, np.float32)
        for first in range(0, n, _ITEMS):
            block = rows @ items[first : first + _ITEMS].T
            if exclude is not None:
                _mask_block(block, first, exclude[0], exclude[1], start)
            _offer_block(block, first, best, values)
        _sort_heaps(best, values)
        ids[start : start + _QUERIES, :width], scores[start : start + _QUERIES, :width] = best, values

    if width == 0 or m == 0:
        return ids, scores
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(block_of, range(0, m, _QUERIES)))
    return ids, scores


def best_k(scores: Float32, k: int) -> tuple[Int32, Float32]:
    """The k largest of a row of finite scores, (n,): (ids, scores), best first, equal ones by smaller id; fewer if n < k."""
    k = max(0, min(k, len(scores)))
    ids, best = np.full((1, k), MISSING, np.int32), np.full((1, k), -np.inf, np.float32)
    if k:
        offer(scores, 0, len(scores), ids[0], best[0])
        _sort_heaps(ids, best)
    return ids[0], best[0]
