"""The key index: which event ids the log holds, for ever; a hash table of the newest keys over sorted runs of the rest.

A log-structured merge (O'Neil et al. 1996) of keys only: newest keys in memory, flushed to a run at FLUSH_KEYS, runs of like
size merged four at a time, so n keys lie in O(log n) runs. Everything here can be rebuilt from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numba as nb
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import Corrupt
from segue.core.types import Events, UInt64
from segue.storage.event_log.database import Database
from segue.storage.event_log.runs import RUN_COLUMNS, UNDECIDED, Run, RunRow, RunWriter, find, open_run

FLUSH_KEYS = 1_000_000
FAN = 4
_SMALLEST = 1 << 14
KEY_COLUMNS = ("seq", "key_hi", "key_lo", "body")
Walk = Callable[[int], Iterator[Events]]
"""Events with seq > after, as of now, with at least KEY_COLUMNS filled in."""


class KeyIndex:
    """Which keys are stored; used by one thread at a time. `through` is the seq up to which it knows the log."""

    def __init__(self, folder: Path, database: Database, walk: Walk) -> None:
        self._folder = folder
        self._database = database
        self._walk = walk
        self._runs: list[Run] = []
        self._indexed = 0
        self._version = -1
        self._token = 1
        self.reset()
        none = np.zeros(0, np.uint64)
        insert(self._table, 1, none, none, none, np.zeros(0, np.uint8), 0)  # compiled now, not at the first event

    def reset(self) -> None:
        """Forget what is in memory: the next catch_up reads it again."""
        self._table = _table(_SMALLEST)
        self._count = 0
        self.through = self._indexed
        self._version = -1

    def catch_up(self) -> None:
        """Take in every key that is stored, whoever stored it."""
        version = self._database.version()  # before the look: what is stored meanwhile counts as new the next time
        if self._version == version:
            return
        self._token += 1
        self._take_in(0)
        self._version = version

    def overtaken(self) -> bool:
        """Take in what others stored since catch_up, holding the write lock; True when it touches keys of this append.

        After True the index is to be reset: it holds keys of an append that cannot go on as it was decided.
        """
        version = self._database.version()
        if version == self._version:
            return False
        indexed = self._indexed
        clean = self._take_in(self._token)
        self._version = version
        return not clean or indexed != self._indexed

    def classify(self, events: Events) -> NDArray[np.uint8]:
        """ACCEPTED, DUPLICATE or CONFLICT for each event, (n,) uint8; accepted keys are in the index from now on."""
        hi, lo, body = _keys(events)
        status = np.full(len(events), UNDECIDED, np.uint8)
        if len(events) >= _SMALLEST:  # in order of key, so that runs are read from front to back
            order = np.argsort(hi)
            ordered = status[order]
            for run in self._runs:
                find(run, hi[order], lo[order], body[order], ordered)
            status[order] = ordered
        else:
            for run in self._runs:
                find(run, hi, lo, body, status)
        self._token += 1
        self._make_room(len(events))
        self._count += insert(self._table, self._token, hi, lo, body, status, 0)
        return status

    def stored(self, last: int) -> None:
        """The keys of the last classify are durable, up to seq `last`."""
        self.through = last

    def _take_in(self, guard: int) -> bool:
        if self._refresh_runs():
            guard = 0
        for events in self._walk(self.through):
            hi, lo, body = _keys(events)
            self._make_room(len(events))
            status = np.full(len(events), UNDECIDED, np.uint8)
            added = insert(self._table, self._token + 1, hi, lo, body, status, guard)
            if added < 0:
                return False
            self._count += added
            self.through = int(events["seq"][-1])
        return True

    def _refresh_runs(self) -> bool:
        """Open the runs as the manifest has them now; True when they reach another seq than before: the table is then empty.

        Further, when another process has flushed; less far, when one has struck a broken run.
        """
        for attempt in range(5):
            with self._database.snapshot() as connection:
                rows = [RunRow(*r) for r in connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY last_seq")]
            known = {run.row.name: run for run in self._runs}
            try:
                self._runs = [known.get(row.name) or open_run(self._folder, row) for row in rows]
                break
            except FileNotFoundError as error:  # merged away between the look and the opening
                if attempt == 4:
                    raise Corrupt(f"a key run is missing: {error}; it is made anew when the home is opened again") from error
        before, self._indexed = self._indexed, rows[-1].last_seq if rows else 0
        if self._indexed != before:
            self.reset()
        return self._indexed != before

    def _make_room(self, n: int) -> None:
        needed = 2 * (self._count + n)
        if needed > len(self._table):
            bigger = _table(needed)
            rehash(self._table, bigger)
            self._table = bigger

    def maintain(self) -> None:
        """Flush a full table to a run, then merge runs of like size; outside of any transaction."""
        if self._count >= FLUSH_KEYS:
            self.catch_up()  # another process may have flushed these keys in between
        if self._count >= FLUSH_KEYS:
            self._flush()
            while _like_sized([run.row for run in self._runs]):
                self._merge(self._runs[-FAN:])

    def _flush(self) -> None:
        occupied = self._table[self._table[:, 3] != 0]
        hi, lo, body = (np.ascontiguousarray(occupied[:, column]) for column in range(3))
        writer = RunWriter(self._folder, len(hi))
        try:
            writer.sort(hi, lo, body)
            row = writer.finish(self._indexed + 1, self.through)
            self._register(writer, row, ())
        finally:
            writer.discard()
        self.reset()
        self.catch_up()

    def _merge(self, group: list[Run]) -> None:
        rows = [run.row for run in group]
        writer = RunWriter(self._folder, sum(row.keys for row in rows))
        try:
            writer.merge(group)
            merged = writer.finish(rows[0].first_seq, rows[-1].last_seq)
            if self._register(writer, merged, rows):
                for row in rows:
                    (self._folder / row.name).unlink(missing_ok=True)
        finally:
            writer.discard()
        self._refresh_runs()

    def _register(self, writer: RunWriter, new: RunRow, old: tuple[()] | list[RunRow]) -> bool:
        """Put a run in the place of others; False when another process was faster."""
        with self._database.transaction() as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM runs ORDER BY last_seq")]
            reached = connection.execute("SELECT coalesce(max(last_seq), 0) FROM runs").fetchone()[0]
            if any(row.name not in names for row in old) or (not old and reached != new.first_seq - 1):
                return False
            connection.executemany("DELETE FROM runs WHERE name = ?", [(row.name,) for row in old])
            writer.publish(new)
            values = (new.last_seq, new.first_seq, new.keys, new.bytes, new.crc, new.name)
            connection.execute(f"INSERT INTO runs({RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)
        return True


def _like_sized(rows: list[RunRow]) -> bool:
    """Whether the FAN newest runs are to be merged: none is bigger than the others together, so each merge pays."""
    keys = sorted(row.keys for row in rows[-FAN:])
    return len(keys) == FAN and keys[-1] <= sum(keys[:-1])


def _keys(events: Events) -> tuple[UInt64, UInt64, UInt64]:
    return (
        np.ascontiguousarray(events["key_hi"]),
        np.ascontiguousarray(events["key_lo"]),
        np.ascontiguousarray(events["body"]),
    )


def _table(slots: int) -> UInt64:
    """An empty table with a power of two of slots; a slot is (hi, lo, body, token), token 0 = free: half a cache line."""
    return np.zeros((1 << max(slots - 1, 1).bit_length(), 4), np.uint64)


@nb.njit(cache=True, nogil=True, inline="always")
def _slot(hi, lo, mask):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    mixed = (hi ^ (lo * np.uint64(0xC2B2AE3D27D4EB4F))) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & mask)


@nb.njit(cache=True, nogil=True)
def insert(table, token, hi, lo, body, status, guard):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Decide UNDECIDED keys in order: known with this body 1, with another 2, else 0 and remembered under `token`.

    Returns how many were remembered, or -1 as soon as one is known under the token `guard` (0: no guard).
    """
    mask = np.uint64(len(table) - 1)
    added = 0
    for i in range(len(hi)):
        if status[i] != 255:
            continue
        slot = _slot(hi[i], lo[i], mask)
        while table[slot, 3] != 0 and not (table[slot, 0] == hi[i] and table[slot, 1] == lo[i]):
            slot = (slot + 1) & np.int64(mask)
        if table[slot, 3] == 0:
            table[slot, 0], table[slot, 1], table[slot, 2], table[slot, 3] = hi[i], lo[i], body[i], np.uint64(token)
            status[i] = 0
            added += 1
        elif guard != 0 and table[slot, 3] == np.uint64(guard):
            return -1
        else:
            status[i] = 1 if table[slot, 2] == body[i] else 2
    return added


@nb.njit(cache=True, nogil=True)
def rehash(old, new):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Move every key to a bigger table."""
    mask = np.uint64(len(new) - 1)
    for i in range(len(old)):
        if old[i, 3] != 0:
            slot = _slot(old[i, 0], old[i, 1], mask)
            while new[slot, 3] != 0:
                slot = (slot + 1) & np.int64(mask)
            new[slot] = old[i]
