"""Which items are one work: groups of equal keys, each called by the smallest dense id in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segue.core.types import MISSING, Arrays, Int32
from segue.storage.metadata.growable import Growable
from segue.storage.metadata.table import NameTable

NOBODY = np.iinfo(np.int32).max


class Works:
    """Groups of items by key; the column `work` follows every change, whatever the order in which items come."""

    def __init__(self) -> None:
        self._keys = NameTable()
        self._group: Growable[np.int32] = Growable(np.zeros(0, np.int32), MISSING, live=True)
        self._first: Growable[np.int32] = Growable(np.zeros(0, np.int32), NOBODY, live=True)
        self.work: Growable[np.int32] = Growable(np.zeros(0, np.int32))

    def resize(self, n: int) -> None:
        """Grow to n items; new ones are works of their own."""
        self._group.resize(n)
        if n > self.work.n:
            self.work.extend(np.arange(self.work.n, n, dtype=np.int32))

    def set(self, rows: Int32, keys: Sequence[str]) -> None:
        """Give items (distinct, below n) their keys; "" is a work of its own. Linear in n only if a group is renamed."""
        group = self._groups(keys)
        old = self._group.peek()[rows]
        moved = old != group
        rows, group, old = rows[moved], group[moved], old[moved]
        if not len(rows):
            return
        first = self._first.peek()
        left, joined = old != MISSING, group != MISSING
        renamed = np.unique(old[left][first[old[left]] == rows[left]])  # groups that lost the item that named them
        self._group.set(rows, group)
        places, before = group[joined], first[group[joined]]
        least = _least(places, rows[joined])
        sooner = (least < before) & (before != NOBODY)
        renamed = np.union1d(renamed, places[sooner])
        self._first.set(places, np.minimum(before, least).astype(np.int32))
        if len(renamed):
            self._rename(renamed)
        self.work.set(rows[~joined], rows[~joined])
        self.work.set(rows[joined], self._first.peek()[places])

    def arrays(self) -> Arrays:
        """Everything as arrays."""
        table = {f"key.{name}": array for name, array in self._keys.arrays().items()}
        return {**table, "group": self._group.view(), "first": self._first.view(), "work": self.work.view()}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """The inverse of `arrays`."""
        self._keys.load({name: arrays[f"key.{name}"] for name in ("slots", "ends", "blob", "used")})
        self._group = Growable(arrays["group"].view(np.int32), MISSING, live=True)
        self._first = Growable(arrays["first"].view(np.int32), NOBODY, live=True)
        self.work = Growable(arrays["work"].view(np.int32))

    def _groups(self, keys: Sequence[str]) -> Int32:
        group = self._keys.find(keys)
        fresh = list(dict.fromkeys(keys[i] for i in np.flatnonzero(group == MISSING).tolist() if keys[i]))
        if fresh:
            self._keys.append(fresh)
            self._first.resize(len(self._keys))
            group = self._keys.find(keys)
        return group

    def _rename(self, groups: Int32) -> None:
        """Find the smallest member of each group again, and tell all members: one pass over the items."""
        group, chosen = self._group.peek(), np.zeros(self._first.n + 1, np.bool_)  # the last place is for MISSING
        chosen[groups] = True
        members = np.flatnonzero(chosen[group]).astype(np.int32)
        lowest = np.full(self._first.n, NOBODY, np.int32)
        np.minimum.at(lowest, group[members], members)
        self._first.set(groups, lowest[groups])
        self.work.set(members, lowest[group[members]])


def _least(groups: Int32, rows: Int32) -> Int32:
    """For each place the smallest row among those of the same group."""
    if not len(groups):
        return rows
    order = np.lexsort((rows, groups))
    starts = np.r_[True, groups[order][1:] != groups[order][:-1]]
    least = np.empty_like(rows)
    least[order] = rows[order][starts][np.cumsum(starts) - 1]
    return least
