"""The same recording twice, or a remaster, found by sound and tags: one work, so that a slate holds it once."""

from __future__ import annotations

import numpy as np

from segue.catalogue.works import plain, work_key
from segue.core.ports import Catalogue, Vectors
from segue.core.records import BY_SOUND, WORK, ItemRecord, named_work
from segue.core.types import MISSING, Int32

SAME = 0.985
"""From this cosine on two files are one recording, where tags do not tell them apart and their lengths agree."""
LENGTHS_S = 3.0
"""Lengths agree when they differ by at most so many seconds, or one is not known."""
LIKELY = 0.90
"""From this cosine on they are when their titles agree: other editions, other spellings of the artist, no artist at all."""
FEW = 5
"""Neighbours that are looked at, the nearest."""
FOLLOWING = 12
"""Recordings of works that become one for a copy that lies between them: beyond this, one style is likelier than one song."""
NOBODY = frozenset({"unknown", "unknown artist", "various artists", "artist"})
"""Artists that are none: what rippers write where they do not know."""


def join_duplicates(items: Int32, vectors: Vectors, catalogue: Catalogue, *, same: float = SAME, likely: float = LIKELY) -> int:
    """Make one work of each of these items and its near-duplicates among its few nearest; how many were joined.

    For items whose vector has just been put: a search each, not a comparison of everything with everything. Two items are
    near-duplicates when their cosine is at least `likely` and their titles agree but for the edition; or at least `same`, their
    lengths agree, and one of them has no title or no artist. Songs that tags tell apart stay apart, however alike:
    two songs of one style may sound more alike than two copies of one recording (docs/neighbours.md).
    What `segue.catalogue.works` already calls one work stays so; a silent song (a vector of length 0) is like nothing.
    """
    rows = vectors.get(items)
    told = np.isfinite(rows).all(axis=1) & rows.any(axis=1) if rows.shape[1] else np.zeros(len(items), np.bool_)
    items, rows = np.asarray(items, np.int32)[told], rows[told]
    joined = 0
    found, cosines = vectors.search(rows, FEW + 1)
    for item, near, alike in zip(items.tolist(), found, cosines, strict=True):
        close = (near != MISSING) & (near != item) & (alike >= min(likely, same))
        joined += _join_near(catalogue, item, near[close].tolist(), [cosine >= same for cosine in alike[close].tolist()])
    return joined


def _join_near(catalogue: Catalogue, item: int, others: list[int], sure: list[bool]) -> int:
    """An item that is a work of its own goes to that of the nearest that it is the same as; the works of the others follow.

    Who shares a work takes it along, so that none is torn apart: whole works follow where titles agree, or where nothing in
    them is told and they stay small. One that is told goes to no work that holds another song that is.
    """
    joined = 0
    for other, alike in zip(others, sure, strict=True):
        work = catalogue.facts.work
        one, its = catalogue.item(item), catalogue.item(other)
        if work[item] == work[other] or not _is_same(one, its, alike):
            continue
        mine, theirs = (np.flatnonzero(work == work[each]).tolist() for each in (item, other))
        agree = _titles_agree(one, its)
        if len(mine) == 1 and (agree or not _is_told(one) or not any(_is_told(catalogue.item(each)) for each in theirs)):
            _join(catalogue, item, other)
        elif agree or (len(mine) + len(theirs) <= FOLLOWING and not any(_is_told(catalogue.item(each)) for each in theirs)):
            for each in theirs:
                _join(catalogue, each, item)
        else:
            continue
        joined += 1
    return joined


def _is_same(one: ItemRecord, other: ItemRecord, alike: bool) -> bool:
    """Of two that are at least likely; `alike`: they sound the same."""
    if _titles_agree(one, other):
        return True
    told = _is_told(one) and _is_told(other)
    return alike and not told and _lengths_agree(one, other)


def _is_told(record: ItemRecord) -> bool:
    """Whether its tags say which song it is."""
    artist = plain(record.artist or "")
    return bool(plain(record.title or "")) and bool(artist) and artist not in NOBODY


def _lengths_agree(one: ItemRecord, other: ItemRecord) -> bool:
    mine, theirs = one.duration_s, other.duration_s
    return mine is None or theirs is None or abs(mine - theirs) <= LENGTHS_S


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
        key = f"{BY_SOUND}{theirs.id}"
        records.append(ItemRecord(theirs.id, extra={WORK: key}))
    records.append(ItemRecord(mine.id, extra={WORK: key}))
    catalogue.put_items(records)


def _name_of(record: ItemRecord) -> str:
    return named_work(record) or (work_key(record.title, record.artist) if record.title and record.artist else "")
