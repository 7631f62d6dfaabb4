"""The examination of a log: every checksum, every seq, every key run; one line for each thing that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from segue.core.errors import Corrupt
from segue.storage.event_log import exposures
from segue.storage.event_log.database import Database
from segue.storage.event_log.parquet import damage
from segue.storage.event_log.reader import decode_batch
from segue.storage.event_log.runs import RUN_COLUMNS, RunRow, verify
from segue.storage.event_log.sealing import COVERED
from segue.storage.event_log.segments import SEGMENT_COLUMNS, Segment, open_segment


def problems(database: Database, segments: Path, runs: Path) -> Iterator[str]:
    """Read everything once; the log may be appended to and sealed meanwhile."""
    with database.snapshot() as connection:
        for (line,) in connection.execute("PRAGMA quick_check"):
            if line != "ok":
                yield f"{database.path}: {line}"
        yield from exposures.problems(connection)
        held = [Segment(*row) for row in connection.execute(f"SELECT {SEGMENT_COLUMNS} FROM segments")]
        spans = [(segment.first_seq, segment.last_seq) for segment in held]
        hot = f"SELECT b.last_seq, b.first_seq, b.crc, b.payload FROM batches b WHERE NOT {COVERED}"
        for last, first, crc, payload in connection.execute(hot):
            spans.append((first, last))
            try:
                decode_batch(payload, first, last, crc)
            except Corrupt as error:
                yield str(error)
        yield from _gaps(sorted(spans))
        keys = [RunRow(*row) for row in connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY last_seq")]
    for segment in held:
        yield from _segment(segments, segment)
    yield from _gaps([(row.first_seq, row.last_seq) for row in keys])
    for row in keys:
        try:
            verify(runs, row)
        except (Corrupt, FileNotFoundError) as error:
            yield str(error)


def _segment(folder: Path, segment: Segment) -> Iterator[str]:
    wrong = damage(folder / segment.name, segment.bytes, segment.sha256)
    if wrong:
        yield wrong
        return
    try:
        open_segment(folder, segment).close()
    except (Corrupt, FileNotFoundError) as error:
        yield str(error)


def _gaps(spans: list[tuple[int, int]]) -> Iterator[str]:
    reached = 0
    for first, last in spans:
        if first != reached + 1:
            yield f"events {reached + 1} to {first - 1} are missing" if first > reached else f"events {first}.. are twice"
        reached = last
