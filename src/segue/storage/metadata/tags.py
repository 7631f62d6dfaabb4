"""The tags of items as compressed rows that take changes in bulk: put is cheap, the next reader pays once for all of them."""

from __future__ import annotations

import numpy as np
from numba import njit

from segue.core.types import Int32, Int64
from segue.storage.metadata.growable import Growable


@njit(cache=True, nogil=True)
def _splice(ptr: Int64, tags: Int32, rows: Int64, sizes: Int64, flat: Int32, out_ptr: Int64, out: Int32) -> int:
    """Rows rows[0], rows[0] + 1, ... to the end, with those in `rows` (ascending) replaced; returns how many tags they hold."""
    first, last = rows[0], len(ptr) - 1
    to, source = 0, 0
    out_ptr[0] = ptr[first]
    for at in range(len(rows)):
        row = rows[at]
        for _ in range(sizes[at]):
            out[to] = flat[source]
            to += 1
            source += 1
        out_ptr[row - first + 1] = ptr[first] + to
        until = rows[at + 1] if at + 1 < len(rows) else last  # rows between stay as they are, all in one go
        start, end = ptr[row + 1], ptr[until]
        out[to : to + end - start] = tags[start:end]
        shift = ptr[first] + to - start
        for kept in range(row + 1, until):
            out_ptr[kept - first + 1] = ptr[kept + 1] + shift
        to += end - start
    return to


class TagRows:
    """CSR of n rows; `set` remembers, `view` applies."""

    def __init__(self, ptr: Int64, tags: Int32) -> None:
        self._ptr = Growable(ptr)
        self._tags = Growable(tags)
        self._pending: list[tuple[Int64, Int64, Int32]] = []

    def set(self, rows: Int64, sizes: Int64, flat: Int32) -> None:
        """Give rows (distinct) these tags: sizes[i] of them in flat for rows[i], in order."""
        self._pending.append((rows, sizes, flat))

    def view(self, n: int) -> tuple[Int64, Int32]:
        """(tags_ptr (n + 1,), tags) with every change applied; read-only snapshots."""
        self._resize(n)
        if self._pending:
            rows, sizes, flat = _changes(self._ptr.peek(), self._tags.peek(), *_last_word(self._pending))
            self._pending.clear()
            if len(rows):
                self._apply(rows, sizes, flat)
        return self._ptr.view(), self._tags.view()

    def _resize(self, n: int) -> None:
        missing = n + 1 - self._ptr.n
        if missing > 0:
            self._ptr.extend(np.full(missing, self._tags.n, np.int64))

    def _apply(self, rows: Int64, sizes: Int64, flat: Int32) -> None:
        first = int(rows[0])
        ptr, tags = self._ptr.peek(), self._tags.peek()
        kept = int(ptr[first])
        tail_ptr = np.empty(len(ptr) - first, np.int64)
        tail = np.empty(len(tags) - kept + len(flat), np.int32)
        used = int(_splice(ptr, tags, rows, sizes, flat, tail_ptr, tail))
        self._ptr.overwrite(first + 1, tail_ptr[1:])
        self._tags.overwrite(kept, tail[:used])


def _changes(ptr: Int64, tags: Int32, rows: Int64, sizes: Int64, flat: Int32) -> tuple[Int64, Int64, Int32]:
    """Only the rows whose tags are not what they were."""
    old = ptr[rows + 1] - ptr[rows]
    differ = sizes != old
    each = np.repeat(np.arange(len(rows)), sizes)  # the row of every tag
    place = ptr[rows][each] + np.arange(len(flat)) - (np.cumsum(sizes) - sizes)[each]
    compared = ~differ[each]
    unlike = flat[compared] != tags[place[compared]]
    differ[each[compared][unlike]] = True
    return rows[differ], sizes[differ], flat[differ[each]]


def _last_word(batches: list[tuple[Int64, Int64, Int32]]) -> tuple[Int64, Int64, Int32]:
    """One batch of ascending rows out of many; where a row was set twice, the later one."""
    rows = np.concatenate([batch[0] for batch in batches])
    sizes = np.concatenate([batch[1] for batch in batches])
    flat = np.concatenate([batch[2] for batch in batches])
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(rows, kind="stable")
    last = order[np.r_[rows[order][1:] != rows[order][:-1], True]]
    sizes, starts = sizes[last], starts[last]
    shift = np.cumsum(sizes) - sizes
    picked = np.repeat(starts - shift, sizes) + np.arange(sizes.sum())
    return rows[last], sizes, flat[picked]
