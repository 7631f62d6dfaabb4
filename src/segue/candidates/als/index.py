"""An inverted file over item vectors: the best inner products of a million without looking at most of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from segue.candidates._topk import top_k
from segue.core.heaps import sink, sort_heaps, worse
from segue.core.types import MISSING, Float32, Int32, Int64

EXACT = 32_768
"""Catalogues up to this size are scanned whole: 8 MB at d = 64, under a millisecond."""
BUDGET = 16_384
"""Vectors that a search looks at, at most by one cell."""
_ROUNDS = 6
_SAMPLE = 48
"""Items a cell that k-means learns from."""


class Cells(NamedTuple):
    """Item vectors by cell, the longest of each cell first (ties by smaller id). Items without a vector are left out."""

    reach: Float32  # (cells, d) mean direction of the cell times its longest norm: reach . q guesses its best score
    ptr: Int64  # (cells + 1,)
    ids: Int32  # (n,)
    rows: Float32  # (n, d)
    norms: Float32  # (n,)


def build(items: Float32, norms: Float32, rng: np.random.Generator, threads: int) -> Cells:
    """About sqrt(n) cells by k-means (Lloyd 1982; Sivic and Zisserman 2003 for the inverted file).

    Plain k-means, not spherical: lengths are popularity, and cells of similar length have a tighter reach.
    """
    told = np.flatnonzero(norms > 0).astype(np.int32)
    count = max(1, int(np.sqrt(len(told))))
    sample = items[np.sort(rng.choice(told, min(len(told), _SAMPLE * count), replace=False))] if len(told) else items[:0]
    centers = sample[:: max(1, len(sample) // count)][:count].copy()
    for _ in range(_ROUNDS if len(sample) else 0):
        cell = _nearest(sample, centers, threads)
        order = np.argsort(cell, kind="stable")
        used, first, size = np.unique(cell[order], return_index=True, return_counts=True)
        centers[used] = np.add.reduceat(sample[order], first, axis=0) / size[:, None]
    cell = _nearest(items, centers, threads)[told] if len(told) else told
    order = np.lexsort((told, -norms[told], cell))
    ids, ptr = told[order], np.searchsorted(cell[order], np.arange(len(centers) + 1)).astype(np.int64)
    rows, lengths = items[ids], norms[ids]
    return Cells(_reach(ptr, rows, lengths), ptr, ids, rows, lengths)


def search(cells: Cells, query: Float32, k: int, budget: int = BUDGET) -> tuple[Int32, Float32]:
    """About the k largest inner products with query, (d,): (ids, scores), best first, ties by smaller id.

    Cells are opened in the order of their reach until `budget` vectors were looked at; a cell is left as soon as no vector
    in it is long enough to matter (Cauchy and Schwarz). What is returned is exact, what is missed lies in cells never opened.
    """
    order = np.argsort(-(cells.reach @ query), kind="stable")
    return _search(cells, query, order, k, budget)


def search_cosine(cells: Cells, query: Float32, k: int, budget: int = BUDGET) -> tuple[Int32, Float32]:
    """About the k largest cosines with a query of length 1."""
    lengths = np.sqrt(np.einsum("cd,cd->c", cells.reach, cells.reach))
    order = np.argsort(-(cells.reach @ query) / np.maximum(lengths, np.float32(1e-12)), kind="stable")
    return _search(cells, query, order, k, -budget)


def _search(cells: Cells, query: Float32, order: Int64, k: int, budget: int) -> tuple[Int32, Float32]:
    k = max(0, min(k, len(cells.ids)))
    ids, scores = np.full((1, k), MISSING, np.int32), np.full((1, k), -np.inf, np.float32)
    if k:
        _scan(cells, np.ascontiguousarray(query, np.float32), order, budget, ids[0], scores[0])
        sort_heaps(ids, scores)
    found = ids[0] != MISSING
    return ids[0][found], scores[0][found]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _scan(cells: Cells, query: Float32, order: Int64, budget: int, ids: Int32, scores: Float32) -> None:
    """Offer vectors to the heap (ids, scores) cell by cell; below zero, budget means that many cosines."""
    d = len(query)
    length = np.float32(0)
    for f in range(d):
        length += query[f] * query[f]
    length = np.sqrt(length) * np.float32(1 + 1e-6)  # rounding must not cut what lies along the query
    seen = 0
    for cell in order:
        if seen >= abs(budget):
            break
        for j in range(cells.ptr[cell], cells.ptr[cell + 1]):
            if budget > 0 and cells.norms[j] * length < scores[0]:
                break
            seen += 1
            score: np.float32 = np.float32(0)
            for f in range(d):
                score += cells.rows[j, f] * query[f]
            if budget < 0:
                score /= cells.norms[j]
            if worse(scores[0], ids[0], score, cells.ids[j]):
                ids[0], scores[0] = cells.ids[j], score
                sink(ids, scores, 0, len(ids))


def _nearest(rows: Float32, centers: Float32, threads: int) -> Int32:
    """The center nearest to each row: the largest x . c - |c|^2 / 2."""
    out = np.empty(len(rows), np.int32)
    half = np.einsum("cd,cd->c", centers, centers) / np.float32(2)
    wide = np.ascontiguousarray(np.concatenate([centers, -half[:, None]], axis=1))
    for a in range(0, len(rows), 1 << 17):
        block = rows[a : a + (1 << 17)]
        block = np.concatenate([block, np.ones((len(block), 1), np.float32)], axis=1)
        out[a : a + len(block)] = top_k(block, wide, 1, threads)[0][:, 0]
    return out


def _reach(ptr: Int64, rows: Float32, lengths: Float32) -> Float32:
    out = np.zeros((len(ptr) - 1, rows.shape[1]), np.float32)
    used = np.flatnonzero(np.diff(ptr))
    if len(used):
        mean = np.add.reduceat(rows, ptr[used], axis=0)
        mean /= np.maximum(np.sqrt(np.einsum("cd,cd->c", mean, mean)), np.float32(1e-12))[:, None]
        out[used] = mean * lengths[ptr[used], None]  # the first of a cell is its longest
    return out
