"""How many listeners played a song in each hour before a moment of the past: what the online state kept by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.types import Int32, Int64

HOURS, HOUR_S = 24, 3600
UInt32 = NDArray[np.uint32]


@dataclass(frozen=True)
class ByHour:
    """The first play of each listener, song and hour (UTC), sorted by song and time; a vote counts as a play here."""

    item: Int32  # (r,) ascending
    at: UInt32  # (r,) seconds

    @staticmethod
    def of(columns: Mapping[str, NDArray[Any]], since: int) -> ByHour:
        """From columns of a history (user, item, at in seconds), for questions about `since` (ms) or later.

        Only rows of the day before `since` and after it are kept: 8 bytes each, some 40 while they are sorted.
        """
        first = max((since // 1000 // HOUR_S - HOURS + 1) * HOUR_S, 0)
        rows = np.flatnonzero(columns["at"] >= np.uint32(first))
        user, item, at = (np.asarray(columns[name][rows]) for name in ("user", "item", "at"))
        hour = at // HOUR_S
        order = np.lexsort((at, hour, item, user))
        user, item, at, hour = user[order], item[order], at[order], hour[order]
        new = np.ones(len(at), np.bool_)
        new[1:] = (np.diff(user) != 0) | (np.diff(item) != 0) | (np.diff(hour.astype(np.int64)) != 0)
        item, at = item[new], at[new]
        order = np.lexsort((at, item))
        return ByHour(item[order], at[order])

    def of_items(self, items: Int32) -> tuple[Int64, Int64]:
        """Where the rows of each item begin and end."""
        wanted = items.astype(self.item.dtype)
        return np.searchsorted(self.item, wanted, "left"), np.searchsorted(self.item, wanted, "right")

    def of_moment(self, items: Int32, now: int) -> NDArray[np.uint16]:
        """OnlineState.by_hour as of `now` (ms): only what came strictly before it, (n, 24)."""
        return _count(self.at, *self.of_items(items), now)


@njit(cache=True, nogil=True)
def _count(at: UInt32, start: Int64, stop: Int64, now: int) -> NDArray[np.uint16]:
    out = np.zeros((len(start), HOURS), np.uint16)
    hour = now // (1000 * HOUR_S)
    for i in range(len(start)):
        for row in range(start[i], stop[i]):
            ago = hour - np.int64(at[row]) // HOUR_S
            if np.int64(at[row]) * 1000 < now and ago < HOURS and out[i, ago] < 65_535:
                out[i, ago] += 1
    return out
