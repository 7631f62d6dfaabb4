"""The best k items for many query vectors at once: blocks of scores by sgemm, a heap a query behind a threshold test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from segue.core.heaps import offer, offer_block, sort_heaps
from segue.core.types import MISSING, Float32, Int32, Int64

_QUERIES = 128
_ITEMS = 1024
"""A block of scores is 512 KB: it is scanned while it is still in the core's own cache."""
_SLACK = np.float32(1 + 1e-5)
"""On a bound, for the rounding of the sums that it bounds."""


@njit(cache=True, nogil=True)
def _mask_block(block: Float32, first: int, queries: Int64, ptr: Int64, ranks: Int32) -> None:
    """Set what each query excludes to -inf: ranks are places in the order of the scan, lists need no order."""
    width = block.shape[1]
    for u in range(block.shape[0]):
        for j in range(ptr[queries[u]], ptr[queries[u] + 1]):
            at = ranks[j] - first
            if 0 <= at < width:
                block[u, at] = -np.inf


class _Scan:
    """The catalogue from the longest vector to the shortest, and the heaps of one block of queries after another."""

    def __init__(self, items: Float32, exclude: tuple[Int64, Int32] | None) -> None:
        lengths = _lengths(items)
        self.names = np.lexsort((np.arange(len(items)), -lengths)).astype(np.int32)
        self.items, self.lengths = items[self.names], lengths[self.names] * _SLACK
        self.exclude: tuple[Int64, Int32] | None = None
        if exclude is not None:
            rank = np.empty(len(items), np.int32)
            rank[self.names] = np.arange(len(items), dtype=np.int32)
            self.exclude = exclude[0], rank[exclude[1]]

    def best(self, queries: Float32, start: int, k: int) -> tuple[Int32, Float32]:
        """The lists of queries[start : start + _QUERIES]; a query leaves the scan when no item left is long enough."""
        rows = queries[start : start + _QUERIES]
        ids, scores = np.full((len(rows), k), MISSING, np.int32), np.full((len(rows), k), -np.inf, np.float32)
        reach, active = _lengths(rows), np.arange(len(rows))
        room = np.empty(_QUERIES * _ITEMS, np.float32)  # one for all blocks: fresh pages would cost as much as the scan
        for first in range(0, len(self.items), _ITEMS):
            still = reach[active] * self.lengths[first] >= scores[active, 0]
            if not still.all():
                active = active[still]
                rows = queries[start + active]
            if not len(active):
                break
            part = self.items[first : first + _ITEMS]
            block = np.matmul(rows, part.T, out=room[: len(rows) * len(part)].reshape(len(rows), len(part)))
            if self.exclude is not None:
                _mask_block(block, first, start + active, *self.exclude)
            offer_block(block, self.names[first : first + _ITEMS], active, ids, scores)
        sort_heaps(ids, scores)
        return ids, scores


def _lengths(rows: Float32) -> Float32:
    squares: Float32 = np.einsum("nd,nd->n", rows, rows)
    return np.sqrt(squares)


def top_k(
    queries: Float32, items: Float32, k: int, threads: int = 1, exclude: tuple[Int64, Int32] | None = None
) -> tuple[Int32, Float32]:
    """The k items with the largest inner product for each query: ids (m, k) int32 and scores (m, k) float32.

    queries (m, d) and items (n, d), float32, C order, finite. Best first; equal float32 scores by smaller item id. `exclude`
    is a CSR (ptr (m + 1,), ids) of items each query must not get. Where fewer than k items are left, ids are MISSING and
    scores -inf. Exact: items are scanned from the longest to the shortest, and a query stops when its k-th score is out of
    reach by Cauchy and Schwarz (LEMP, Teflioudi et al. 2015, has the bound). Memory: one copy of the items, half a megabyte a
    thread.
    """
    m, width = len(queries), min(k, len(items))
    ids = np.full((m, k), MISSING, np.int32)
    scores = np.full((m, k), -np.inf, np.float32)
    if width == 0 or m == 0:
        return ids, scores
    scan = _Scan(items, exclude)

    def block(start: int) -> None:
        part = slice(start, start + _QUERIES)
        ids[part, :width], scores[part, :width] = scan.best(queries, start, width)

    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(block, range(0, m, _QUERIES)))
    return ids, scores


def best_k(scores: Float32, k: int) -> tuple[Int32, Float32]:
    """The k largest of a row of finite scores, (n,): (ids, scores), best first, equal ones by smaller id; fewer if n < k."""
    k = max(0, min(k, len(scores)))
    ids, best = np.full((1, k), MISSING, np.int32), np.full((1, k), -np.inf, np.float32)
    if k:
        offer(scores, np.arange(len(scores), dtype=np.int32), ids[0], best[0])
        sort_heaps(ids, best)
    return ids[0], best[0]


def best_rows(scores: Float32, k: int) -> tuple[Int32, Float32]:
    """The k largest of each row of scores, (m, n), C order, no NaN: (ids, scores), best first, equal ones by smaller id.

    -inf is never offered: where fewer than k are left, ids are MISSING and scores -inf.
    """
    ids, best = np.full((len(scores), k), MISSING, np.int32), np.full((len(scores), k), -np.inf, np.float32)
    if k and scores.size:
        names = np.arange(scores.shape[1], dtype=np.int32)
        offer_block(scores, names, np.arange(len(scores)), ids, best)
        sort_heaps(ids, best)
        ids[best == -np.inf] = MISSING
    return ids, best
