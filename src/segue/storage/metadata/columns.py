"""The facts of items and users as columns in memory, kept current row by row and handed out as immutable snapshots."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segue.core.languages import language_code
from segue.core.records import ItemRecord, UserRecord
from segue.core.types import MISSING, NO_DAY, Arrays, Int8, Int16, Int32, Items, Users
from segue.storage.metadata.growable import Growable
from segue.storage.metadata.tags import TagRows
from segue.storage.metadata.texts import Texts
from segue.storage.metadata.works import Works

EPOCH = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=65_536)
def release_day(text: str | None) -> int:
    """Days since 1970-01-01 of an ISO date, a year and month or a year (their first day); NO_DAY for anything else.

    What follows a full date, such as a time, does not matter.
    """
    parts = (text or "").strip()[:10].split("-")
    if len(parts[0]) != 4 or len(parts) > 3 or not all(part.isdecimal() and part.isascii() for part in parts):
        return NO_DAY
    year, month, day = (*map(int, parts), 1, 1)[:3]
    try:
        return date(year, month, day).toordinal() - EPOCH
    except ValueError:
        return NO_DAY


@dataclass(frozen=True)
class ItemRows:
    """Some items as they are now: rows (k,) distinct dense ids, and everything that the columns hold of them."""

    rows: Int32
    records: Sequence[ItemRecord]
    added: Int32
    artist: Int32
    album: Int32
    tag_sizes: NDArray[np.int64]
    tags: Int32  # flat, tag_sizes[i] of them for rows[i]
    keys: Sequence[str]  # equal keys are one work, "" is its own


class ItemColumns:
    """Items as columns. Written under the lock of the database; `snapshot` is called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._load_columns(Items.bare(0))
        self._works = Works()
        self.titles = Texts()
        self._n = 0
        self._items: Items | None = None

    def put(self, batch: ItemRows) -> None:
        """Take over some rows."""
        rows, records = batch.rows, batch.records
        with self._lock:
            self._resize(int(rows.max()) + 1)
            self._artist.set(rows, batch.artist)
            self._album.set(rows, batch.album)
            self._added.set(rows, batch.added)
            self._released.set(rows, np.array([release_day(r.released) for r in records], np.int32))
            lengths = [np.nan if r.duration_s is None else r.duration_s for r in records]
            self._duration.set(rows, np.array(lengths, np.float32))
            self._playable.set(rows, np.array([r.playable is not False for r in records], np.bool_))
            self._language.set(rows, np.array([language_code(r.language) for r in records], np.int16))
            self._tags.set(rows.astype(np.int64), batch.tag_sizes, batch.tags)
            self._works.set(rows, batch.keys)
            self.titles.set(rows, [r.title or "" for r in records])
            self._items = None

    def snapshot(self, n: int) -> Items:
        """The columns with at least n rows; the same object until something changes."""
        items = self._items
        if items is not None and len(items) >= n:
            return items
        with self._lock:
            self._resize(n)
            if self._items is None or len(self._items) < self._n:
                self._items = self._build()
            return self._items

    def arrays(self) -> Arrays:
        """Everything as arrays, for the cache."""
        items = self.snapshot(self._n)
        with self._lock:
            columns: Arrays = {f"items.{name}": getattr(items, name) for name in Items.__dataclass_fields__}
            columns.update({f"works.{name}": array for name, array in self._works.arrays().items()})
            columns.update({f"titles.{name}": array for name, array in self.titles.arrays().items()})
            return columns

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """The inverse of `arrays`."""
        with self._lock:
            items = Items(**{name: arrays[f"items.{name}"] for name in Items.__dataclass_fields__})  # type: ignore[arg-type]
            self._load_columns(items)
            self._works.load(_part(arrays, "works."))
            self.titles.load(_part(arrays, "titles."))
            self._n, self._items = len(items), None

    def _load_columns(self, items: Items) -> None:
        self._artist = Growable(items.artist, MISSING)
        self._album = Growable(items.album, MISSING)
        self._released = Growable(items.released, NO_DAY)
        self._added = Growable(items.added)
        self._duration = Growable(items.duration_s, np.nan)
        self._playable = Growable(items.playable, True)
        self._language = Growable(items.language, MISSING)
        self._tags = TagRows(items.tags_ptr, items.tags)

    def _resize(self, n: int) -> None:
        if n > self._n:
            for column in (self._artist, self._album, self._released, self._added):
                column.resize(n)
            self._duration.resize(n)
            self._playable.resize(n)
            self._language.resize(n)
            self._works.resize(n)
            self._n = n

    def _build(self) -> Items:
        tags_ptr, tags = self._tags.view(self._n)
        return Items(
            artist=self._artist.view(),
            album=self._album.view(),
            work=self._works.work.view(),
            released=self._released.view(),
            added=self._added.view(),
            duration_s=self._duration.view(),
            playable=self._playable.view(),
            tags_ptr=tags_ptr,
            tags=tags,
            language=self._language.view(),
        )


class UserColumns:
    """Region, age band and language by dense user id; reads take no lock and may be a put behind, never torn."""

    def __init__(self) -> None:
        self._region: Growable[np.int16] = Growable(np.zeros(0, np.int16), MISSING, live=True)
        self._age: Growable[np.int8] = Growable(np.zeros(0, np.int8), MISSING, live=True)
        self._language: Growable[np.int16] = Growable(np.zeros(0, np.int16), MISSING, live=True)
        self._publish()

    def put(self, rows: Int32, records: Sequence[UserRecord], regions: Int32) -> None:
        """Take over some rows (distinct); region ids fit into 15 bits."""
        self._region.resize(int(rows.max()) + 1)
        self._age.resize(int(rows.max()) + 1)
        self._language.resize(int(rows.max()) + 1)
        self._region.set(rows, regions.astype(np.int16))
        bands = [MISSING if r.age_band is None else r.age_band for r in records]
        self._age.set(rows, np.array(bands, np.int8))
        self._language.set(rows, np.array([language_code(r.language) for r in records], np.int16))
        self._publish()

    def get(self, dense: int) -> tuple[int, int]:
        """(region, age band), MISSING where unknown."""
        region, age, _ = self._seen
        if not 0 <= dense < len(region):
            return MISSING, MISSING
        return int(region[dense]), int(age[dense])

    def language(self, dense: int) -> int:
        """The code of a language, MISSING where unknown."""
        language = self._seen[2]
        return int(language[dense]) if 0 <= dense < len(language) else MISSING

    def facts(self, n: int) -> Users:
        """A copy of the columns with n rows; listeners known from events only are unknown."""
        out = Users.unknown(n)
        region, age, language = self._seen
        out.region[: len(region)] = region[:n]
        out.age_band[: len(age)] = age[:n]
        out.language[: len(language)] = language[:n]
        return out

    def arrays(self) -> Arrays:
        """The columns, for the cache."""
        region, age, language = self._seen
        return {"region": region, "age_band": age, "language": language}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """The inverse of `arrays`."""
        self._region = Growable(arrays["region"].view(np.int16), MISSING, live=True)
        self._age = Growable(arrays["age_band"].view(np.int8), MISSING, live=True)
        self._language = Growable(arrays["language"].view(np.int16), MISSING, live=True)
        self._publish()

    def _publish(self) -> None:
        self._seen: tuple[Int16, Int8, Int16] = (self._region.view(), self._age.view(), self._language.view())


def _part(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
