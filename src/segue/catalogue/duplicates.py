"""The same recording twice, or a remaster, found by sound and tags: one work, so that a slate holds it once."""

from __future__ import annotations

import numpy as np

from segue.catalogue.works import plain, work_key
from segue.core.ports import Catalogue, Vectors
from segue.core.records import ItemRecord
from segue.core.types import MISSING, Int32

SAME = 0.985
"""From this cosine on two files are one recording, whatever their tags say."""
LIKELY = 0.90
"""From this cosine on they are when their titles agree: other editions, other spellings of the artist, no artist at all."""
FEW = 5
"""Neighbours that are looked at, the nearest."""
WORK = "work"
"""The extra field that names a work: items with equal names are one, whatever their titles."""


def join_duplicates(items: Int32, vectors: Vectors, catalogue: Catalogue, *, same: float = SAME, likely: float = LIKELY) -> int:
    """Make one work of each of these items and its near-duplicates among its few nearest; how many were joined.

    For items whose vector has just been put: a search each, not a comparison of everything with everything. Two items are
    near-duplicates when their cosine is at least `same`, or at least `likely` and their titles agree but for the edition.
    What `segue.catalogue.works` already calls one work stays so; a silent song (a vector of length 0) is like nothing.
    """
    rows = vectors.get(items)
    told = np.isfinite(rows).all(axis=1) & rows.any(axis=1) if rows.shape[1] else np.zeros(len(items), np.bool_)
    items, rows = np.asarray(items, np.int32)[told], rows[told]
    joined = 0
    found, cosines = vectors.search(rows, FEW + 1)
    for item, near, alike in zip(items.tolist(), found, cosines, strict=True):
        close = (near != MISSING) & (near != item) & (alike >= min(likely, same))
        for other, cosine in zip(near[close].tolist(), alike[close].tolist(), strict=True):
            work = catalogue.facts.work
            if work[item] != work[other] and _is_same(catalogue.item(item), catalogue.item(other), cosine, same):
                _join(catalogue, item, other)
                joined += 1
    return joined


def _is_same(one: ItemRecord, other: ItemRecord, cosine: float, same: float) -> bool:
    return cosine >= same or _titles_agree(one, other)


def _titles_agree(one: ItemRecord, other: ItemRecord) -> bool:
    """Whether two titles are one but for the edition; the artists do not matter, since the sound agrees."""
    mine, theirs = (work_key(record.title, "x") if record.title else "" for record in (one, other))
    return bool(mine) and mine == theirs and bool(plain(one.title or ""))


def _join(catalogue: Catalogue, item: int, other: int) -> None:
    """The item goes to the work of the other; where that has no name, both get one."""
    mine, theirs = catalogue.item(item), catalogue.item(other)
    key = _name_of(theirs)
    records = []
    if not key:
        key = f"sound:{theirs.id}"
        records.append(ItemRecord(theirs.id, extra={WORK: key}))
    records.append(ItemRecord(mine.id, extra={WORK: key}))
    catalogue.put_items(records)


def _name_of(record: ItemRecord) -> str:
    return named_work(record) or (work_key(record.title, record.artist) if record.title and record.artist else "")


def named_work(record: ItemRecord) -> str:
    """What the extra field WORK says, "" where it says nothing."""
    return str((record.extra or {}).get(WORK) or "")
