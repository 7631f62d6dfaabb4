"""Event ids for rows that have none, made from their content: the same file gives the same ids at every run."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.hashing import hash64
from segue.core.types import Int32, Int64, UInt64
from segue.events.importers.batch import Coded, EventColumns

GENERATION = 1 << 22
"""Exact repeats are counted over the last 4 to 8 million rows of a file, so that memory stays bounded."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_HI, _LO, _BODY = np.uint64(0x5345475545484921), np.uint64(0x534547554C4F2E2E), np.uint64(0x53454755424F4459)


def mix(x: UInt64) -> UInt64:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection of 64 bits that spreads every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: UInt64 = x ^ (x >> np.uint64(31))
    return out


def chain(seed: np.uint64, columns: Sequence[UInt64]) -> UInt64:
    """One 64-bit hash a row over several columns of 64 bits; the order of the columns matters."""
    h = np.full(len(columns[0]), seed, np.uint64)
    for column in columns:
        h = mix((h ^ column) + _GAMMA)
    return h


def hashes(values: Sequence[str]) -> UInt64:
    """core.hashing.hash128 of each text, (k, 2) uint64: hi, lo."""
    digests = b"".join([blake2b(v.encode("utf-8", "surrogatepass"), digest_size=16).digest() for v in values])
    return np.frombuffer(digests, "<u8").reshape(-1, 2).astype(np.uint64)


def hashes64(values: Sequence[str]) -> UInt64:
    """core.hashing.hash64 of each text, (k,) uint64."""
    digests = b"".join([blake2b(v.encode("utf-8", "surrogatepass"), digest_size=8).digest() for v in values])
    return np.maximum(np.frombuffer(digests, "<u8").astype(np.uint64), np.uint64(1))


def rows_of(column: Coded, table: UInt64) -> UInt64:
    """A hash a value, given to the rows; 0 where there is no name."""
    padded = np.append(table, np.uint64(0))
    return padded[column.codes]


def _bits(column: NDArray[np.float32]) -> UInt64:
    """The bits of floats, every NaN the same."""
    clean = np.where(np.isnan(column), np.float32(np.nan), column + np.float32(0.0))
    return clean.view(np.uint32).astype(np.uint64)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _count(keys: UInt64, table: UInt64, counts: UInt64, old: UInt64, old_counts: UInt64, out: UInt64) -> int:
    """How often each key was seen before, in `old` and `table` (open addressing, linear probing, 0 = free); adds them."""
    mask, old_mask, added = np.uint64(len(table) - 1), np.uint64(len(old) - 1), 0
    for i in range(len(keys)):
        key = keys[i]
        seen = np.uint64(0)
        place = key & old_mask
        while old[place] != 0:
            if old[place] == key:
                seen = old_counts[place]
                break
            place = (place + np.uint64(1)) & old_mask
        place = key & mask
        while table[place] != 0 and table[place] != key:
            place = (place + np.uint64(1)) & mask
        if table[place] == 0:
            table[place] = key
            counts[place] = seen
            added += 1
        out[i] = counts[place]
        counts[place] += np.uint64(1)
    return added


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _move(table: UInt64, counts: UInt64, bigger: UInt64, bigger_counts: UInt64) -> None:
    """Every key of one table into an empty bigger one."""
    mask = np.uint64(len(bigger) - 1)
    for i in range(len(table)):
        if table[i] != 0:
            place = table[i] & mask
            while bigger[place] != 0:
                place = (place + np.uint64(1)) & mask
            bigger[place] = table[i]
            bigger_counts[place] = counts[i]


