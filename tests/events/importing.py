"""A catalogue and a log in memory, as small as the importers need them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from segue.core.ports import ACCEPTED, CONFLICT, DUPLICATE, Appended, Catalogue
from segue.core.records import ItemRecord, UserRecord
from segue.core.types import EVENT, Events, Int32
from segue.events.importers import ImportBatch, ImportSummary, run_import

NOW = 1_795_000_000_000  # November 2026


class Names:
    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.places)

    def intern(self, names: Sequence[str]) -> Int32:
        return np.array([self.places.setdefault(n, len(self.places)) for n in names], np.int32)

    def name(self, dense: int) -> str:
        return list(self.places)[dense]


class Town:
    """The catalogue and the log together; `take` imports what a reader yields."""

    def __init__(self, folder: Path) -> None:
        self.users, self.items, self.regions, self.devices = (Names() for _ in range(4))
        self.item_facts: dict[str, dict[str, Any]] = {}
        self.user_facts: dict[str, UserRecord] = {}
        self.keys: dict[tuple[int, int], int] = {}
        self.log: list[Events] = []
        self.texts: list[str] = []
        self.puts = 0
        self.rejected_path = folder / "rejected.jsonl"

    def put_items(self, records: Sequence[ItemRecord]) -> Int32:
        self.puts += len(records)
        for r in records:
            self.item_facts.setdefault(r.id, {}).update(msgspec.to_builtins(r))  # fields that are None are left out
        return self.items.intern([r.id for r in records])

    def put_users(self, records: Sequence[UserRecord]) -> Int32:
        self.user_facts.update({r.id: r for r in records})
        return self.users.intern([r.id for r in records])

    def append(self, events: Events, texts: Mapping[int, str] | None = None, /) -> Appended:
        status = []
        for hi, lo, body in zip(*(events[n].tolist() for n in ("key_hi", "key_lo", "body")), strict=True):
            old = self.keys.setdefault((hi, lo), body)
            status.append(ACCEPTED if old is body else DUPLICATE if old == body else CONFLICT)
        result = np.array(status, np.uint8)
        self.log.append(events[result == ACCEPTED])
        self.texts.extend((texts or {}).values())
        return Appended(result, np.zeros(len(events), np.int64))

    def take(self, reader: Iterable[ImportBatch]) -> ImportSummary:
        return run_import(reader, cast(Catalogue, self), self.append, self.rejected_path)

    @property
    def events(self) -> Events:
        return np.concatenate([np.zeros(0, EVENT), *self.log])

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.rejected_path.read_text("utf-8").splitlines()]

    def rows(self, *fields: str) -> list[tuple[Any, ...]]:
        """Events in order, names for user, item, region and device."""
        columns = []
        for field in fields:
            values = self.events[field].tolist()
            names = {"user": self.users, "item": self.items, "region": self.regions, "device": self.devices}.get(field)
            columns.append(values if names is None else [None if v < 0 else names.name(v) for v in values])
        return list(zip(*columns, strict=True))


def whole(summary: ImportSummary) -> bool:
    """Whether every row of the source is accounted for."""
    s = summary
    return s.rows == s.accepted + s.duplicates + s.conflicts + s.rejected + s.repeated + s.fact_rows
