"""The loops of the dataset that numpy has no bounded-memory form of: counting sort by user, merge sort within, sessions."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.types import Float32, Int8, Int16, Int32, Int64

UInt32 = NDArray[np.uint32]


@njit(cache=True, nogil=True)
def count_users(user: Int32, counts: Int64) -> None:
    """counts[u] += rows of u: a bincount that does not build a new table for every chunk."""
    for i in range(len(user)):
        counts[user[i]] += 1


@njit(cache=True, nogil=True)
def place_rows(user: Int32, cursor: Int64, place: UInt32) -> None:
    """Where each row goes into place (n,), which may be the memory of user; cursor (n_users,) is each user's next place."""
    for i in range(len(user)):
        u = user[i]
        place[i] = cursor[u]
        cursor[u] += 1


@njit(cache=True, nogil=True)
def scatter(values: NDArray[np.generic], place: UInt32, out: NDArray[np.generic]) -> None:
    """out[place] = values, without the 64-bit copy of `place` that numpy's indexing makes."""
    for i in range(len(values)):
        out[place[i]] = values[i]


@njit(cache=True, nogil=True)
def _before(a: int, b: int, at: UInt32, mark: UInt32, position: Int16) -> bool:
    """Whether row a stands strictly before row b by (at, mark, position)."""
    if at[a] != at[b]:
        return bool(at[a] < at[b])
    if mark[a] != mark[b]:
        return bool(mark[a] < mark[b])
    return bool(position[a] < position[b])


@njit(cache=True, nogil=True)
def _merge_order(start: int, stop: int, at: UInt32, mark: UInt32, position: Int16) -> Int64:
    """Stable order of rows start:stop as absolute row numbers: a bottom-up merge sort."""
    n = stop - start
    order = np.arange(start, stop)
    other = np.empty(n, np.int64)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            mid = min(low + width, n)
            high = min(low + 2 * width, n)
            left = low
            right = mid
            for k in range(low, high):
                take_right = left == mid or (right < high and _before(order[right], order[left], at, mark, position))
                if take_right:
                    other[k] = order[right]
                    right += 1
                else:
                    other[k] = order[left]
                    left += 1
        order, other = other, order
        width *= 2
    return order


@njit(cache=True, nogil=True)
def sort_users(
    ptr: Int64, order_by: tuple[UInt32, UInt32, Int16], item: Int32, signal: Int8, share: NDArray[np.uint16], device: Int8
) -> None:
    """Sort the rows ptr[u]:ptr[u + 1] of every user by order_by = (at, mark, position), ties as they stand, in place.

    A log is mostly in order of time already, so users in order are only read.
    """
    at, mark, position = order_by
    for user in range(len(ptr) - 1):
        start, stop = ptr[user], ptr[user + 1]
        sorted_already = True
        for i in range(start + 1, stop):
            if _before(i, i - 1, at, mark, position):
                sorted_already = False
                break
        if sorted_already:
            continue
        order = _merge_order(start, stop, at, mark, position)
        at[start:stop] = at[order]
        mark[start:stop] = mark[order]
        position[start:stop] = position[order]
        item[start:stop] = item[order]
        signal[start:stop] = signal[order]
        share[start:stop] = share[order]
        device[start:stop] = device[order]


@njit(cache=True, nogil=True)
def number_sessions(ptr: Int64, at: UInt32, mark: UInt32, session: Int32, gap_s: int) -> None:
    """Dense session numbers from 0, written over `session`, which may be the memory of `mark`.

    A row starts a session if it is the first of its user, or names another session than the last one named in this
    session, or names none and comes more than gap_s after the row before. A name outlives any gap.
    """
    number = -1
    for user in range(len(ptr) - 1):
        current = np.uint32(0)
        for i in range(ptr[user], ptr[user + 1]):
            name = mark[i]
            if i == ptr[user]:
                fresh = True
            elif name != 0:
                fresh = name != current
            else:
                fresh = at[i] - at[i - 1] > gap_s
            if fresh:
                number += 1
                current = name
            session[i] = number


@njit(cache=True, nogil=True)
def fresh_shares(user: Int32, item: Int32, at: UInt32, life_s: float) -> Float32:
    """What each row counts for popularity, (n,) float32: the online state's fold.fresh_share, for rows sorted by (user, at).

    The first row of a listener and a song counts 1, later ones a half, a quarter, ... or what decay took since the last one.
    """
    out = np.ones(len(user), np.float32)
    table, times, last = np.full(16, -1, np.int32), np.zeros(16, np.int32), np.zeros(16, np.uint32)
    start = 0
    while start < len(user):
        stop = start
        while stop < len(user) and user[stop] == user[start]:
            stop += 1
        size = 16
        while size < 2 * (stop - start):
            size *= 2
        if size > len(table):
            table, times, last = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.uint32)
        table[:size] = -1
        for row in range(start, stop):
            place = (item[row] * 0x9E3779B1) & (size - 1)
            while table[place] != -1 and table[place] != item[row]:
                place = (place + 1) & (size - 1)
            if table[place] == -1:
                table[place], times[place] = item[row], 0
            else:
                lives = (np.float64(at[row]) - np.float64(last[place])) / life_s
                out[row] = max(-np.expm1(-np.log(2.0) * lives), np.exp2(-float(min(times[place], 1000))))
            times[place] += 1
            last[place] = at[row]
        start = stop
    return out
