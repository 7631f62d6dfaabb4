"""Sealing: closed days of hot batches become segments, small segments become bigger ones, and crashes leave no litter."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from segue.core.clock import DAY_MS
from segue.core.errors import Corrupt
from segue.storage.event_log.database import Database
from segue.storage.event_log.files import sweep
from segue.storage.event_log.reader import LogReader, Window
from segue.storage.event_log.runs import RUN_COLUMNS, RunRow
from segue.storage.event_log.segments import SEGMENT_COLUMNS, Segment, SegmentWriter
from segue.storage.event_log.slate_segments import registered

SEAL_ROWS = 4_000_000
"""Rows of a segment at most, unless one append brought more."""
MERGE_FAN = 4
_SWEEP_BATCHES = 64
COVERED = "EXISTS (SELECT 1 FROM segments s WHERE s.last_seq >= b.last_seq AND s.first_seq <= b.first_seq)"


def recover(database: Database, segments: Path, runs: Path, slates: Path) -> None:
    """Remove what crashes left: drafts of the dead, files without a row, batches that a segment has replaced.

    Key runs that are missing or cut short are struck from the manifest, with all later ones: the index reads their keys
    from the log again.
    """
    sweep_batches(database)
    with database.transaction() as connection:
        rows = [RunRow(*row) for row in connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY last_seq")]
        good = 0
        while good < len(rows) and _whole(runs / rows[good].name, rows[good].bytes):
            good += 1
        if good < len(rows):
            connection.execute("DELETE FROM runs WHERE last_seq >= ?", (rows[good].last_seq,))
        sweep(runs, {row.name for row in rows[:good]})
        sweep(segments, {name for (name,) in connection.execute("SELECT name FROM segments")})
        sweep(slates, registered(connection))


def _whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def sweep_batches(database: Database) -> None:
    """Delete batches whose events lie in a segment, a few at a time so that appends of others wait for milliseconds."""
    while True:
        with database.snapshot() as connection:
            found = connection.execute(
                f"SELECT b.last_seq FROM batches b WHERE {COVERED} ORDER BY b.last_seq LIMIT {_SWEEP_BATCHES}"
            ).fetchall()
        if not found:
            return
        with database.transaction() as connection:
            connection.executemany("DELETE FROM batches WHERE last_seq = ?", found)


def seal(database: Database, reader: LogReader, folder: Path, before: int) -> list[str]:
    """Turn hot batches that arrived before `before` into segments, a day or SEAL_ROWS each; the names of the new ones."""
    names = []
    sweep_batches(database)
    for first, last, arrived in list(_closed(database, before)):
        name = _replace(database, reader, folder, first, last, arrived, [])
        if name:
            names.append(name)
            sweep_batches(database)
    return names


def _closed(database: Database, before: int) -> Iterator[tuple[int, int, int]]:
    """(first seq, last seq, last arrival) of stretches of batches without a gap, of one day of arrival (UTC)."""
    with database.snapshot() as connection:
        rows = connection.execute(
            "SELECT first_seq, last_seq, arrived_ms FROM batches WHERE arrived_ms < ? ORDER BY last_seq", (before,)
        ).fetchall()
    start, stretch = 0, 0
    for number, (first, last, arrived) in enumerate(rows):
        following = rows[number + 1] if number + 1 < len(rows) else None
        start = start or first
        stretch = max(stretch, arrived)
        if (
            following is None
            or following[0] != last + 1
            or following[2] // DAY_MS != arrived // DAY_MS
            or following[1] - start >= SEAL_ROWS
        ):
            yield start, last, stretch
            start, stretch = 0, 0


def merge_small(database: Database, reader: LogReader, folder: Path) -> list[str]:
    """Merge MERGE_FAN or more neighbours of which none is bigger than the others together; the names of the new ones."""
    names = []
    while group := _next_group(database):
        name = _replace(database, reader, folder, group[0].first_seq, group[-1].last_seq, group[-1].arrived_ms, group)
        if not name:
            break
        names.append(name)
        for segment in group:
            (folder / segment.name).unlink(missing_ok=True)
    return names


def _next_group(database: Database) -> list[Segment]:
    with database.snapshot() as connection:
        rows = connection.execute(f"SELECT {SEGMENT_COLUMNS} FROM segments ORDER BY last_seq").fetchall()
    segments = [Segment(*row) for row in rows]
    for start in range(len(segments) - MERGE_FAN + 1):
        group = segments[start : start + MERGE_FAN]
        sizes = sorted(segment.rows for segment in group)
        joined = all(b.first_seq == a.last_seq + 1 for a, b in pairwise(group))
        if joined and sum(sizes) <= SEAL_ROWS and sizes[-1] <= sum(sizes[:-1]):
            return group
    return []


def _replace(
    database: Database, reader: LogReader, folder: Path, first: int, last: int, arrived: int, old: Sequence[Segment]
) -> str:
    """Write first..last as one segment and register it in the place of `old`; "" when another process was faster."""
    with closing(SegmentWriter(folder)) as writer:
        for events in reader.walk(Window(first - 1, last)):
            writer.write(events)
        if writer.rows != last - first + 1:
            raise Corrupt(f"the log holds {writer.rows} events from {first} to {last}, expected {last - first + 1}")
        writer.finish()
        with database.transaction() as connection:
            if not _unchanged(connection, first, last, old):
                return ""
            connection.executemany("DELETE FROM segments WHERE name = ?", [(segment.name,) for segment in old])
            return register(connection, writer, first, arrived).name


def register(connection: sqlite3.Connection, writer: SegmentWriter, first: int, arrived: int) -> Segment:
    """Publish a finished segment and write its row; in a transaction."""
    segment = writer.publish(first, arrived)
    values = tuple(getattr(segment, column) for column in SEGMENT_COLUMNS.split(", "))
    connection.execute(f"INSERT INTO segments({SEGMENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    return segment


def _unchanged(connection: sqlite3.Connection, first: int, last: int, old: Sequence[Segment]) -> bool:
    names = connection.execute(
        "SELECT name FROM segments WHERE last_seq >= ? AND first_seq <= ? ORDER BY last_seq", (first, last)
    ).fetchall()
    return [name for (name,) in names] == [segment.name for segment in old]
