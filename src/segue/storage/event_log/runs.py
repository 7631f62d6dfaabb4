"""Runs: immutable sorted files of event keys with a Bloom filter, memory-mapped; the sealed part of the key index.

Layout in little-endian 64-bit words: MAGIC, n, filter words, five zeros; key_hi (n, ascending), key_lo (n), body (n), filter.
The filter is a blocked Bloom filter (Putze, Sanders, Singler 2007): one cache line of 512 bits a key, 12 bits a key,
eight probes: about one key in 200 that is not there costs a search, the others one memory access.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numba as nb
import numpy as np

from segue.core.errors import Corrupt
from segue.core.types import UInt64
from segue.storage.event_log.files import Draft

MAGIC = 0x53454755454B4559  # "SEGUEKEY"
_HEADER = 8
_KEYS_PER_BLOCK = 42  # 512 bits / 12
UNDECIDED = 255


@dataclass(frozen=True)
class RunRow:
    """A row of the manifest: keys of the events first_seq to last_seq."""

    last_seq: int
    first_seq: int
    keys: int
    bytes: int
    crc: int
    name: str


RUN_COLUMNS = "last_seq, first_seq, keys, bytes, crc, name"


@dataclass(frozen=True)
class Run:
    """An open run: memory-mapped arrays; it stays readable after its file was merged away."""

    row: RunRow
    hi: UInt64
    lo: UInt64
    body: UInt64
    filter: UInt64


def blocks(n: int) -> int:
    """Cache lines of the filter of n keys."""
    return n // _KEYS_PER_BLOCK + 1


def open_run(folder: Path, row: RunRow) -> Run:
    """Map a run; Corrupt when the file is not the one that the manifest names."""
    path = folder / row.name
    size = path.stat().st_size
    if size != row.bytes or size < 8 * _HEADER:
        raise Corrupt(f"key run {path} has {size} bytes, the manifest says {row.bytes}")
    words = np.memmap(path, np.uint64, mode="r").view(np.ndarray)
    if int(words[0]) != MAGIC or int(words[1]) != row.keys or len(words) != _words(row.keys):
        raise Corrupt(f"key run {path} is not a run of {row.keys} keys")
    return Run(row, *_parts(words, row.keys))


def _words(n: int) -> int:
    return _HEADER + 3 * n + 8 * blocks(n)


def _parts(words: UInt64, n: int) -> tuple[UInt64, UInt64, UInt64, UInt64]:
    ends = _HEADER + n * np.arange(4)
    return words[_HEADER : ends[1]], words[ends[1] : ends[2]], words[ends[2] : ends[3]], words[ends[3] :]


class RunWriter:
    """Writes one run as a draft: sort or merge into a mapped file, then checksum, then disk."""

    def __init__(self, folder: Path, n: int) -> None:
        self._draft = Draft(folder)
        self._n = n
        self._map = np.memmap(self._draft.path, np.uint64, mode="w+", shape=(_words(n),))
        self._words: UInt64 = self._map.view(np.ndarray)
        self._words[:3] = (MAGIC, n, 8 * blocks(n))

    def sort(self, hi: UInt64, lo: UInt64, body: UInt64) -> None:
        """Fill from n keys in any order."""
        order = np.argsort(hi)
        if (np.diff(hi[order]) == 0).any():  # never by chance: 2^-64 a pair
            order = np.lexsort((lo, hi))
        for target, source in zip(_parts(self._words, self._n), (hi, lo, body), strict=False):
            target[:] = source[order]

    def merge(self, runs: Sequence[Run]) -> None:
        """Fill from up to four runs with n distinct keys in all; reads and writes front to back, in no memory of its own."""
        empty = np.zeros(0, np.uint64)
        empty.flags.writeable = False
        parts = [(run.hi, run.lo, run.body) for run in runs] + [(empty, empty, empty)] * (4 - len(runs))
        merge_sorted(tuple(parts), *_parts(self._words, self._n)[:3])

    def finish(self, first_seq: int, last_seq: int) -> RunRow:
        """Build the filter and put the file on disk, still a draft."""
        hi, lo, _, bits = _parts(self._words, self._n)
        fill_filter(bits, hi, lo)
        crc = zlib.crc32(self._words.data)
        self._map.flush()
        size = self._draft.sync()
        return RunRow(last_seq, first_seq, self._n, size, crc, f"{first_seq:015d}-{last_seq:015d}.keys")

    def publish(self, row: RunRow) -> None:
        """Name the file; the caller holds the write lock and stores `row` in the same transaction."""
        self._draft.publish(row.name)

    def discard(self) -> None:
        """Drop the draft unless it was published."""
        self._draft.discard()


def verify(folder: Path, row: RunRow) -> None:
    """Read the whole run; Corrupt when its checksum is wrong."""
    open_run(folder, row)
    if zlib.crc32(np.memmap(folder / row.name, np.uint64, mode="r").data) != row.crc:
        raise Corrupt(f"key run {folder / row.name} does not match its checksum")


def find(run: Run, hi: UInt64, lo: UInt64, body: UInt64, status: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
    """For every UNDECIDED key that the run holds: status becomes 1 (same body) or 2 (another body)."""
    search((run.hi, run.lo, run.body, run.filter), hi, lo, body, status)


@nb.njit(cache=True, nogil=True, inline="always")
def _probe(hi, lo, n_blocks):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """First word of the block of a key, and the bits that choose its eight places."""
    mixed = (hi ^ (lo << np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    block = ((hi >> np.uint64(32)) * n_blocks) >> np.uint64(32)
    return np.int64(block) * 8, mixed ^ (mixed >> np.uint64(29)) ^ lo


@nb.njit(cache=True, nogil=True)
def fill_filter(bits, hi, lo):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Set one bit in each of the eight words of a key's block."""
    n_blocks = np.uint64(len(bits) // 8)
    for i in range(len(hi)):
        start, chosen = _probe(hi[i], lo[i], n_blocks)
        for word in range(8):
            bits[start + word] |= np.uint64(1) << ((chosen >> np.uint64(6 * word)) & np.uint64(63))


@nb.njit(cache=True, nogil=True)
def search(run, hi, lo, body, status):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Look up n keys in a sorted run, (hi, lo, body, filter); see `find`."""
    run_hi, run_lo, run_body, bits = run
    n_blocks = np.uint64(len(bits) // 8)
    for i in range(len(hi)):
        if status[i] != 255:
            continue
        start, chosen = _probe(hi[i], lo[i], n_blocks)
        there = True
        for word in range(8):
            if (bits[start + word] >> ((chosen >> np.uint64(6 * word)) & np.uint64(63))) & np.uint64(1) == np.uint64(0):
                there = False
                break
        if not there:
            continue
        place = np.searchsorted(run_hi, hi[i])
        while place < len(run_hi) and run_hi[place] == hi[i]:
            if run_lo[place] == lo[i]:
                status[i] = 1 if run_body[place] == body[i] else 2
                break
            place += 1


@nb.njit(cache=True, nogil=True)
def merge_sorted(parts, hi, lo, body):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Merge four sorted key sets of (hi, lo, body), some of them empty, into arrays that have room for all."""
    heads = np.zeros(4, np.int64)
    for place in range(len(hi)):
        best = -1
        for k in range(4):
            h = heads[k]
            if h >= len(parts[k][0]):
                continue
            if best >= 0:
                b = heads[best]
                if parts[k][0][h] > parts[best][0][b]:
                    continue
                if parts[k][0][h] == parts[best][0][b] and parts[k][1][h] > parts[best][1][b]:
                    continue
            best = k
        b = heads[best]
        hi[place], lo[place], body[place] = parts[best][0][b], parts[best][1][b], parts[best][2][b]
        heads[best] = b + 1
