"""Closed days of slates in Parquet beside the open ones in SQLite: one log to readers, sealed without a moment in both.

A row of `sealed_slates` says in which segment a request's slate lies, and where. It is written in the transaction that
registers the segment: from that instant every reader takes the slate from there, and its row of `exposures`, swept
afterwards, a few at a time, counts no more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from segue.core.clock import DAY_MS
from segue.core.errors import Corrupt
from segue.core.types import Exposure
from segue.storage.event_log import exposures as hot
from segue.storage.event_log.database import Database
from segue.storage.event_log.exposures import SEALED, Key, signed
from segue.storage.event_log.parquet import ParquetDraft, damage, opened, read, row_groups
from segue.storage.event_log.slates import SCHEMA, WRITTEN, exposures_of, table_of

PAGE = 512
"""Slates that are read at once, and of a row group: some 3 MB."""
PAGES = 64
"""Row groups of a segment at most: its index rows, 32,768, are one transaction of some 100 ms."""
_SWEEP = 64
_BITS = 32
_AT = SCHEMA.get_field_index("at")
FIRST: Key = (-(1 << 63), -(1 << 63))
LAST: Key = ((1 << 63) - 1, (1 << 63) - 1)
_COLUMNS = "number, rows, at_min, at_max, bytes, sha256, name"


@dataclass(frozen=True)
class SlateSegment:
    """A row of the manifest; the slates of a segment lie in order of key."""

    number: int
    rows: int
    at_min: int
    at_max: int
    bytes: int
    sha256: str
    name: str


class SlateLog:
    """Reads and seals the slates of a log: hot ones in its database, sealed ones in a folder of segments."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder

    def find(self, request_id: int) -> Exposure | None:
        """The exposure of a request, or None."""
        key = (signed(request_id),)
        with self._database.snapshot() as connection:
            place = connection.execute("SELECT place FROM sealed_slates WHERE request_id = ?", key).fetchone()
            if place is None:
                return hot.find(connection, request_id)
            number, row = place[0] >> _BITS, place[0] & (1 << _BITS) - 1
            found = connection.execute(f"SELECT {_COLUMNS} FROM slate_segments WHERE number = ?", (number,)).fetchone()
        segment = SlateSegment(*found)
        with self._open(segment) as file:
            number, offset = next((n, offset) for n, offset, rows, _, _ in row_groups(file, _AT) if row < offset + rows)
            return next(exposures_of(read(file, number, segment.name).slice(row - offset, 1)))

    def walk(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        """Exposures with at_from <= at < at_to in order of key. Holds nothing between two pages, so it outlives sealing."""
        after, until = (max(at_from, FIRST[0] + 1) - 1, LAST[1]), (min(at_to, LAST[0]), FIRST[1])
        while True:
            with self._database.snapshot() as connection:
                found = self._page(connection, after, until)
            if not found:
                return
            for _, exposure in found:
                yield exposure
            after = found[-1][0]

    def _page(self, connection: sqlite3.Connection, after: Key, until: Key) -> list[tuple[Key, Exposure]]:
        """The next slates in order of key, sealed and hot: all of them up to the end of the first row group that is met."""
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM slate_segments WHERE at_max >= ? AND at_min <= ? ORDER BY at_min, number",
            (after[0], until[0]),
        )
        reached, found = until, list[tuple[Key, Exposure]]()
        for segment in (SlateSegment(*row) for row in rows):
            if segment.at_min > reached[0]:
                break
            part = self._next_group(segment, after, reached)
            found += part
            if part:
                reached = min(reached, _past(part[-1][0]))
        open_ones = hot.page(connection, after, reached, PAGE)
        if len(open_ones) == PAGE:  # there may be more of them between the last one and what segments hold
            reached = _past(open_ones[-1][0])
        return sorted((row for row in found + open_ones if row[0] < reached), key=lambda row: row[0])

    def _next_group(self, segment: SlateSegment, after: Key, until: Key) -> list[tuple[Key, Exposure]]:
        """The slates with after < key < until of the first row group that has any."""
        with self._open(segment) as file:
            for number, _, _, low, high in row_groups(file, _AT):
                if high < after[0]:
                    continue
                if low > until[0]:
                    break
                keyed = ((_key(one), one) for one in exposures_of(read(file, number, segment.name)))
                if part := [row for row in keyed if after < row[0] < until]:
                    return part
        return []

    def _open(self, segment: SlateSegment) -> Any:
        path = self._folder / segment.name
        try:
            return opened(path, segment.rows)
        except FileNotFoundError:
            raise Corrupt(f"segment {path} is missing") from None

    def seal(self, before: int) -> list[str]:
        """Move slates shown before `before` (ms) into segments, each of one day (UTC); the names of the new ones."""
        names = []
        self.sweep()
        while name := self._seal_some(before):
            names.append(name)
            self.sweep()
        return names

    def _seal_some(self, before: int) -> str:
        """Seal the oldest hot slates, PAGES pages of one day at most; "" where there are none or another process did it."""
        with self._database.snapshot() as connection:
            oldest = hot.page(connection, FIRST, (before, FIRST[1]), 1)
        if not oldest:
            return ""
        until = (min(before, (oldest[0][0][0] // DAY_MS + 1) * DAY_MS), FIRST[1])
        keys: list[Key] = []
        with closing(ParquetDraft(self._folder, SCHEMA, **WRITTEN)) as draft:
            while len(keys) < PAGES * PAGE:
                with self._database.snapshot() as connection:
                    page = hot.page(connection, keys[-1] if keys else FIRST, until, PAGE)
                if page:
                    draft.write(table_of([exposure for _, exposure in page]))
                    keys += [key for key, _ in page]
                if len(page) < PAGE:
                    break
            draft.finish()
            with self._database.transaction() as connection:
                return _register(connection, draft, keys)

    def sweep(self) -> None:
        """Delete hot rows that are sealed, a few at a time so that appends of others wait for milliseconds."""
        while True:
            with self._database.snapshot() as connection:
                found = connection.execute(
                    "SELECT e.request_id FROM exposures e WHERE e.at <= (SELECT max(at_max) FROM slate_segments)"
                    f" AND {SEALED} ORDER BY e.at LIMIT {_SWEEP}"
                ).fetchall()
            if not found:
                return
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM exposures WHERE request_id = ?", found)

    def problems(self) -> Iterator[str]:
        """One line for each segment that is not what was written, or whose slates the index does not know."""
        with self._database.snapshot() as connection:
            segments = [SlateSegment(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM slate_segments")]
            counted = dict(connection.execute(f"SELECT place >> {_BITS}, count(*) FROM sealed_slates GROUP BY 1").fetchall())
        for segment in segments:
            if wrong := damage(self._folder / segment.name, segment.bytes, segment.sha256):
                yield wrong
            if counted.pop(segment.number, 0) != segment.rows:
                yield f"segment {self._folder / segment.name}: the index does not know all of its slates"
        yield from (f"{count} slates are said to lie in segment {number}, which is none" for number, count in counted.items())


def registered(connection: sqlite3.Connection) -> set[str]:
    """Names of the segments of slates."""
    return {name for (name,) in connection.execute("SELECT name FROM slate_segments")}


def _register(connection: sqlite3.Connection, draft: ParquetDraft, keys: Sequence[Key]) -> str:
    """Publish a finished segment, its row and its index, in a transaction; "" when another process has sealed one of them."""
    number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM slate_segments").fetchone()[0]
    index = sorted((request, number << _BITS | row) for row, (_, request) in enumerate(keys))
    known = "SELECT 1 FROM sealed_slates WHERE request_id = ?"
    if any(connection.execute(known, (request,)).fetchone() for request, _ in index):
        return ""
    connection.executemany("INSERT INTO sealed_slates VALUES (?, ?)", index)
    low, high = keys[0][0], keys[-1][0]
    segment = SlateSegment(number, len(keys), low, high, draft.bytes, draft.sha256, f"{number:09d}.parquet")
    draft.publish(segment.name)
    connection.execute(f"INSERT INTO slate_segments({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(segment))
    return segment.name


def _past(key: Key) -> Key:
    """The key right after one."""
    return (key[0], key[1] + 1) if key[1] < LAST[1] else (key[0] + 1, FIRST[1])


def _key(exposure: Exposure) -> Key:
    return exposure.at, signed(exposure.slate.request_id)
