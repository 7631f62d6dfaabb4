"""Takes batches into the catalogue and the log: names become dense ids, rows become EVENT arrays, refusals a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import msgspec
import numpy as np

from segue.core.errors import BadInput
from segue.core.hashing import hash64, request_number
from segue.core.ports import ACCEPTED, CONFLICT, DUPLICATE, Appended, Catalogue
from segue.core.records import ItemRecord, UserRecord
from segue.core.types import EVENT, MISSING, Events
from segue.events.checks import POSITION_LIMIT
from segue.events.importers.batch import EventColumns, ImportBatch
from segue.events.importers.keys import NameHashes, Repeats, event_keys, hashes64, rows_of
from segue.events.rows import put_ids

CHUNK_ROWS = 65_536
HOPELESS_ROWS = 100_000
REMEMBERED = 1_000_000


class Append(Protocol):
    """EventLog.append, or something around it that also folds the state."""

    def __call__(self, events: Events, texts: Mapping[int, str] | None = None, /) -> Appended:
        """Store the events and return when they are durable; `texts` maps row -> words of a search."""
        ...


Progress = Callable[[int, float | None], None]
"""(rows read so far, share of the import that is done or None)"""


@dataclass
class ImportSummary:
    """What became of every row: rows = accepted + duplicates + conflicts + rejected + repeated + fact_rows."""

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    repeated: int = 0  # rows of blocks that the source repeats
    fact_rows: int = 0  # rows that told facts only
    users: int = 0  # users that were new to the catalogue
    items: int = 0  # items that were new to the catalogue
    first_at: int = 0  # ms, of the events of this run, 0 when there are none
    last_at: int = 0
    seconds: float = 0.0


def run_import(
    reader: Iterable[ImportBatch], catalogue: Catalogue, append: Append, rejected_path: Path, progress: Progress | None = None
) -> ImportSummary:
    """Take in everything that a reader yields; BadInput when not one row of it could be used.

    Names are interned and facts put before the events that name them; events are appended in chunks of 65,536 rows or
    more, so an interrupted import keeps whole chunks and a second run finds them as duplicates.
    """
    started = time.perf_counter()
    sink = _Sink(catalogue, append, rejected_path)
    before = len(catalogue.users), len(catalogue.items)
    try:
        for batch in reader:
            sink.take(batch)
            if progress is not None:
                progress(sink.summary.rows, batch.share)
            sink.give_up(HOPELESS_ROWS)
        sink.flush()
        sink.give_up(1)
    finally:
        sink.close()
    summary = sink.summary
    summary.users, summary.items = len(catalogue.users) - before[0], len(catalogue.items) - before[1]
    summary.seconds = time.perf_counter() - started
    return summary


class _Sink:
    """The state of one run."""

    def __init__(self, catalogue: Catalogue, append: Append, rejected_path: Path) -> None:
        self.catalogue, self.append, self.rejected_path = catalogue, append, rejected_path
        self.summary = ImportSummary()
        self.repeats: dict[str, Repeats] = {}
        self.pending: list[Events] = []
        self.texts: dict[int, str] = {}
        self.waiting = 0
        self.known: set[int] = set()
        self.first_reason = ""
        self.user_hashes, self.item_hashes = NameHashes(), NameHashes()
        self.rejected: IO[bytes] = rejected_path.open("wb")

    def close(self) -> None:
        """Release the file of rejected rows."""
        self.rejected.close()

    def take(self, batch: ImportBatch) -> None:
        """One batch: facts, events, refusals."""
        summary = self.summary
        summary.rows += batch.rows
        summary.repeated += batch.repeated
        summary.fact_rows += batch.fact_rows
        summary.rejected += len(batch.rejected)
        self._reject(batch)
        heard = batch.events is not None  # the first spelling of a name stays: plays write it in many ways
        if items := [r for r in batch.items if self._fresh(r, heard)]:
            self.catalogue.put_items(items)
        if users := [r for r in batch.users if self._fresh(r, False)]:
            self.catalogue.put_users(users)
        if batch.events is not None and len(batch.events):
            key = f"{batch.file}\t{batch.part}"
            if key not in self.repeats:
                self.repeats = {key: Repeats()}
            self._queue(batch.events, self.repeats[key])

    def _reject(self, batch: ImportBatch) -> None:
        for row in batch.rejected:
            if not self.first_reason:
                self.first_reason = f"{batch.file} line {row.line}: {row.reason}"
            line = {"file": batch.file, "line": row.line, "reason": row.reason, "row": row.row}
            self.rejected.write(msgspec.json.encode(line) + b"\n")

    def _fresh(self, record: ItemRecord | UserRecord, by_id: bool) -> bool:
        """Whether this run has not put the record (or any of its id) before; forgets now and then: a repeated put at worst."""
        number = hash64(record.id if by_id else msgspec.json.encode(record).decode())
        if number in self.known:
            return False
        if len(self.known) >= REMEMBERED:
            self.known.clear()
        self.known.add(number)
        return True

    def _queue(self, columns: EventColumns, repeats: Repeats) -> None:
        self.texts.update({self.waiting + place: text for place, text in columns.texts.items()})
        self.pending.append(self._events(columns, repeats))
        self.waiting += len(columns)
        if self.waiting >= CHUNK_ROWS:
            self.flush()

    def _events(self, columns: EventColumns, repeats: Repeats) -> Events:
        events = np.zeros(len(columns), EVENT)
        catalogue = self.catalogue
        dense = {}
        for name, coded, names in (
            ("user", columns.user, catalogue.users), ("item", columns.item, catalogue.items),
            ("region", columns.region, catalogue.regions), ("device", columns.device, catalogue.devices),
        ):  # fmt: skip
            dense[name] = names.intern(coded.values) if coded.values else np.zeros(0, np.int32)
            put_ids(events, name, np.append(dense[name], np.int32(MISSING))[coded.codes])
        sessions = hashes64(columns.session.values)
        users = self.user_hashes.of(columns.user.values, dense["user"])
        items = self.item_hashes.of(columns.item.values, dense["item"])
        events["key_hi"], events["key_lo"], events["body"] = event_keys(columns, repeats, users, items, sessions)
        for name in ("at", "action", "played_s", "duration_s", "value"):
            events[name] = getattr(columns, name)
        events["position"] = np.minimum(columns.position, POSITION_LIMIT)
        events["session"] = rows_of(columns.session, sessions)
        requests = np.array([request_number(v) for v in columns.request.values], np.uint64)
        events["request"] = rows_of(columns.request, requests)
        return events

    def flush(self) -> None:
        """Append what waits."""
        if not self.pending:
            return
        events = self.pending[0] if len(self.pending) == 1 else np.concatenate(self.pending)
        appended = self.append(events, self.texts) if self.texts else self.append(events)
        counts = np.bincount(appended.status, minlength=3)
        summary = self.summary
        summary.accepted += int(counts[ACCEPTED])
        summary.duplicates += int(counts[DUPLICATE])
        summary.conflicts += int(counts[CONFLICT])
        first, last = int(events["at"].min()), int(events["at"].max())
        summary.first_at = min(summary.first_at or first, first)
        summary.last_at = max(summary.last_at, last)
        self.pending, self.texts, self.waiting = [], {}, 0

    def give_up(self, rows: int) -> None:
        """BadInput when so many rows were read and none was of use."""
        s = self.summary
        if s.rejected >= rows and s.rejected == s.rows:
            raise BadInput(
                f"none of {s.rows} rows could be used; the first: {self.first_reason}. Name the format with --format "
                "listenbrainz, lastfm, spotify, movielens or table, or describe the columns with --mapping FILE; "
                f"every row is in {self.rejected_path.name}"
            )
