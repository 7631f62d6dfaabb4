"""Row solvers of iALS: conjugate gradients in the eigenbasis of the Gramian, where its dense part is a diagonal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from segue.candidates.als.prefetch import prefetch
from segue.core.types import Float32, Int32, Int64

# Sums may be reordered (that is what makes them fast); every row is worked by one thread alone, in one order, so the same
# machine gives the same bits whatever the number of threads.
_AHEAD = 8
"""Entries to fetch ahead. A vector of 64 floats is four cache lines at a random place: without this, waiting for them is
most of a sweep (80 instead of 48 ns an entry at 170,000 x 70,000, d = 64)."""
_LINE = 16
_MATH = {"reassoc", "contract", "nsz", "arcp", "afn"}


class System(NamedTuple):
    """The least-squares problems of one half-sweep, one a row.

    Row u minimizes  sum_j (a_j s_j^2 - 2 b_j s_j) + x . (diag(diagonal) + reg[u]) x  with s_j = other[idx[j]] . x over its
    entries j in ptr[u]:ptr[u + 1], where a_j = |val[j]|, and b_j = a_j + shift if val[j] > 0, else 0. `other` is expressed
    in the eigenbasis of its Gramian, which is why the part that every unobserved pair adds is a diagonal.
    """

    ptr: Int64  # (rows + 1,)
    idx: Int32  # (entries,) rows of other
    val: Float32  # (entries,) confidence, negative where the target is 0
    other: Float32  # (n, d)
    diagonal: Float32  # (d,)
    reg: Float32  # (rows,)
    shift: np.float32


@njit(cache=True, nogil=True, fastmath=_MATH, error_model="numpy")
def _apply(s: System, begin: int, end: int, p: Float32, q: Float32) -> None:
    """q += sum over entries of a * (other . p) * other; four entries at a time hide the latency of the sums."""
    d = p.shape[0]
    j = begin
    while j + 4 <= end:
        i0, i1, i2, i3 = s.idx[j], s.idx[j + 1], s.idx[j + 2], s.idx[j + 3]
        s0 = s1 = s2 = s3 = np.float32(0)
        for f in range(d):
            s0 += s.other[i0, f] * p[f]
            s1 += s.other[i1, f] * p[f]
            s2 += s.other[i2, f] * p[f]
            s3 += s.other[i3, f] * p[f]
        s0 *= abs(s.val[j])
        s1 *= abs(s.val[j + 1])
        s2 *= abs(s.val[j + 2])
        s3 *= abs(s.val[j + 3])
        for f in range(d):
            q[f] += (s0 * s.other[i0, f] + s1 * s.other[i1, f]) + (s2 * s.other[i2, f] + s3 * s.other[i3, f])
        j += 4
    while j < end:
        i0 = s.idx[j]
        s0 = np.float32(0)
        for f in range(d):
            s0 += s.other[i0, f] * p[f]
        s0 *= abs(s.val[j])
        for f in range(d):
            q[f] += s0 * s.other[i0, f]
        j += 1


@njit(cache=True, nogil=True, fastmath=_MATH, error_model="numpy")
def _residual(s: System, begin: int, end: int, x: Float32, r: Float32) -> float:
    """r += sum over entries of (b - a s) other; returns the sum of a s^2 - 2 b s."""
    d = x.shape[0]
    value = 0.0
    for j in range(begin, end):
        if j + _AHEAD < len(s.idx):  # runs on into the next row on purpose
            for f in range(0, d, _LINE):
                prefetch(s.other, s.idx[j + _AHEAD], f)
        i = s.idx[j]
        score = np.float32(0)
        for f in range(d):
            score += s.other[i, f] * x[f]
        a = abs(s.val[j])
        b = a + s.shift if s.val[j] > 0 else np.float32(0)
        value += score * (a * score - 2 * b)
        e = b - a * score
        for f in range(d):
            r[f] += e * s.other[i, f]
    return value


@njit(cache=True, nogil=True, fastmath=_MATH, error_model="numpy")
def _solve_row(s: System, u: int, x: Float32, work: Float32, steps: int) -> np.float64:
    """Improve x, (d,), by conjugate gradients from where it stands; returns the value it reaches. work is (5, d) scratch."""
    d = x.shape[0]
    r, p, q, dense, inverse = work[0], work[1], work[2], work[3], work[4]
    lo, hi = s.ptr[u], s.ptr[u + 1]
    value = np.float64(0)
    for f in range(d):
        dense[f] = s.diagonal[f] + s.reg[u]
        inverse[f] = 1 / dense[f]
        r[f] = -dense[f] * x[f]
        value -= r[f] * x[f]
    value += _residual(s, lo, hi, x, r)
    rz = np.float32(0)
    for f in range(d):
        p[f] = r[f] * inverse[f]
        rz += r[f] * p[f]
    floor = np.float32(1e-18)  # what a step would gain; below, float32 has nothing left to improve and p . q underflows
    for _ in range(steps):
        if rz <= floor:
            break
        for f in range(d):
            q[f] = dense[f] * p[f]
        _apply(s, lo, hi, p, q)
        pq = np.float32(0)
        for f in range(d):
            pq += p[f] * q[f]
        alpha = rz / pq
        value -= alpha * rz  # what a step along p lowers the row's value by
        fresh = np.float32(0)
        for f in range(d):
            x[f] += alpha * p[f]
            r[f] -= alpha * q[f]
            fresh += r[f] * r[f] * inverse[f]
        beta = fresh / rz
        rz = fresh
        for f in range(d):
            p[f] = r[f] * inverse[f] + beta * p[f]
    return value


@njit(cache=True, nogil=True)
def solve_rows(s: System, out: Float32, begin: int, end: int, steps: int) -> float:
    """Improve rows [begin, end) of out, (rows, d), by at most `steps` steps each; the sum of the values reached.

    The diagonal is also the preconditioner, so a row of n entries is exact after n + 1 steps and close after two or three.
    Rows without entries become zero, which is their solution (Hu, Koren and Volinsky 2008; the steps after Takacs et al. 2011).
    """
    work = np.empty((5, s.other.shape[1]), np.float32)
    total = 0.0
    for u in range(begin, end):
        if s.ptr[u] == s.ptr[u + 1]:
            out[u, :] = 0
        else:
            total += _solve_row(s, u, out[u], work, steps)
    return total


@njit(cache=True, nogil=True, fastmath=_MATH)
def observed_value(s: System, rows: Float32, begin: int, end: int) -> float:
    """Sum of a s^2 - 2 b s over the entries of rows [begin, end): the part of the loss that no Gramian gives."""
    value = 0.0
    unused = np.empty(s.other.shape[1], np.float32)
    for u in range(begin, end):
        unused[:] = 0
        value += _residual(s, s.ptr[u], s.ptr[u + 1], rows[u], unused)
    return value
