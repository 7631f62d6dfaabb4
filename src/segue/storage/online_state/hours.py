"""How many listeners played a song in each of the last hours: a cache line a song, counts that no order of events changes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import HOUR_MS
from segue.storage.online_state.pairs import AHEAD, kernel
from segue.storage.online_state.prefetch import prefetch

UInt16 = NDArray[np.uint16]
HOURS = 24
STAMP = HOURS
"""Words of a row after the hours, by hour of 1970 modulo HOURS: the newest hour, low and high half."""
WORDS = 32
MOST = 65_535


@kernel
def _stamp(rows: UInt16, item: int) -> int:
    return int(np.int64(rows[item, STAMP]) | (np.int64(rows[item, STAMP + 1]) << 16))


@kernel
def add_listener(rows: UInt16, item: int, at: int, last: int) -> None:
    """A play at `at` by somebody whose last one of this song was at `last` (ms, 0 never): counted once an hour.

    So a loop of one listener lifts no song. Of plays that arrive out of order, those of an hour before the last one's count
    each; those a day before the newest of the song are dropped.
    """
    hour = int(at // HOUR_MS)
    if hour < 0 or hour == last // HOUR_MS:
        return
    newest = _stamp(rows, item)
    if hour > newest:
        for gone in range(max(newest, hour - HOURS) + 1, hour + 1):
            rows[item, gone % HOURS] = 0
        rows[item, STAMP], rows[item, STAMP + 1] = hour & 0xFFFF, (hour >> 16) & 0xFFFF
    elif hour <= newest - HOURS:
        return
    if rows[item, hour % HOURS] < MOST:
        rows[item, hour % HOURS] += 1


@kernel
def expect_hours(rows: UInt16, item: int) -> None:
    """Ask for the row of a song."""
    prefetch(rows, np.int64(item) * WORDS)


@njit(cache=True, nogil=True)
def read_hours(rows: UInt16, items: NDArray[np.int32], hour: int) -> UInt16:
    """(n, HOURS): in column k the listeners of each item k hours before `hour` (hours since 1970); zeros beyond the rows."""
    out = np.zeros((len(items), HOURS), np.uint16)
    for i in range(len(items)):
        if i + AHEAD < len(items) and 0 <= items[i + AHEAD] < len(rows):
            expect_hours(rows, items[i + AHEAD])
        item = items[i]
        if item < 0 or item >= len(rows):
            continue
        newest = _stamp(rows, item)
        for past in range(max(newest - HOURS + 1, hour - HOURS + 1), min(newest, hour) + 1):
            out[i, hour - past] = rows[item, past % HOURS]
    return out
