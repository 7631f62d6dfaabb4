"""The loops behind the wide features: means of song vectors, cosines of the candidates with them, the listener's ways."""

from __future__ import annotations

from math import log, log1p, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import Bool, Float32, Int32, Int64

SESSION_GAP_MS = HOUR_MS // 2
FADES = 0.95
"""How much less each song before weighs in the mean vectors, as in features.taste."""
_LEAST = 1e-9
_LINE = 16


@njit(cache=True, nogil=True)
def fill_vectors(
    out: Float32, table: Float32, items: Int32, user: Float32, told: tuple[Int32, NDArray[np.float32], Bool]
) -> np.float32:
    """Write the columns of wide.GROUPS["vectors"] into out (n, 4), zeros so far; user (d,) or (0,) for a stranger.

    Rows of the table lie apart in memory. So all are touched first, a float of every cache line, without waiting for one
    another; the sum of these is returned only to keep that.
    """
    touched = np.float32(0.0)
    for ids in (items, told[0]):
        for i in range(len(ids)):
            if 0 <= ids[i] < len(table):
                for c in range(0, table.shape[1], _LINE):
                    touched += table[ids[i], c]
    theirs = np.zeros((4, table.shape[1]), np.float32)
    theirs[0, : len(user)] = user
    mean_vectors(table, told, theirs)
    liken(table, items, np.ascontiguousarray(theirs.T), out)
    standardize(out)
    return touched


@njit(cache=True, nogil=True)
def standardize(out: Float32) -> None:
    """The first column in deviations from its mean."""
    n = max(len(out), 1)
    mean, square = 0.0, 0.0
    for i in range(len(out)):
        mean += out[i, 0] / n
    for i in range(len(out)):
        square += (out[i, 0] - mean) ** 2 / n
    for i in range(len(out)):
        out[i, 0] = (out[i, 0] - mean) / (sqrt(square) + 1e-6)


@njit(cache=True, nogil=True)
def mean_vectors(table: Float32, told: tuple[Int32, NDArray[np.float32], Bool], theirs: Float32) -> None:
    """Unit vectors into theirs[1:] (3, d): mean of the songs wanted, of those in this session, and the newest; zeros for none.

    told: items, signal, in this session (r,), newest first. Every song counts by its direction; those beyond the table not.
    """
    items, signal, here = told
    d, weight, newest = table.shape[1], 1.0, True
    for j in range(len(items)):
        if signal[j] <= 0 or items[j] < 0 or items[j] >= len(table):
            continue
        size = 0.0
        for c in range(d):
            size += table[items[j], c] * table[items[j], c]
        scale = weight / (sqrt(size) + _LEAST)
        for c in range(d):
            value = np.float32(table[items[j], c] * scale)
            theirs[1, c] += value
            if here[j]:
                theirs[2, c] += value
            if newest:
                theirs[3, c] = value
        weight *= FADES
        newest = False
    for row in range(1, 4):
        size = 0.0
        for c in range(d):
            size += theirs[row, c] * theirs[row, c]
        for c in range(d):
            theirs[row, c] /= sqrt(size) + _LEAST


@njit(cache=True, nogil=True)
def liken(table: Float32, items: Int32, theirs: Float32, out: Float32) -> None:
    """Inner products of the items' vectors with theirs (d, 4) into out (n, 4), by their length but for the first; 0 beyond the
    table. The innermost loop is over the four, so that they are summed side by side in the order of the dimensions."""
    sums = np.empty(4, np.float32)
    for i in range(len(items)):
        item = items[i]
        if item < 0 or item >= len(table):
            continue
        sums[:] = 0
        size = np.float32(0.0)
        for c in range(table.shape[1]):
            value = table[item, c]
            size += value * value
            for t in range(4):
                sums[t] += value * theirs[c, t]
        root = np.float32(sqrt(size) + _LEAST)
        out[i, 0] = sums[0]
        for t in range(1, 4):
            out[i, t] = sums[t] / root


@njit(cache=True, nogil=True)
def ways(at: Int64, signal: NDArray[np.float32], now: int, out: Float32) -> None:
    """The five numbers of wide._ways from plays and votes (r,), newest first, r > 0; a clock that is ahead counts as now."""
    runs, refused = 1, 0
    for j in range(1, len(at)):
        runs += at[j - 1] - at[j] > SESSION_GAP_MS
    for j in range(len(at)):
        if signal[j] > 0:
            break
        refused += signal[j] < 0
    out[0], out[1] = log1p(len(at)), log1p(max(now - at[-1], 0) / DAY_MS)
    out[2], out[3], out[4] = log1p(max(now - at[0], 0) / HOUR_MS), log(len(at) / runs), refused


@njit(cache=True, nogil=True)
def count_groups(user: Int32, item: Int32, group: Int32, out: Float32) -> None:
    """out[song, group of the listener] += 1 for plays (m,); group (u,), those below 0 or beyond out (n, groups) do not count.

    float32 counts are exact up to 16 million plays of a song by a group.
    """
    for i in range(len(user)):
        theirs = group[user[i]]
        if 0 <= theirs < out.shape[1]:
            out[item[i], theirs] += 1


@njit(cache=True, nogil=True)
def fill_hours(out: Float32, hours: NDArray[np.uint16], weights: NDArray[np.float64]) -> None:
    """Write the columns of wide.GROUPS["hours"] into out (n, 2) from listeners by hour (n, 24): log(1 + the weighted sum) and
    log(1 + the sum), each less its mean over the candidates."""
    mean = np.zeros(2)
    for i in range(len(out)):
        lately, day = 0.0, 0.0
        for k in range(hours.shape[1]):
            lately += weights[k] * hours[i, k]
            day += hours[i, k]
        out[i, 0], out[i, 1] = log1p(lately), log1p(day)
        mean[0] += out[i, 0] / len(out)
        mean[1] += out[i, 1] / len(out)
    for i in range(len(out)):
        out[i, 0] -= mean[0]
        out[i, 1] -= mean[1]
