"""The log on one machine: hot batches in SQLite (WAL, synchronous=FULL), closed days in Parquet, one log to readers."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np

from segue.core.errors import BadInput, SegueError
from segue.core.ports import ACCEPTED, Appended
from segue.core.types import EVENT, Events, Exposure
from segue.storage.durable import locked, sync_folder
from segue.storage.event_log import exposures as shown
from segue.storage.event_log.checks import problems
from segue.storage.event_log.database import Database
from segue.storage.event_log.reader import ALWAYS, NEVER, LogReader, Window, batch_crc, last_seq
from segue.storage.event_log.sealing import merge_small, recover, register, seal
from segue.storage.event_log.segments import SegmentWriter
from segue.storage.event_log.slate_segments import SlateLog
from segue.storage.event_log.uniqueness import KEY_COLUMNS, KeyIndex

BULK_ROWS = 50_000
"""Appends with at least so many new events become a segment at once instead of a hot batch."""

logger = logging.getLogger("segue.event_log")


class SqliteEventLog:
    """The port EventLog in one folder; several processes may open it at once and append.

    `clock` gives the time of arrival in ms. Thread-safe. Raises NotReady when another process holds the write lock for a
    minute, Corrupt when stored bytes do not match their checksum.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.folder = folder
        self._clock = clock
        self._segments = folder / "segments"
        self._runs = folder / "keys"
        sealed = folder / "slates"
        for path in (folder, self._segments, self._runs, sealed):
            path.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent)
        self._lock = threading.Lock()
        self._sealing = threading.Lock()
        with locked(folder / "open.lock"):
            self._database = Database(folder / "log.db")
            self._reader = LogReader(self._database, self._segments)
            recover(self._database, self._segments, self._runs, sealed)
            self._slates = SlateLog(self._database, sealed)
            self._index = KeyIndex(self._runs, self._database, self._keys_after)
            self._index.catch_up()

    def _keys_after(self, after: int) -> Iterator[Events]:
        return self._reader.walk(Window(after, self.last, columns=KEY_COLUMNS))

    @property
    def last(self) -> int:
        """seq of the newest event, 0 when empty; includes what other processes appended."""
        return self._reader.last()

    def append(self, events: Events, texts: Mapping[int, str] | None = None, exposures: Sequence[Exposure] = ()) -> Appended:
        """See the port. `exposures` become durable in the same transaction: one fsync for both."""
        with self._lock:
            while True:
                try:
                    appended = self._attempt(events, texts or {}, exposures)
                except BaseException:
                    self._index.reset()
                    raise
                if appended is not None:
                    self._maintain()
                    return appended
                self._index.reset()

    def _maintain(self) -> None:
        """Keep the key index small; when that fails the append is durable all the same, and it is tried again later."""
        try:
            self._index.maintain()
        except (OSError, SegueError, sqlite3.Error):
            logger.exception("the key index could not be compacted")
            self._index.reset()

    def _attempt(self, events: Events, texts: Mapping[int, str], exposures: Sequence[Exposure]) -> Appended | None:
        """Decide without the write lock, write bulk without it too, then look again under the lock; None = start over.

        Another process may have stored one of our keys in between. That is rare, and only then is the work done twice.
        """
        self._index.catch_up()
        status = self._index.classify(events)
        accepted = np.flatnonzero(status == ACCEPTED)
        seq = np.zeros(len(events), np.int64)
        if not len(accepted) and not exposures:
            return Appended(status, seq)
        fresh = events[accepted]
        with closing(SegmentWriter(self._segments)) if len(fresh) >= BULK_ROWS else nullcontext() as segment:
            if segment is not None:
                segment.write(fresh)
                segment.finish()
            with self._database.transaction() as connection:
                if self._index.overtaken():
                    return None
                first = last_seq(connection) + 1
                seq[accepted] = np.arange(first, first + len(fresh))
                if segment is not None:
                    register(connection, segment, first, self._clock())
                elif len(fresh):
                    self._insert_batch(connection, fresh, first)
                rows = [(int(seq[row]), text) for row, text in texts.items() if seq[row]]
                connection.executemany("INSERT INTO texts VALUES (?, ?)", rows)
                shown.store(connection, exposures)
        self._index.stored(first + len(fresh) - 1)
        return Appended(status, seq)

    def _insert_batch(self, connection: sqlite3.Connection, fresh: Events, first: int) -> None:
        fresh["seq"] = np.arange(first, first + len(fresh))
        payload = fresh.tobytes()
        low, high = int(fresh["at"].min()), int(fresh["at"].max())
        values = (first + len(fresh) - 1, first, self._clock(), low, high, batch_crc(payload, first), payload)
        connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def read(self, after: int, limit: int) -> Events:
        """See the port. Asks for at most `limit` rows of memory; use `scan` to go through the whole log."""
        parts, count = [], 0
        for events in self._reader.walk(Window(after, min(self.last, after + max(limit, 0)))):
            parts.append(events)
            count += len(events)
        return np.concatenate(parts) if parts else np.zeros(0, EVENT)

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        """See the port. Chunks hold at most CHUNK_ROWS events plus a batch; ends at the newest event as of the first step."""
        unknown = set(columns or ()) - set(EVENT.names or ())
        if unknown:
            raise BadInput(f"no such column of an event: {', '.join(sorted(unknown))}", "columns")
        named = None if columns is None else tuple(columns)
        return self._reader.walk(Window(0, self.last, max(at_from, NEVER), min(at_to, ALWAYS), named))

    def texts(self, after: int, until: int) -> dict[int, str]:
        """The search words of the events with after < seq <= until, by seq."""
        with self._database.snapshot() as connection:
            found = connection.execute("SELECT seq, text FROM texts WHERE seq > ? AND seq <= ?", (after, until))
            return {int(seq): str(text) for seq, text in found}

    def append_exposures(self, exposures: Sequence[Exposure]) -> None:
        """See the port; a request that is stored already keeps its first exposure."""
        self.append(np.zeros(0, EVENT), None, exposures)

    def exposure(self, request_id: int) -> Exposure | None:
        """See the port."""
        return self._slates.find(request_id)

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        """See the port; ties by request id, read as a signed number."""
        return self._slates.walk(at_from, at_to)

    def seal(self, before: int) -> list[str]:
        """See the port. May run beside appends and reads, in this process or another; small segments are merged too."""
        with self._sealing:
            names = seal(self._database, self._reader, self._segments, before)
            merged = merge_small(self._database, self._reader, self._segments)
            slates = self._slates.seal(before)
        return [name for name in names + merged if (self._segments / name).exists()] + slates

    def check(self) -> list[str]:
        """Verify every checksum; a list of what is wrong, empty when all is well."""
        return [*problems(self._database, self._segments, self._runs), *self._slates.problems()]

    def close(self) -> None:
        """Release files and locks."""
        with self._lock:
            self._database.close()