class Repeats:
    """Numbers the repeats of a key within a file: 0, 1, 2 ... in the order of rows, whatever the batches.

    Keys live in two generations of 4 million rows each, cut at fixed rows of the file: memory is bounded (200 MB at the
    very most) and the answer depends on the file alone. A key that returns after more than two generations starts at 0.
    """

    def __init__(self, generation: int = GENERATION) -> None:
        self.generation = generation
        self._number = 0
        self._new()
        self._old, self._old_counts = self._table, self._counts
        self._new()

    def _new(self) -> None:
        self._table, self._counts, self._size = np.zeros(1024, np.uint64), np.zeros(1024, np.uint64), 0

    def number(self, keys: UInt64, rows: Int64) -> UInt64:
        """For each key, how often it came before; `rows` are the ascending places of the keys in the file."""
        keys = np.maximum(keys, np.uint64(1))
        out = np.zeros(len(keys), np.uint64)
        start = 0
        while start < len(keys):
            number = int(rows[start]) // self.generation
            stop = int(np.searchsorted(rows, (number + 1) * self.generation))
            if number != self._number:
                fresh = number > self._number + 1
                self._turn()
                if fresh:
                    self._turn()
                self._number = number
            self._grow(stop - start)
            self._size += _count(keys[start:stop], self._table, self._counts, self._old, self._old_counts, out[start:stop])
            start = stop
        return out

    def _turn(self) -> None:
        self._old, self._old_counts = self._table, self._counts
        self._new()

    def _grow(self, more: int) -> None:
        need = 2 * (self._size + more)
        if need <= len(self._table):
            return
        size = 1 << int(need - 1).bit_length()
        table, counts = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        _move(self._table, self._counts, table, counts)
        self._table, self._counts = table, counts


class NameHashes:
    """hash128 of names by their dense id: each name is hashed once a run, 16 bytes are kept of it."""

    def __init__(self) -> None:
        self._table = np.zeros((0, 2), np.uint64)

    def of(self, values: Sequence[str], dense: Int32) -> UInt64:
        """The hashes of names, (k, 2); dense[i] is the id of values[i]."""
        top = int(dense.max(initial=-1)) + 1
        if top > len(self._table):
            grown = np.zeros((max(top, 2 * len(self._table)), 2), np.uint64)
            grown[: len(self._table)] = self._table
            self._table = grown
        found: UInt64 = self._table[dense]
        missing = np.flatnonzero((found == 0).all(axis=1))
        if len(missing):
            found[missing] = hashes([values[i] for i in missing.tolist()])
            self._table[dense[missing]] = found[missing]
        return found


def event_keys(
    events: EventColumns,
    repeats: Repeats,
    users: UInt64 | None = None,
    items: UInt64 | None = None,
    sessions: UInt64 | None = None,
) -> tuple[UInt64, UInt64, UInt64]:
    """(key_hi, key_lo, body) of each event, (n,) uint64; `users`, `items` and `sessions` are the hashes of values where known.

    With an event id the key is core.hashing.hash128 of it. Without, it is a splitmix64 chain, one for each half, over
    user, item, action, at, position, session, search words and the number of the repeat; names enter by their blake2b-128,
    sessions by their blake2b-64. The body is such a chain over everything else and over the content too: an id used again
    for another event is a conflict.
    """
    given = ((events.user, users), (events.item, items))
    names = [(c, hashes(c.values) if table is None else table) for c, table in given]
    session = rows_of(events.session, hashes64(events.session.values) if sessions is None else sessions)
    words = np.zeros(len(events), np.uint64)
    for place, text in events.texts.items():
        words[place] = hash64(text)
    plain = [events.action.astype(np.uint64), events.at.view(np.uint64), events.position.view(np.uint64), session, words]
    hi = chain(_HI, [rows_of(c, t[:, 0]) for c, t in names] + plain)
    lo = chain(_LO, [rows_of(c, t[:, 1]) for c, t in names] + plain)
    number = repeats.number(hi, events.row)
    facts = [rows_of(c, hashes64(c.values)) for c in (events.request, events.region, events.device)]
    floats = [_bits(c) for c in (events.played_s, events.duration_s, events.value)]
    body = chain(_BODY, [hi, *facts, *floats])
    hi, lo = mix(hi + (number + np.uint64(1)) * _GAMMA), mix(lo + (number + np.uint64(1)) * _GAMMA)
    if events.event_id.values:
        known = events.event_id.codes >= 0
        ids = hashes(events.event_id.values)
        hi[known] = rows_of(events.event_id, ids[:, 0])[known]
        lo[known] = rows_of(events.event_id, ids[:, 1])[known]
    return hi, lo, body
