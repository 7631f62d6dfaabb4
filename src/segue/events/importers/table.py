"""Reads the files that a mapping describes: events, item facts and user facts, batch after batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segue.core.errors import BadInput
from segue.core.types import Bool
from segue.events.importers.batch import BATCH_ROWS, EventColumns, ImportBatch
from segue.events.importers.columns import Frame, lookup_key, texts
from segue.events.importers.events_of import EventMaker
from segue.events.importers.facts import FactMaker, item_records
from segue.events.importers.files import Raw, exploded, header_of, kind_of, open_parquet, raw_batches
from segue.events.importers.mapping import FIELDS, ROW, Mapping, Table
from segue.events.importers.repeats import whole_blocks

ITEM_FACTS = ("title", "artist", "album", "tags", "released", "media", "playable")


@dataclass(frozen=True)
class Job:
    """One file read by one table of a mapping."""

    path: Path
    name: str  # as people see it: below the folder
    table: Table


class TableReader:
    """Every file of a mapping, one after the other; iterate again to read again."""

    def __init__(self, root: Path, mapping: Mapping, now: int, batch_rows: int = BATCH_ROWS) -> None:
        self.root, self.mapping, self.now, self.batch_rows = root, mapping, now, batch_rows
        self.name = mapping.name
        self.jobs = jobs(root, mapping)

    def __iter__(self) -> Iterator[ImportBatch]:
        sizes = [max(job.path.stat().st_size, 1) for job in self.jobs]
        total, done = sum(sizes), 0
        for number, (job, size) in enumerate(zip(self.jobs, sizes, strict=True)):
            for batch in self._read(job, str(number)):
                share = (done + size * (batch.share or 0.0)) / total
                yield _with_share(batch, share)
            done += size

    def _read(self, job: Job, part: str) -> Iterator[ImportBatch]:
        table, lookups = job.table, self._lookups(job.table)
        names, found = table.sources(), columns_of(job.path, table)
        if missing := [n for n in names if n not in found] if found is not None else []:
            raise BadInput(f"{job.name}: expected the columns {', '.join(missing)}; found {', '.join(found or ())}")
        raws: Iterator[Raw] = raw_batches(job.path, table, self.batch_rows)
        for name in [n for f in FIELDS if (s := table.spec(f)) is not None and s.explode for n in s.sources]:
            raws = exploded(raws, name)
        if table.drop_repeated_blocks:
            raws = whole_blocks(raws, _session_columns(table))
        header = 0 if table.header or kind_of(job.path) != "csv" else 1
        if table.role in ("items", "users"):
            maker = FactMaker(table, self.now)
            for raw in raws:
                yield maker.batch(Frame(raw, lookups, header), raw, job.name)
            yield maker.rest(job.name)
            return
        events = EventMaker(table, self.now)
        for raw in raws:
            yield self._events(events, Frame(raw, lookups, header), raw, job.name, part)

    def _events(self, maker: EventMaker, frame: Frame, raw: Raw, file: str, part: str) -> ImportBatch:
        columns, good, repeated = maker.make(frame)
        items = []
        if any(maker.table.spec(f) is not None for f in ITEM_FACTS):
            items = item_records(frame, maker.table, *_first_rows(columns, good))
        rejected = frame.refused(maker.table.sources()) + raw.lost
        rows = frame.n + len(raw.lost)
        return ImportBatch(file, rows, columns, items, [], rejected, repeated, 0, raw.share, part)

    def _lookups(self, table: Table) -> dict[str, dict[str, str]]:
        """The other files that the table looks values up in: their pairs, in memory."""
        tables: dict[str, dict[str, str]] = {}
        for field in FIELDS:
            spec = table.spec(field)
            if spec is None or spec.lookup is None:
                continue
            found = tables.setdefault(lookup_key(spec), {})
            look = spec.lookup
            folder = self.root if self.root.is_dir() else self.root.parent
            other = Table(path=look.path, role="items", id=look.key, title=look.value)
            for raw in raw_batches(folder / look.path, other):
                keys, _ = texts(raw.columns[look.key])
                values, _ = texts(raw.columns[look.value])
                for row in range(raw.n):
                    key, value = keys.get(row), values.get(row)
                    if key is not None and value is not None:
                        found[key] = value
        return tables


def _with_share(batch: ImportBatch, share: float) -> ImportBatch:
    return ImportBatch(
        batch.file, batch.rows, batch.events, batch.items, batch.users, batch.rejected, batch.repeated, batch.fact_rows,
        share, batch.part,
    )  # fmt: skip


def _session_columns(table: Table) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for field in ("user", "session", "playlist"):
        spec = table.spec(field)
        if spec is not None:
            names.update(dict.fromkeys(spec.sources))
    return tuple(names)


def _first_rows(events: EventColumns, good: Bool) -> tuple[list[int], list[str]]:
    """The first row of the frame that holds each item, and the item."""
    rows = np.flatnonzero(good)
    codes, first = np.unique(events.item.codes, return_index=True)
    known = codes >= 0
    return rows[first[known]].tolist(), [events.item.values[c] for c in codes[known].tolist()]


def columns_of(path: Path, table: Table) -> tuple[str, ...] | None:
    """The columns of a file without reading its rows; None where only the rows would tell (JSON lines)."""
    kind = table.kind or kind_of(path)
    if kind == "parquet":
        return tuple(open_parquet(path).schema_arrow.names)
    return tuple(header_of(path, table)) if kind == "csv" else None


def jobs(root: Path, mapping: Mapping) -> list[Job]:
    """Which files of a folder (or the file itself) the tables of a mapping read, in the order of the mapping."""
    found = []
    for table in mapping.table:
        if root.is_file():
            if root.match(table.path) or len(mapping.table) == 1:
                found.append(Job(root, root.name, table))
            continue
        files = [path for path in sorted(root.glob(table.path)) if path.is_file()]
        found.extend(Job(path, str(path.relative_to(root)), table) for path in files)
    if not found:
        expected = ", ".join(t.path for t in mapping.table)
        raise BadInput(f"{root}: the mapping {mapping.name!r} reads {expected}; found none of them", str(root))
    return found


__all__ = ["ROW", "Job", "TableReader", "columns_of", "jobs"]
