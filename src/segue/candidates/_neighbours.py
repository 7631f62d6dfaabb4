"""Nearest groups (sessions, listeners) through a capped inverted index, and what they offer: one kernel pair for both kNNs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.candidates._sparse import group_rows, keep_positive, slot_of, table_for, taken
from segue.core.types import Arrays, Float32, Int32, Int64

MAX_PLACE = 65_535


@dataclass(frozen=True)
class Groups:
    """Groups of items in order and the way back. Entries of `items` are ~item where the group turned the item away.

    ptr (g + 1,), items (e,): the contents. index_ptr (n_items + 1,), index_group and index_place (f,): for each item the
    groups that finished it, at most `sample`, the latest. idf (n_items,) = log(1 + groups / groups with the item).
    """

    ptr: Int64
    items: Int32
    index_ptr: Int64
    index_group: Int32
    index_place: NDArray[np.uint16]
    idf: Float32

    @staticmethod
    def empty() -> Groups:
        """No groups at all."""
        nothing = np.zeros(0, np.int32)
        place = np.zeros(0, np.uint16)
        return Groups(np.zeros(1, np.int64), nothing, np.zeros(1, np.int64), nothing, place, nothing.astype(np.float32))

    def arrays(self) -> Arrays:
        """The columns by name."""
        return dict(vars(self))

    @staticmethod
    def of(arrays: Mapping[str, NDArray[np.generic]]) -> Groups:
        """The inverse of arrays(); other names are ignored, nothing is copied."""
        return Groups(
            taken(arrays, "ptr", np.int64),
            taken(arrays, "items", np.int32),
            taken(arrays, "index_ptr", np.int64),
            taken(arrays, "index_group", np.int32),
            taken(arrays, "index_place", np.uint16),
            taken(arrays, "idf", np.float32),
        )

    def frozen(self) -> Groups:
        """Read-only, contiguous: the form that the kernels are compiled for."""
        return Groups.of(self.arrays())


def build_groups(
    group: Int32, item: Int32, liked: NDArray[np.bool_], at: NDArray[np.uint32], shape: tuple[int, int], sample: int
) -> Groups:
    """Groups from rows in order (group ascending, oldest first); shape = (n_groups, n_items)."""
    n_groups, n_items = shape
    ptr = np.searchsorted(group, np.arange(n_groups + 1)).astype(np.int64)
    by_item = group_rows(np.where(liked, item, np.int32(-1)), n_items)
    newest = np.zeros(n_groups, np.uint32)
    filled = ptr[1:] > ptr[:-1]
    newest[filled] = at[ptr[1:][filled] - 1]
    index_ptr, index_group, index_place, degree = _index(by_item, group, ptr, newest, sample)
    idf = np.log1p(np.count_nonzero(filled) / np.maximum(degree, 1)).astype(np.float32)
    return Groups(ptr, np.where(liked, item, ~item), index_ptr, index_group, index_place, idf).frozen()


@njit(cache=True, nogil=True)
def _index(
    by_item: tuple[Int64, Int32], group: Int32, ptr: Int64, newest: NDArray[np.uint32], sample: int
) -> tuple[Int64, Int32, NDArray[np.uint16], Int64]:
    """For each item its latest `sample` groups (ties: the smaller group), once each at its last place; and its degree."""
    item_ptr, rows = by_item
    n_items = len(item_ptr) - 1
    out_ptr = np.zeros(n_items + 1, np.int64)
    degree = np.zeros(n_items, np.int64)
    for i in range(n_items):
        for e in range(item_ptr[i], item_ptr[i + 1]):
            if e == item_ptr[i] or group[rows[e]] != group[rows[e - 1]]:
                degree[i] += 1
        out_ptr[i + 1] = out_ptr[i] + min(degree[i], sample)
    out_group = np.empty(out_ptr[n_items], np.int32)
    out_place = np.empty(out_ptr[n_items], np.uint16)
    for i in range(n_items):
        last_rows = np.empty(degree[i], np.int32)
        n = 0
        for e in range(item_ptr[i], item_ptr[i + 1]):
            if e + 1 == item_ptr[i + 1] or group[rows[e]] != group[rows[e + 1]]:
                last_rows[n] = rows[e]
                n += 1
        floor, equal = np.uint32(0), n
        if n > sample:  # the sample-th latest time: all above it come in, and as many equal to it as there is room for
            times = newest[group[last_rows]]
            floor = np.partition(times, n - sample)[n - sample]
            equal = sample - np.sum(times > floor)
        end = out_ptr[i]
        for row in last_rows:
            g = group[row]
            if newest[g] < floor or (newest[g] == floor and equal == 0):
                continue
            if newest[g] == floor:
                equal -= 1
            out_group[end] = g
            out_place[end] = min(row - ptr[g], MAX_PLACE)
            end += 1
    return out_ptr, out_group, out_place, degree


@njit(cache=True, nogil=True)
def nearest(
    asked: tuple[Int32, Float32],
    index: tuple[Int64, Int32, NDArray[np.uint16], Float32],
    group_weight: Float32,
    own: tuple[int, int, float],
    k: int,
) -> tuple[Int32, Float32, NDArray[np.uint16]]:
    """The k groups nearest to the asked (items, weights): sum of weight * idf over shared items, times the group's weight.

    index = (index_ptr, index_group, index_place, idf). Groups own[0] <= g < own[1] count own[2] times. Also the place of the
    first asked item (the newest) that matched. Best first, ties by smaller group; only similarities above zero.
    """
    items, weights = asked
    ptr, groups, places, idf = index
    n_items = len(ptr) - 1
    total = 0
    for item in items:
        if 0 <= item < n_items:
            total += ptr[item + 1] - ptr[item]
    table = table_for(total)
    sums = np.zeros(len(table), np.float64)
    matched = np.zeros(len(table), np.uint16)
    for q in range(len(items)):
        item = items[q]
        if 0 <= item < n_items:
            gain = np.float64(weights[q]) * idf[item]
            for e in range(ptr[item], ptr[item + 1]):
                place = slot_of(table, groups[e])
                if table[place] != groups[e]:
                    table[place] = groups[e]
                    matched[place] = places[e]
                sums[place] += gain
    for place in range(len(table)):
        g = table[place]
        if g >= 0:
            sums[place] *= group_weight[g] * (own[2] if own[0] <= g < own[1] else 1.0)
    best, similarity = keep_positive(table, sums, k)
    at = np.empty(len(best), np.uint16)
    for b in range(len(best)):
        at[b] = matched[slot_of(table, best[b])]
    return best, similarity, at


@njit(cache=True, nogil=True)
def offers(
    found: tuple[Int32, Float32, NDArray[np.uint16]],
    content: tuple[Int64, Int32],
    item_weight: Float32,
    settings: tuple[int, float, float],
    limit: int,
) -> tuple[Int32, Float32]:
    """What the found groups hold: sum of similarity * decay^|distance to the matched place| * item_weight, the best `limit`.

    settings = (reach, decay, rejection): entries further than `reach` places are not read; an item that a group turned away
    (~item) counts -rejection. Ties by smaller item id; only sums above zero.
    """
    best, similarity, matched = found
    ptr, items = content
    reach, decay, rejection = settings
    total, furthest = 0, 0
    for g in best:
        total += min(ptr[g + 1] - ptr[g], 2 * reach + 1)
        furthest = max(furthest, min(ptr[g + 1] - ptr[g], reach))
    fade = decay ** np.arange(furthest + 1)
    table = table_for(total)
    sums = np.zeros(len(table), np.float64)
    for b in range(len(best)):
        centre = ptr[best[b]] + matched[b]
        for e in range(max(ptr[best[b]], centre - reach), min(ptr[best[b] + 1], centre + reach + 1)):
            item, sign = items[e], 1.0
            if item < 0:
                item, sign = ~item, -rejection
            place = slot_of(table, item)
            table[place] = item
            sums[place] += sign * similarity[b] * fade[abs(e - centre)] * item_weight[item]
    return keep_positive(table, sums, limit)
