"""A hash table over memory-mapped arrays: 64-bit key -> a few 64-bit words, grown a segment at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.storage.online_state.prefetch import prefetch

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(function: _Function) -> _Function:
    """njit for kernels that allocate nothing: without the reference counts of array arguments a fold takes half as long."""
    compiled: _Function = njit(**_OPTIONS)(function)
    return compiled


SLOT_BITS = 14
SLOTS = 1 << SLOT_BITS
LIMIT = SLOTS * 3 // 4
"""Keys a segment holds before it is split in two."""
DIRECTORY_BITS = 18
MAX_SEGMENTS = 1 << (DIRECTORY_BITS - 1)
"""About 1.1e9 keys; half of what the directory could address, so that no segment ever runs out of bits to split by."""
ROOM = 4
"""Segments that must be free before an insertion: a split takes one more, and a lopsided one would be repeated."""

AHEAD = 8
"""Keys that loops look ahead: large tables are bound by memory latency, and eight misses at once take little more than one."""

SEGMENTS, SPARE, KEYS = 0, 1, 2
_SLOT_MASK = np.uint64(SLOTS - 1)
_M1 = np.uint64(0xFF51AFD7ED558CCD)
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)
_ONE = np.uint64(1)
_TOP = np.uint64(64 - DIRECTORY_BITS)


class Table(NamedTuple):
    """Extendible hashing (Fagin et al. 1979), linear probing within a segment.

    The directory takes the top bits of a key's hash to a segment of 16,384 slots. A full segment is copied into two new
    ones and only then left by the directory: growing costs a fraction of a millisecond at a time however large the table
    is, and a reader in another thread always finds a whole segment. Where a key lies depends on the keys and their
    order alone, never on when the files grew.
    """

    directory: NDArray[np.uint32]  # (2**18,) segment
    segments: NDArray[np.int32]  # (s, 2) keys held, bits of the hash they share
    rows: NDArray[np.int64]  # (s * SLOTS, words) the key (0 = empty), then its values: one row is one cache miss
    floats: NDArray[np.float64]  # the same bytes
    counters: NDArray[np.int64]  # segments in use, the spare one or -1, keys


@kernel
def pack_key(high: int, low: int) -> np.int64:
    """The key of (user, item) or (cell, item), both in [0, 2**31 - 1): never 0."""
    return ((np.int64(high) << 32) | np.int64(low)) + 1


@kernel
def mix(key: np.int64) -> np.uint64:
    """The finalizer of MurmurHash3: every bit of the key moves every bit of the hash."""
    bits = np.uint64(key)
    bits = (bits ^ (bits >> _SHIFT)) * _M1
    bits = (bits ^ (bits >> _SHIFT)) * _M2
    return bits ^ (bits >> _SHIFT)


@kernel
def _seek(rows: NDArray[np.int64], segment: np.int64, key: np.int64, mixed: np.uint64) -> np.int64:
    """The slot of the key, or the empty one where it belongs; a segment always has empty slots."""
    base = segment * SLOTS
    slot = np.int64(mixed & _SLOT_MASK)
    while True:
        held = rows[base + slot, 0]
        if held in (key, 0):
            return base + slot
        slot = (slot + 1) & (SLOTS - 1)


@kernel
def find(table: Table, key: np.int64) -> np.int64:
    """The slot of the key, -1 where absent. Safe beside a writer: a segment beyond this reader's map is absent."""
    mixed = mix(key)
    segment = np.int64(table.directory[np.int64(mixed >> _TOP)])
    if (segment + 1) * SLOTS > len(table.rows):
        return np.int64(-1)
    slot = _seek(table.rows, segment, key, mixed)
    return slot if table.rows[slot, 0] == key else np.int64(-1)


@kernel
def expect_key(table: Table, key: np.int64) -> None:
    """Tell the processor that find or insert of this key comes soon."""
    mixed = mix(key)
    segment = np.int64(table.directory[np.int64(mixed >> _TOP)])
    prefetch(table.rows, (segment * SLOTS + np.int64(mixed & _SLOT_MASK)) * table.rows.shape[1])


@kernel
def has_room(table: Table, insertions: int) -> bool:
    """Whether that many insertions can be made without growing the files."""
    return bool(table.counters[SEGMENTS] + insertions * ROOM <= len(table.segments))


@kernel
def insert(table: Table, key: np.int64) -> np.int64:
    """The slot of the key, made with zero values where absent. Needs has_room(table, 1); may move every other slot."""
    mixed = mix(key)
    place = np.int64(mixed >> _TOP)
    while True:
        segment = np.int64(table.directory[place])
        slot = _seek(table.rows, segment, key, mixed)
        if table.rows[slot, 0] == key:
            return slot
        if table.segments[segment, 0] < LIMIT:
            for word in range(1, table.rows.shape[1]):
                table.rows[slot, word] = 0
            table.rows[slot, 0] = key
            table.segments[segment, 0] += 1
            table.counters[KEYS] += 1
            return slot
        _split(table, place)


@kernel
def _take(table: Table) -> np.int64:
    """An empty segment: the one that the last split left, else the next new one."""
    segment: np.int64 = table.counters[SPARE]
    if segment < 0:
        segment = table.counters[SEGMENTS]
        table.counters[SEGMENTS] += 1
        return segment
    table.counters[SPARE] = -1
    for slot in range(segment * SLOTS, (segment + 1) * SLOTS):
        table.rows[slot, 0] = 0
    return segment


@kernel
def _split(table: Table, place: np.int64) -> None:
    old = np.int64(table.directory[place])
    depth = table.segments[old, 1] + 1
    left, right = _take(table), _take(table)
    for half in (left, right):
        table.segments[half, 0] = 0
        table.segments[half, 1] = depth
    bit = np.uint64(64 - depth)
    for source in range(old * SLOTS, (old + 1) * SLOTS):
        key = table.rows[source, 0]
        if key == 0:
            continue
        mixed = mix(key)
        half = right if (mixed >> bit) & _ONE else left
        slot = _seek(table.rows, half, key, mixed)
        for word in range(table.rows.shape[1]):
            table.rows[slot, word] = table.rows[source, word]
        table.segments[half, 0] += 1
    span = 1 << (DIRECTORY_BITS - depth)
    first = (place // (2 * span)) * (2 * span)
    for prefix in range(first, first + 2 * span):
        table.directory[prefix] = left if prefix < first + span else right
    table.segments[old, 0] = 0
    table.segments[old, 1] = 0
    table.counters[SPARE] = old
