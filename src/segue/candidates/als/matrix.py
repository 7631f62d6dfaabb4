"""Who wanted what, as a sparse matrix of confidences: built from the history in two passes, transposed by a counting sort."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.types import Float32, History, Int8, Int32, Int64


class Confidences(NamedTuple):
    """A sparse matrix by rows: row u has the columns idx[ptr[u]:ptr[u + 1]], distinct, in any order.

    val > 0: wanted, with that confidence (target 1). val < 0: not wanted, with confidence -val (target 0). Absent: unknown.
    8 bytes an entry.
    """

    ptr: Int64  # (rows + 1,)
    idx: Int32  # (entries,)
    val: Float32  # (entries,)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.ptr) - 1

    def mass(self) -> Float32:
        """Sum of the confidences of each row, (rows,) float32."""
        sums = np.zeros(self.rows + 1)
        np.cumsum(row_sums(self.ptr, self.val), out=sums[1:])
        return np.diff(sums).astype(np.float32)


@njit(cache=True, nogil=True)
def row_sums(ptr: Int64, val: Float32) -> NDArray[np.float64]:
    """Sum of |val| of each row, (rows,) float64."""
    out = np.zeros(len(ptr) - 1)
    for u in range(len(out)):
        for j in range(ptr[u], ptr[u + 1]):
            out[u] += abs(val[j])
    return out


def column_sums(entries: Confidences, columns: int) -> Float32:
    """Sum of the confidences of each column, (columns,) float32."""
    out = np.zeros(columns)
    for a in range(0, len(entries.idx), 1 << 22):
        out += np.bincount(entries.idx[a : a + (1 << 22)], np.abs(entries.val[a : a + (1 << 22)]), columns)
    return out.astype(np.float32)


@njit(cache=True, nogil=True)
def _collect(
    rows: Int64, columns: tuple[Int32, NDArray[np.uint32], Int8], since: int, curve: Float32, net: Int32, out: Confidences
) -> int:
    """Fill out with the net signal of every pair, through curve; net is a zeroed counter per item. Returns the entries."""
    item, at, signal = columns
    top = len(curve) - 1
    n = 0
    for u in range(len(rows) - 1):
        first = n
        for j in range(rows[u], rows[u + 1]):
            if signal[j] == 0 or at[j] < since:
                continue
            i = item[j]
            if net[i] == 0:  # new, or back at zero: the list below may hold it twice, the second finds nothing left
                out.idx[n] = i
                n += 1
            net[i] += signal[j]
        last = n
        n = first
        for j in range(first, last):
            i = out.idx[j]
            count = net[i]
            if count != 0:
                out.idx[n] = i
                out.val[n] = curve[min(count, top)] if count > 0 else -curve[0] * curve[min(-count, top)]
                n += 1
            net[i] = 0
        out.ptr[u + 1] = n
    return n


def confidence_curve(repeat_weight: float, skip_weight: float) -> Float32:
    """curve[n] = 1 + repeat_weight * ln n, the confidence after a net n signals (n >= 1); curve[0] holds skip_weight."""
    counts = np.maximum(np.arange(1024), 1)
    curve = (1.0 + repeat_weight * np.log(counts)).astype(np.float32)
    curve[0] = skip_weight
    return curve


def confidences(history: History, since: int, curve: Float32) -> Confidences:
    """The net signals of each (user, item) from `since` (seconds) on; pairs that cancel out are unknown.

    +n becomes curve[n], -n becomes -curve[0] * curve[n] (see confidence_curve). Memory: 8 bytes a pair, since pages that are
    reserved for more than that are given back untouched.
    """
    m = len(history)
    out = Confidences(np.zeros(history.n_users + 1, np.int64), np.empty(m, np.int32), np.empty(m, np.float32))
    columns = (history.item, history.at, history.signal)
    net = np.zeros(history.n_items, np.int32)
    n = _collect(history.user_ptr(), columns, since, curve, net, out)
    # numpy reserves address space, the system gives pages when they are written: shrinking in place keeps it at n entries
    out.idx.resize(n, refcheck=False)
    out.val.resize(n, refcheck=False)
    return out


@njit(cache=True, nogil=True)
def _scatter(entries: Confidences, out: Confidences) -> None:
    """Counting sort by column; within a column rows ascend."""
    for j in range(len(entries.idx)):
        out.ptr[entries.idx[j] + 1] += 1
    for i in range(len(out.ptr) - 1):
        out.ptr[i + 1] += out.ptr[i]
    place = out.ptr[:-1].copy()
    for u in range(len(entries.ptr) - 1):
        for j in range(entries.ptr[u], entries.ptr[u + 1]):
            i = entries.idx[j]
            out.idx[place[i]] = u
            out.val[place[i]] = entries.val[j]
            place[i] += 1


def transpose(entries: Confidences, columns: int) -> Confidences:
    """The same matrix by columns: `columns` rows of it, each ascending."""
    n = len(entries.idx)
    out = Confidences(np.zeros(columns + 1, np.int64), np.empty(n, np.int32), np.empty(n, np.float32))
    _scatter(entries, out)
    return out
