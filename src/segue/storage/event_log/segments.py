"""Segments: immutable Parquet files of events in order of seq, written once, checked on every read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segue.core.types import EVENT, Events
from segue.storage.event_log.parquet import ParquetDraft, opened, read

ROW_GROUP = 131_072
"""Rows that are read and checked at once: 10.7 MB as EVENT."""
STORED = tuple(name for name in EVENT.names or () if name != "seq")
"""seq is not stored: the rows of a segment are gap-free from its first seq, so it is known before the seqs are given."""
AT = STORED.index("at")
_SCHEMA = pa.schema([(name, pa.from_numpy_dtype(EVENT[name])) for name in STORED])
_COMPRESSION = {name: "NONE" if name in ("key_hi", "key_lo", "body") else "ZSTD" for name in STORED}
_DICTIONARY = ["session", "request", "region", "device", "action", "position"]


@dataclass(frozen=True)
class Segment:
    """A row of the manifest: rows first_seq to last_seq, at_min <= at <= at_max."""

    last_seq: int
    first_seq: int
    arrived_ms: int
    at_min: int
    at_max: int
    bytes: int
    sha256: str
    name: str

    @property
    def rows(self) -> int:
        """How many events it holds."""
        return self.last_seq - self.first_seq + 1


SEGMENT_COLUMNS = "last_seq, first_seq, arrived_ms, at_min, at_max, bytes, sha256, name"


def segment_name(first_seq: int, last_seq: int) -> str:
    """File name: sorts by seq, and a range never has two contents."""
    return f"{first_seq:015d}-{last_seq:015d}.parquet"


class SegmentWriter:
    """Writes one segment as a draft; `finish` makes it durable, `publish` gives it its place."""

    def __init__(self, folder: Path) -> None:
        self._file = ParquetDraft(
            folder,
            _SCHEMA,
            compression=_COMPRESSION,
            compression_level={name: 1 for name, codec in _COMPRESSION.items() if codec == "ZSTD"},
            use_dictionary=_DICTIONARY,
            write_statistics=["at"],
        )
        self._held: list[Events] = []
        self._at: list[tuple[int, int]] = []
        self.rows = 0

    def write(self, events: Events) -> None:
        """Append rows in order, in pieces of any size; row groups are full but for the last."""
        self.rows += len(events)
        self._held.append(events)
        while sum(map(len, self._held)) >= ROW_GROUP:
            whole = np.concatenate(self._held) if len(self._held) > 1 else self._held[0]
            self._write_group(whole[:ROW_GROUP])
            self._held = [whole[ROW_GROUP:]]

    def _write_group(self, events: Events) -> None:
        columns = [pa.array(np.ascontiguousarray(events[name])) for name in STORED]
        self._file.write(pa.Table.from_arrays(columns, schema=_SCHEMA))
        self._at.append((int(events["at"].min()), int(events["at"].max())))

    def finish(self) -> None:
        """Close the file and put it on disk, with its checksum."""
        rest = np.concatenate(self._held)
        if len(rest):
            self._write_group(rest)
        self._file.finish()

    def publish(self, first_seq: int, arrived_ms: int) -> Segment:
        """Name the file; the caller holds the write lock and stores the returned row in the same transaction."""
        last_seq = first_seq + self.rows - 1
        name = segment_name(first_seq, last_seq)
        self._file.publish(name)
        low, high = min(a for a, _ in self._at), max(b for _, b in self._at)
        return Segment(last_seq, first_seq, arrived_ms, low, high, self._file.bytes, self._file.sha256, name)

    def close(self) -> None:
        """Release the file, and remove it unless it was published."""
        self._file.close()


def open_segment(folder: Path, segment: Segment) -> pq.ParquetFile:
    """The file of a segment; FileNotFoundError when a merge has replaced it, Corrupt when it cannot be that segment."""
    return opened(folder / segment.name, segment.rows)


def read_group(file: pq.ParquetFile, number: int, first_seq: int, columns: Sequence[str] | None, name: str) -> Events:
    """One row group as EVENT, seqs from first_seq; unnamed columns are zero. Corrupt when a page fails its checksum."""
    wanted = STORED if columns is None else [column for column in columns if column != "seq"]
    table = read(file, number, name, wanted)
    rows = file.metadata.row_group(number).num_rows
    events = np.empty(rows, EVENT) if columns is None else np.zeros(rows, EVENT)
    for column in wanted:
        events[column] = table.column(column).to_numpy()
    if columns is None or "seq" in columns:
        events["seq"] = np.arange(first_seq, first_seq + rows)
    return events
