"""Kernels over rows of vectors: marks against torn writes, the roll of who lives where, and scans that keep the best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.heaps import sink, sort_heaps, worse
from segue.core.types import MISSING, Bool, Float32, Int32, Int64

UInt32 = NDArray[np.uint32]
BLOCK = 2048
"""Rows that all queries look at before the next: they stay in the core's own cache."""


@njit(cache=True, nogil=True)
def marks(table: UInt32) -> UInt32:
    """A 32-bit checksum of each row of (n, 2 + d) words: the item, a place for the mark (left out), the vector. Never 0.

    Words are multiplied and mixed as in MurmurHash3 (Appleby 2011): one torn or flipped word changes the mark.
    """
    out = np.empty(len(table), np.uint32)
    for row in range(len(table)):
        h = np.uint32(0x9747B28C) ^ table[row, 0]
        h *= np.uint32(0xCC9E2D51)
        for word in range(2, table.shape[1]):
            k = table[row, word] * np.uint32(0xCC9E2D51)
            k = (k << np.uint32(15)) | (k >> np.uint32(17))
            h ^= k * np.uint32(0x1B873593)
            h = (h << np.uint32(13)) | (h >> np.uint32(19))
            h = h * np.uint32(5) + np.uint32(0xE6546B64)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        out[row] = h if h != 0 else np.uint32(1)
    return out


@njit(cache=True, nogil=True)
def call_the_roll(items: Int32, sound: Bool, first: int, names: Int32, row_of: Int32) -> int:
    """Take in rows first, first + 1, ... in order; the change in how many items have a row.

    items[i] >= 0: this row is the item's from now on; ~item: the item is forgotten. names (rows,) and row_of (items,) change
    in place; a row that is not sound, or no longer anybody's, has the name MISSING.
    """
    change = 0
    for i in range(len(items)):
        row, item = first + i, items[i]
        names[row] = MISSING
        if not sound[i]:
            continue
        gone = item < 0
        item = ~item if gone else item
        if row_of[item] != MISSING:
            names[row_of[item]] = MISSING
            change -= 1
        row_of[item] = MISSING
        if not gone:
            names[row], row_of[item] = item, row
            change += 1
    return change


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(row: Float32, query: Float32) -> Any:
    """The inner product: equal rows give equal bits, whatever stands beside them. Plain indices, or it is not vectorized."""
    score = np.float32(0)
    for f in range(len(query)):
        score += row[f] * query[f]
    return score


@njit(cache=True, nogil=True)
def scan_rows(rows: Float32, names: Int32, queries: Float32, ids: Int32, scores: Float32) -> None:
    """Offer every row that has a name to the heap of each query, a block of rows after another.

    rows (n, w >= d) contiguous: the vector is the end of a row, so a file whose rows begin otherwise is scanned as it is.
    """
    skip = rows.shape[1] - queries.shape[1]
    for first in range(0, len(rows), BLOCK):
        for q in range(len(queries)):
            for row in range(first, min(first + BLOCK, len(rows))):
                score = _dot(rows[row][skip:], queries[q])
                if score >= scores[q, 0] and names[row] >= 0 and worse(scores[q, 0], ids[q, 0], score, names[row]):
                    ids[q, 0], scores[q, 0] = names[row], score
                    sink(ids[q], scores[q], 0, ids.shape[1])


@njit(cache=True, nogil=True)
def scan_cells(
    cells: tuple[Int64, Int32, Float32], names: Int32, order: Int64, query: Float32, budget: int, best: tuple[Int32, Float32]
) -> int:
    """Offer the rows of cells (ptr, rows, vectors) to the heap `best`, cell by cell until `budget` were looked at; how many."""
    (ptr, rows, vectors), (ids, scores), seen = cells, best, 0
    for cell in order:
        if seen >= budget:
            break
        for j in range(ptr[cell], ptr[cell + 1]):
            score = _dot(vectors[j], query)
            if score >= scores[0]:
                name = names[rows[j]]
                if name >= 0 and worse(scores[0], ids[0], score, name):
                    ids[0], scores[0] = name, score
                    sink(ids, scores, 0, len(ids))
        seen += ptr[cell + 1] - ptr[cell]
    return seen


def heaps(queries: int, limit: int) -> tuple[Int32, Float32]:
    """Empty heaps: MISSING and -inf, (queries, limit) each."""
    return np.full((queries, limit), MISSING, np.int32), np.full((queries, limit), -np.inf, np.float32)


def lists(ids: Int32, scores: Float32) -> tuple[Int32, Float32]:
    """The heaps as lists, best first, equal scores by smaller id."""
    sort_heaps(ids, scores)
    return ids, scores
