"""One text a row without a Python object each: UTF-8 in one blob, and where each begins and how long it is in one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Arrays, Int32, Int64
from segue.storage.metadata.growable import Growable
from segue.storage.metadata.table import Bytes, pack, unpack

BITS = 20
LONGEST = (1 << BITS) - 1
NONE = -1


class Texts:
    """Texts by row; readers in other threads see the old or the new text of a row, never a part (one 8-byte store)."""

    def __init__(self) -> None:
        self._place: Growable[np.int64] = Growable(np.zeros(0, np.int64), NONE, live=True)
        self._blob: Growable[np.uint8] = Growable(np.zeros(0, np.uint8))
        self._publish()

    def set(self, rows: Int32, texts: Sequence[str]) -> None:
        """Put texts at rows (distinct); "" is no text; beyond 1 MiB of UTF-8 a text is cut."""
        if not len(rows):
            return
        self._place.resize(int(rows.max()) + 1)
        self._publish()
        changed = [i for i, (old, new) in enumerate(zip(self.get(rows), texts, strict=True)) if old != new]
        if not changed:
            return
        blob, ends = pack([texts[i] for i in changed])
        sizes = np.diff(ends, prepend=0)
        starts = self._blob.n + ends - sizes
        self._blob.extend(blob)
        self._publish()  # the bytes first: whoever sees a new place can read what it points at
        place = np.where(sizes > 0, (starts << BITS) | np.minimum(sizes, LONGEST), NONE)
        self._place.set(rows[changed], place)
        self._publish()

    def get(self, rows: Int32) -> list[str]:
        """The texts of rows, "" where there is none or no such row."""
        place, blob = self._seen
        inside = rows < len(place)
        at = place[np.where(inside, rows, 0)] if len(place) else np.full(len(rows), NONE, np.int64)
        at = np.where(inside & (at != NONE), at, 0)
        starts, sizes = at >> BITS, at & LONGEST
        if int((starts + sizes).max(initial=0)) > len(blob):
            blob = self._seen[1]  # a text that was added between the two looks
        return unpack(blob, starts.tolist(), (starts + sizes).tolist())

    def arrays(self) -> Arrays:
        """Everything as arrays."""
        place, blob = self._seen
        return {"place": place, "blob": blob}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """The inverse of `arrays`; memory-mapped arrays are copied only when a text is added."""
        self._place = Growable(arrays["place"].view(np.int64), NONE, live=True)
        self._blob = Growable(arrays["blob"].view(np.uint8))
        self._publish()

    def _publish(self) -> None:
        self._seen: tuple[Int64, Bytes] = (self._place.view(), self._blob.view())
