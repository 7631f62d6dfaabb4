"""Shelves (an artist's songs, an album's, a tag's, best first) and the taste of listeners for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.candidates._sparse import frozen, slot_of, table_for, take_top
from segue.core.types import Float32, History, Int8, Int32, Int64, Items

DAY_S = 86_400.0


class Shelves(NamedTuple):
    """CSR: shelf -> items with scores, best first, ties by smaller item id."""

    ptr: Int64
    items: Int32
    scores: Float32


class Taste(NamedTuple):
    """CSR: listener -> shelves with weights in [-1, 1], strongest first."""

    ptr: Int64
    shelves: Int32
    weights: Float32

    def of(self, user: int) -> tuple[Int32, Float32]:
        """Shelves and weights of a listener; nothing for one who is not known."""
        if not 0 <= user < len(self.ptr) - 1:
            return self.shelves[:0], self.weights[:0]
        row = slice(int(self.ptr[user]), int(self.ptr[user + 1]))
        return self.shelves[row], self.weights[row]


def shelve(shelf: NDArray[np.integer], items: Int32, scores: Float32, n_shelves: int, cap: int) -> Shelves:
    """Put entries (shelf, item, score) on n_shelves shelves, the best `cap` on each; entries outside are left out."""
    inside = np.flatnonzero((shelf >= 0) & (shelf < n_shelves))
    order = inside[np.lexsort((items[inside], -scores[inside], shelf[inside]))]
    ordered = shelf[order]
    ptr = np.searchsorted(ordered, np.arange(n_shelves + 1))
    kept = np.arange(len(order)) - ptr[ordered] < cap
    sizes = np.minimum(np.diff(ptr), cap)
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    order = order[kept]
    return Shelves(frozen(ends, np.int64), frozen(items[order], np.int32), frozen(scores[order], np.float32))


def width(ids: Int32) -> int:
    """How many dense ids a column may hold: 1 + the largest, 0 when none."""
    return int(ids.max(initial=-1)) + 1


def one_each(column: Int32) -> tuple[Int64, Int32]:
    """A column as CSR with one entry a row."""
    return np.arange(len(column) + 1, dtype=np.int64), np.ascontiguousarray(column, np.int32)


def decayed_plays(history: History, half_life_days: float) -> tuple[Float32, Float32]:
    """(finishes, skips) of each item, each play 2^(-age / half_life): 2 x (n_items,) float32."""
    finishes, skips = _decayed(
        np.ascontiguousarray(history.item, np.int32),
        np.ascontiguousarray(history.signal, np.int8),
        np.ascontiguousarray(history.at, np.uint32),
        history.n_items,
        np.array([history.now / 1000.0, half_life_days * DAY_S]),
    )
    return finishes.astype(np.float32), skips.astype(np.float32)


def learn_taste(history: History, groups: tuple[Int64, Int32], half_life_days: float, top: int) -> Taste:
    """Finishes minus skips, decayed by age, of each listener for each group of items (CSR item -> groups).

    The `top` strongest of each listener, scaled so that the strongest is 1 or -1.
    """
    ptr, shelves, weights = _taste(
        history.user_ptr(),
        np.ascontiguousarray(history.item, np.int32),
        np.ascontiguousarray(history.signal, np.int8),
        np.ascontiguousarray(history.at, np.uint32),
        groups,
        np.array([history.now / 1000.0, half_life_days * DAY_S]),
        top,
    )
    return Taste(frozen(ptr, np.int64), frozen(shelves, np.int32), frozen(weights, np.float32))


def tags_of(facts: Items, items: Int32) -> tuple[Int64, Int32]:
    """The tags of some items: (place into items, tag), one row a tag."""
    sizes = facts.tags_ptr[items + 1] - facts.tags_ptr[items]
    place = np.repeat(np.arange(len(items)), sizes)
    first = np.repeat(facts.tags_ptr[items] - np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)[:-1])), sizes)
    return place, np.asarray(facts.tags)[first + np.arange(len(place))]


@njit(cache=True, nogil=True)
def _decayed(
    item: Int32, signal: Int8, at: NDArray[np.uint32], n: int, settings: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    finishes, skips = np.zeros(n, np.float64), np.zeros(n, np.float64)
    for row in range(len(item)):
        if signal[row] != 0:
            weight = 2.0 ** (-(settings[0] - at[row]) / settings[1])
            if signal[row] > 0:
                finishes[item[row]] += weight
            else:
                skips[item[row]] += weight
    return finishes, skips


@njit(cache=True, nogil=True)
def _taste(
    user_ptr: Int64,
    item: Int32,
    signal: Int8,
    at: NDArray[np.uint32],
    groups: tuple[Int64, Int32],
    settings: NDArray[np.float64],
    top: int,
) -> tuple[Int64, Int32, Float32]:
    n_users = len(user_ptr) - 1
    group_ptr, group = groups
    out_ptr = np.zeros(n_users + 1, np.int64)
    room = 0
    for u in range(n_users):
        room += min(top, _entries(user_ptr[u], user_ptr[u + 1], item, group_ptr))
    out_group, out_weight = np.empty(room, np.int32), np.empty(room, np.float32)
    end = 0
    for u in range(n_users):
        table = table_for(_entries(user_ptr[u], user_ptr[u + 1], item, group_ptr))
        sums = np.zeros(len(table), np.float64)
        for row in range(user_ptr[u], user_ptr[u + 1]):
            weight = signal[row] * 2.0 ** (-(settings[0] - at[row]) / settings[1])
            for e in range(group_ptr[item[row]], group_ptr[item[row] + 1]):
                if group[e] >= 0:
                    place = slot_of(table, group[e])
                    table[place] = group[e]
                    sums[place] += weight
        used = np.flatnonzero(sums != 0)
        best, strength = take_top(table[used], np.abs(sums[used]).astype(np.float32), top)
        for b in range(len(best)):
            out_group[end + b] = best[b]
            out_weight[end + b] = sums[slot_of(table, best[b])] / max(strength[0], 1e-30)
        end += len(best)
        out_ptr[u + 1] = end
    return out_ptr, out_group[:end].copy(), out_weight[:end].copy()


@njit(cache=True, nogil=True)
def _entries(first: int, last: int, item: Int32, group_ptr: Int64) -> int:
    n = 0
    for row in range(first, last):
        n += group_ptr[item[row] + 1] - group_ptr[item[row]]
    return n
