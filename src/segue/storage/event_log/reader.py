"""One log out of many pieces: walks hot batches and sealed segments in order of seq, whatever is sealed meanwhile."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segue.core.errors import Corrupt
from segue.core.types import EVENT, Events
from segue.storage.event_log.database import Database
from segue.storage.event_log.parquet import row_groups
from segue.storage.event_log.segments import AT, SEGMENT_COLUMNS, Segment, open_segment, read_group

CHUNK_ROWS = 131_072
NEVER, ALWAYS = -(1 << 63), (1 << 63) - 1
_LAST = "SELECT max(coalesce((SELECT max(last_seq) FROM batches), 0), coalesce((SELECT max(last_seq) FROM segments), 0))"


@dataclass(frozen=True)
class Window:
    """What a walk wants: after < seq <= until and at_from <= at < at_to; None = every column."""

    after: int
    until: int
    at_from: int = NEVER
    at_to: int = ALWAYS
    columns: tuple[str, ...] | None = None

    def overlaps(self, low: int, high: int) -> bool:
        """Whether rows with low <= at <= high can be in it."""
        return high >= self.at_from and low < self.at_to

    def cut(self, events: Events) -> Events:
        """The rows inside; `at` and `seq` must be filled in. Copies only when some are not."""
        inside = (events["at"] >= self.at_from) & (events["at"] < self.at_to)
        inside &= (events["seq"] > self.after) & (events["seq"] <= self.until)
        return events if inside.all() else events[inside]


def batch_crc(payload: bytes, first_seq: int) -> int:
    """CRC-32 of a hot batch, started from its place so that a payload in a wrong row is noticed too."""
    return zlib.crc32(payload, first_seq & 0xFFFFFFFF)


def last_seq(connection: sqlite3.Connection) -> int:
    """seq of the newest event, 0 when empty."""
    return int(connection.execute(_LAST).fetchone()[0])


class LogReader:
    """Reads events from a database and its folder of segments; holds nothing between two steps of a walk.

    Rows never change once they have a seq, and sealing registers a segment in the same instant for every reader, so a
    walk only remembers the seq it has reached: it goes on rightly after its next piece was sealed, merged or swept.
    """

    def __init__(self, database: Database, segments: Path) -> None:
        self._database = database
        self._segments = segments

    def last(self) -> int:
        """seq of the newest event, other processes included."""
        with self._database.snapshot() as connection:
            return last_seq(connection)

    def walk(self, window: Window) -> Iterator[Events]:
        """Non-empty chunks of at most CHUNK_ROWS rows (or one batch), in order of seq."""
        columns = None if window.columns is None else tuple({*window.columns, "seq", "at"})
        wide = Window(window.after, window.until, window.at_from, window.at_to, columns)
        drop = [name for name in ("seq", "at") if columns is not None and name not in (window.columns or ())]
        for events in self._walk(wide):
            part = wide.cut(events)
            if len(part):
                for name in drop:
                    part[name] = 0
                yield part

    def _walk(self, window: Window) -> Iterator[Events]:
        after, missing = window.after, ""
        while after < window.until:
            with self._database.snapshot() as connection:
                segment = _next_segment(connection, after)
                if segment is None or segment.first_seq > after + 1:
                    end = window.until if segment is None else min(window.until, segment.first_seq - 1)
                    chunk, reached = _hot(connection, after, end, window)
                    segment = None
            if segment is None:
                after = reached
                yield chunk
                continue
            try:
                for reached, chunk in self._sealed(segment, after, window):
                    after = reached
                    yield chunk
            except FileNotFoundError:
                if missing == segment.name:
                    raise Corrupt(f"segment {self._segments / segment.name} is missing") from None
                missing = segment.name  # merged away between the look and the opening: look again, once
                continue
            after = max(after, segment.last_seq)

    def _sealed(self, segment: Segment, after: int, window: Window) -> Iterator[tuple[int, Events]]:
        if not window.overlaps(segment.at_min, segment.at_max):
            return
        with open_segment(self._segments, segment) as file:
            for number, offset, rows, low, high in row_groups(file, AT):
                first = segment.first_seq + offset
                if first + rows - 1 <= after or first > window.until or not window.overlaps(low, high):
                    continue
                group = read_group(file, number, first, window.columns, segment.name)
                yield first + rows - 1, group[max(after + 1 - first, 0) :]  # sealed mid-walk: its first rows were told


def _next_segment(connection: sqlite3.Connection, after: int) -> Segment | None:
    row = connection.execute(
        f"SELECT {SEGMENT_COLUMNS} FROM segments WHERE last_seq > ? ORDER BY last_seq LIMIT 1", (after,)
    ).fetchone()
    return Segment(*row) if row else None


def _hot(connection: sqlite3.Connection, after: int, end: int, window: Window) -> tuple[Events, int]:
    """Rows of hot batches with after < seq <= end, up to about CHUNK_ROWS, and the seq that was reached."""
    rows = connection.execute(
        "SELECT last_seq, first_seq, crc, payload FROM batches WHERE last_seq > ?"
        " AND at_max >= ? AND at_min < ? ORDER BY last_seq",
        (after, window.at_from, window.at_to),
    )
    parts, count, reached = [], 0, end
    for last, first, crc, payload in rows:
        if first > end:
            break
        parts.append(decode_batch(payload, first, last, crc))
        count += last - first + 1
        if count >= CHUNK_ROWS:
            reached = last
            break
    events = np.concatenate(parts) if len(parts) > 1 else (parts[0].copy() if parts else np.zeros(0, EVENT))
    return (events if window.columns is None else project(events, window.columns)), reached


def decode_batch(payload: bytes, first: int, last: int, crc: int) -> Events:
    """The events of a hot batch, read-only; Corrupt when its checksum or its length is wrong."""
    if batch_crc(payload, first) != crc or len(payload) != (last - first + 1) * EVENT.itemsize:
        raise Corrupt(f"hot batch {first}-{last} does not match its checksum")
    return np.frombuffer(payload, EVENT)


def project(events: Events, columns: Sequence[str]) -> Events:
    """A copy with the named columns, the others zero."""
    out = np.zeros(len(events), EVENT)
    for name in columns:
        out[name] = events[name]
    return out
