"""Questions about the columns of items that several rooms ask."""

from __future__ import annotations

import numpy as np

from segue.core.types import Bool, Int32, Int64, Items


def has_tag(items: Items, rows: Int32, tags: Int32) -> Bool:
    """True where an item carries any of the tags."""
    ptr, carried = tag_rows(items, rows)
    owner = np.repeat(np.arange(len(rows)), np.diff(ptr))
    out = np.zeros(len(rows), np.bool_)
    out[owner[np.isin(carried, tags)]] = True
    return out


def tag_rows(items: Items, rows: Int32) -> tuple[Int64, Int32]:
    """The tags of some items as CSR: ptr (len(rows) + 1,) int64 and tags (ptr[-1],) int32, in the order of the rows."""
    starts = items.tags_ptr[rows]
    counts = items.tags_ptr[rows + 1] - starts
    ptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=ptr[1:])
    places = np.arange(ptr[-1]) + np.repeat(starts - ptr[:-1], counts)
    return ptr, items.tags[places]
