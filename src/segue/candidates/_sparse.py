"""Kernels over CSR arrays that the neighbour sources share: grouping rows, pulling weighted rows together, keeping the best.

A request touches a few thousand cells of a million, so sums go into a small hash table made for the request: nothing is
shared between threads and nothing of the size of the catalogue is cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.heaps import sink, worse
from segue.core.types import Float32, Int32, Int64, Scored

EMPTY = -1


def frozen(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """A contiguous, read-only, plain view (a copy only when dtype or layout differ).

    Learned arrays take one form however they came to be (fitted, loaded, memory-mapped), so a kernel is compiled once.
    """
    view = np.asarray(np.ascontiguousarray(array, dtype=dtype)).view()
    view.setflags(write=False)
    return view


def taken(arrays: Mapping[str, NDArray[np.generic]], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """frozen(arrays[name]): for load()."""
    return frozen(arrays[name], dtype)


@njit(cache=True, nogil=True)
def group_rows(keys: Int32, n: int) -> tuple[Int64, Int32]:
    """Rows by key, a stable counting sort: ptr (n + 1,), rows; keys outside 0..n-1 are left out. O(len + n)."""
    ptr = np.zeros(n + 1, np.int64)
    for key in keys:
        if 0 <= key < n:
            ptr[key + 1] += 1
    for i in range(n):
        ptr[i + 1] += ptr[i]
    rows = np.empty(ptr[n], np.int32)
    for row in range(len(keys)):
        key = keys[row]
        if 0 <= key < n:
            rows[ptr[key]] = row
            ptr[key] += 1
    for i in range(n, 0, -1):  # the fill moved every start to its end: shift back
        ptr[i] = ptr[i - 1]
    ptr[0] = 0
    return ptr, rows


@njit(cache=True, nogil=True)
def slot_of(table: Int32, key: int) -> int:
    """Place of the key in an open-addressing table (a power of two long, EMPTY where free), or the free place for it."""
    mask = len(table) - 1
    place = ((key * 0x9E3779B1) >> 7) & mask
    while table[place] != EMPTY and table[place] != key:
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def table_for(n: int) -> Int32:
    """A free table that n distinct keys fill at most to a half."""
    size = 16
    while size < 2 * n:
        size *= 2
    return np.full(size, EMPTY, np.int32)


@njit(cache=True, nogil=True)
def take_top(items: Int32, scores: Float32, limit: int) -> tuple[Int32, Float32]:
    """The best `limit` of (items, scores), best first, ties by smaller item id: a heap, O(n log limit); inputs are kept."""
    k = max(0, min(limit, len(items)))
    top, best = items[:k].copy(), scores[:k].copy()
    if k == 0:
        return top, best
    for start in range(k // 2 - 1, -1, -1):
        sink(top, best, start, k)
    for i in range(k, len(items)):
        if worse(best[0], top[0], scores[i], items[i]):
            top[0], best[0] = items[i], scores[i]
            sink(top, best, 0, k)
    for last in range(k - 1, 0, -1):  # worst to the end, again and again: best first remains
        top[0], top[last] = top[last], top[0]
        best[0], best[last] = best[last], best[0]
        sink(top, best, 0, last)
    return top, best


@njit(cache=True, nogil=True)
def keep_positive(table: Int32, sums: NDArray[np.float64], limit: int) -> tuple[Int32, Float32]:
    """The best `limit` keys of a table whose sum is above zero."""
    items = np.empty(len(table), np.int32)
    scores = np.empty(len(table), np.float32)
    n = 0
    for place in range(len(table)):
        score = np.float32(sums[place])
        if table[place] != EMPTY and score > 0:
            items[n], scores[n] = table[place], score
            n += 1
    return take_top(items[:n], scores[:n], limit)


@njit(cache=True, nogil=True)
def pull(
    rows: Int32, weights: Float32, ptr: Int64, items: Int32, scores: Float32, cap: int, limit: int
) -> tuple[Int32, Float32]:
    """sum_r weights[r] * CSR row rows[r] (its first `cap` entries), the best `limit` above zero; ties by smaller id.

    Rows outside the matrix are left out. The work is len(rows) * cap, whatever the size of the catalogue.
    """
    total = 0
    n_rows = len(ptr) - 1
    for row in rows:
        if 0 <= row < n_rows:
            total += min(cap, ptr[row + 1] - ptr[row])
    table = table_for(total)
    sums = np.zeros(len(table), np.float64)
    for r in range(len(rows)):
        row = rows[r]
        if 0 <= row < n_rows:
            for e in range(ptr[row], min(ptr[row + 1], ptr[row] + cap)):
                place = slot_of(table, items[e])
                table[place] = items[e]
                sums[place] += np.float64(weights[r]) * scores[e]
    return keep_positive(table, sums, limit)


@njit(cache=True, nogil=True)
def strongest(items: Int32, weights: Float32, ptr: Int64, near: Int32, weight: Float32, wanted: Int32) -> Int32:
    """Per wanted item (k,) the one of `items` whose row pulls it most (weight times entry), MISSING where no row has it."""
    out = np.full(len(wanted), -1, np.int32)
    best = np.zeros(len(wanted))
    for i in range(len(items)):
        item = items[i]
        if weights[i] <= 0 or item < 0 or item + 1 >= len(ptr):
            continue
        for e in range(ptr[item], ptr[item + 1]):
            for k in range(len(wanted)):
                if near[e] == wanted[k] and weights[i] * weight[e] > best[k]:
                    best[k] = weights[i] * weight[e]
                    out[k] = item
    return out


def scored(answer: tuple[Int32, Float32]) -> Scored:
    """A kernel's answer as the port wants it."""
    return Scored(answer[0], answer[1])
