"""Questions about the columns of items that several rooms ask."""

from __future__ import annotations

import numpy as np

from segue.core.types import Bool, Int32, Items


def has_tag(items: Items, rows: Int32, tags: Int32) -> Bool:
    """True where an item carries any of the tags."""
    starts, stops = items.tags_ptr[rows], items.tags_ptr[rows + 1]
    owner = np.repeat(np.arange(len(rows)), stops - starts)
    offsets = np.arange(len(owner)) - np.repeat(np.cumsum(stops - starts) - (stops - starts), stops - starts)
    hit = np.isin(items.tags[np.repeat(starts, stops - starts) + offsets], tags)
    out = np.zeros(len(rows), np.bool_)
    out[owner[hit]] = True
    return out
