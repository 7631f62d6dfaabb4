"""The catalogue on one machine: truth in SQLite, columns in memory, a memory-mapped cache that makes starting quick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np

from segue.core.errors import NotFound
from segue.core.records import ItemRecord, UserRecord
from segue.core.types import EVENT, MISSING, Int32, Items, Users
from segue.storage.metadata.cache import Cache
from segue.storage.metadata.columns import ItemColumns, ItemRows, UserColumns
from segue.storage.metadata.database import Database, Transaction
from segue.storage.metadata.merge import merged
from segue.storage.metadata.names import MOST_NAMES, SqliteNames
from segue.storage.metadata.search import MOST_WORDS, SearchIndex, holds, words

KINDS = ("users", "items", "artists", "albums", "tags", "regions", "devices")
"""The place of a kind is its number in the database: append new ones, never reorder."""
MOST = {kind: int(np.iinfo(EVENT[column]).max) + 1 for kind, column in (("regions", "region"), ("devices", "device"))}
"""As many names as the column of an event can tell apart: one more would be another's id there."""
BATCH = 20_000
Resolve = Callable[[SqliteNames, Sequence[str]], Int32]


class SqliteCatalogue:
    """A Catalogue in FOLDER/catalogue.db (WAL, synchronous=FULL) with a cache of its columns in FOLDER/cache.

    `today` gives the day (since 1970-01-01) that `added` is set to when an item is first put; `work_key(title, artist)` gives
    equal keys to near-duplicates and "" to what is a work of its own (catalogue.works.work_key); an item's extra field `work`
    overrides it. Threads and processes may
    share it. Fields that are None keep what was stored; "" and [] clear it; `extra` is merged key by key, null removes a key.
    """

    def __init__(self, folder: Path, *, today: Callable[[], int], work_key: Callable[[str, str], str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._today, self._work_key = today, work_key
        self._database = Database(folder / "catalogue.db")
        self._names = {
            kind: SqliteNames(self._database, number, kind, MOST.get(kind, MOST_NAMES)) for number, kind in enumerate(KINDS)
        }
        self.users, self.items = self._names["users"], self._names["items"]
        self.artists, self.albums = self._names["artists"], self._names["albums"]
        self.tags, self.regions = self._names["tags"], self._names["regions"]
        self.devices = self._names["devices"]
        self._items, self._users = ItemColumns(), UserColumns()
        self._item_version = self._user_version = 0
        self._cache = Cache(folder / "cache", self._database)
        self._load_cache()
        self._database.on_change(self._take_in)
        self._database.refresh()
        self._search = SearchIndex(self._database)
        self._save_cache()

    @property
    def facts(self) -> Items:
        """The item columns as of now, len(items) rows; a new object after each change, whose arrays never change.

        For a moment after an item got its id, its row may still be that of an item that only events know.
        """
        return self._items.snapshot(len(self.items))

    @property
    def user_facts(self) -> Users:
        """The coarse facts of all listeners as of now, len(users) rows: a copy."""
        return self._users.facts(len(self.users))

    def put_items(self, records: Sequence[ItemRecord]) -> Int32:
        """Insert or update, in one transaction; (n,) dense ids. Of two records with one id the later has the last word."""
        with self._database.write() as transaction:
            known = len(self.items)
            dense = self.items.stage(transaction, [record.id for record in records])
            stored: dict[int, tuple[int, ItemRecord]] = {}
            changed: dict[int, ItemRecord] = {}
            for row, record in zip(dense.tolist(), records, strict=True):
                if row < known and row not in stored:
                    stored.update(self._stored_item(transaction, row))
                old = changed.get(row) or (stored[row][1] if row in stored else None)
                changed[row] = merged(old, record)
            changed = {row: new for row, new in changed.items() if row not in stored or stored[row][1] != new}
            if changed:
                self._write_items(transaction, stored, changed)
        return dense

    def put_users(self, records: Sequence[UserRecord]) -> Int32:
        """Insert or update coarse facts of users, in one transaction; (n,) dense ids."""
        with self._database.write() as transaction:
            known = len(self.users)
            dense = self.users.stage(transaction, [record.id for record in records])
            stored: dict[int, UserRecord] = {}
            changed: dict[int, UserRecord] = {}
            for row, record in zip(dense.tolist(), records, strict=True):
                if row < known and row not in stored:
                    found = transaction.execute("SELECT json FROM users WHERE dense = ?", (row,)).fetchone()
                    if found:
                        stored[row] = msgspec.json.decode(found[0], type=UserRecord)
                changed[row] = merged(changed.get(row) or stored.get(row), record)
            changed = {row: new for row, new in changed.items() if stored.get(row) != new}
            if changed:
                self._write_users(transaction, changed)
        return dense

    def item(self, dense: int) -> ItemRecord:
        """All that is known of an item; a bare record with its id when it is known from events only; NotFound."""
        found = self._database.reader().execute("SELECT json FROM items WHERE dense = ?", (int(dense),)).fetchone()
        return msgspec.json.decode(found[0], type=ItemRecord) if found else ItemRecord(self.items.name(dense))

    def user(self, dense: int) -> UserRecord:
        """All that is known of a user, favourite tags and artists included; a bare record when nothing is; NotFound."""
        found = self._database.reader().execute("SELECT json FROM users WHERE dense = ?", (int(dense),)).fetchone()
        return msgspec.json.decode(found[0], type=UserRecord) if found else UserRecord(self.users.name(dense))

    def user_context(self, dense: int) -> tuple[int, int]:
        """(region, age band) of a user, MISSING where unknown: an array look-up, for the hot path."""
        return self._users.get(dense)

    def user_language(self, dense: int) -> int:
        """core.languages.language_code of a user, MISSING where unknown: an array look-up, for the hot path."""
        return self._users.language(dense)

    def titles(self, dense: Int32) -> list[tuple[str, str]]:
        """(title, artist) of items; the external id stands in for a missing title, "" for a missing artist; NotFound."""
        dense = np.asarray(dense, np.int32)
        rows = dense.tolist()
        if rows and not 0 <= min(rows) <= max(rows) < len(self.items):
            raise NotFound(f"no item has a dense id outside 0 to {len(self.items) - 1}")
        titles = self._items.titles.get(dense)
        if not all(titles):
            titles = [title or self.items.name(row) for title, row in zip(titles, rows, strict=True)]
        artist = self.facts.artist[dense]
        unknown = artist == MISSING
        if not unknown.any():
            return list(zip(titles, self.artists.all(artist), strict=True))
        known = iter(self.artists.all(artist[~unknown]))
        return [(title, "" if none else next(known)) for title, none in zip(titles, unknown.tolist(), strict=True)]

    def search(self, text: str, limit: int) -> Int32:
        """Items whose title and artist hold all the words (the last may be a beginning), best first; (k,) with k <= limit.

        Best: the title is what was asked for, then begins with it, then holds it; then a last word that is whole, then the
        shorter title, then the smaller id. Case, marks and apostrophes do not matter.
        Of a word that very many items hold, only the first few hundred are compared.
        """
        wanted = words(text)[:MOST_WORDS]
        asked = " ".join(wanted)
        known = len(self.items)  # the index knows what another process put before `refresh` takes it in
        found = [dense for dense in self._search.find(wanted) if dense < known]
        ranked = []
        for dense, (title, artist) in zip(found, self.titles(np.array(found, np.int32)), strict=True):
            of_title = words(title)
            present = [*of_title, *words(artist)]
            if holds(wanted, present):
                plain = " ".join(of_title)
                place = 0 if plain == asked else 1 if plain.startswith(asked) else 2 if asked in plain else 3
                ranked.append((place, wanted[-1] not in present, len(plain), dense))
        return np.array([dense for *_, dense in sorted(ranked)[: max(limit, 0)]], np.int32)

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        self._database.refresh()

    def close(self) -> None:
        """Write the cache if it is well behind, and release files; a second call does nothing."""
        if self._database.opened:
            self._database.refresh()
            self._save_cache()
            self._database.close()

    def _stored_item(self, transaction: Transaction, row: int) -> dict[int, tuple[int, ItemRecord]]:
        found = transaction.execute("SELECT added, json FROM items WHERE dense = ?", (row,)).fetchone()
        return {row: (found[0], msgspec.json.decode(found[1], type=ItemRecord))} if found else {}

    def _write_items(
        self, transaction: Transaction, stored: dict[int, tuple[int, ItemRecord]], changed: dict[int, ItemRecord]
    ) -> None:
        version, today = self._item_version + 1, self._today()
        added = [stored[row][0] if row in stored else today for row in changed]
        transaction.executemany(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)",
            (
                (row, version, day, msgspec.json.encode(record).decode())
                for (row, record), day in zip(changed.items(), added, strict=True)
            ),
        )
        before = ((row, stored[row][1] if row in stored else None, record) for row, record in changed.items())
        self._search.update(transaction, before)
        batch = self._rows(changed, added, lambda names, texts: names.stage(transaction, texts))

        def follow() -> None:
            self._items.put(batch)
            self._item_version = version

        transaction.after(follow)

    def _write_users(self, transaction: Transaction, changed: dict[int, UserRecord]) -> None:
        version = self._user_version + 1
        encoded = ((row, version, msgspec.json.encode(record).decode()) for row, record in changed.items())
        transaction.executemany("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", encoded)
        rows, records = np.fromiter(changed, np.int32, len(changed)), list(changed.values())
        regions = _ids([r.region for r in records], lambda texts: self.regions.stage(transaction, texts))

        def follow() -> None:
            self._users.put(rows, records, regions)
            self._user_version = version

        transaction.after(follow)

    def _rows(self, changed: dict[int, ItemRecord], added: Sequence[int], resolve: Resolve) -> ItemRows:
        records = list(changed.values())
        tags = [list(dict.fromkeys(record.tags or ())) for record in records]
        return ItemRows(
            rows=np.fromiter(changed, np.int32, len(changed)),
            records=records,
            added=np.array(added, np.int32),
            artist=_ids([r.artist for r in records], lambda texts: resolve(self.artists, texts)),
            album=_ids([r.album for r in records], lambda texts: resolve(self.albums, texts)),
            tag_sizes=np.array([len(each) for each in tags], np.int64),
            tags=resolve(self.tags, list(chain.from_iterable(tags))),
            keys=[self._key(record) for record in records],
        )

    def _key(self, record: ItemRecord) -> str:
        """The name of the work that an item is: the extra field `work`, else what title and artist say, else nothing."""
        named = (record.extra or {}).get("work")
        if named:
            return str(named)
        return self._work_key(record.title, record.artist) if record.title and record.artist else ""

    def _take_in(self) -> None:
        for names in self._names.values():
            names.take_in()
        read = self._database.read
        newest = self._item_version
        rows = read("SELECT dense, version, added, json FROM items WHERE version > ? ORDER BY version, dense", newest)
        while chunk := rows.fetchmany(BATCH):
            changed = {dense: msgspec.json.decode(text, type=ItemRecord) for dense, _, _, text in chunk}
            self._items.put(self._rows(changed, [row[2] for row in chunk], SqliteNames.find))
            newest = chunk[-1][1]
        self._item_version = newest  # only now: a version is many rows, and a failure half-way must read them again
        newest = self._user_version
        rows = read("SELECT dense, version, json FROM users WHERE version > ? ORDER BY version, dense", newest)
        while chunk := rows.fetchmany(BATCH):
            people = [msgspec.json.decode(text, type=UserRecord) for _, _, text in chunk]
            regions = _ids([person.region for person in people], self.regions.find)
            self._users.put(np.array([row[0] for row in chunk], np.int32), people, regions)
            newest = chunk[-1][1]
        self._user_version = newest

    def _load_cache(self) -> None:
        """Start from the cache where it is sound; SQLite tells the rest."""
        sound = [self._cache.load_names(kind, names) for kind, names in self._names.items()]
        if not all(sound):  # the columns hold dense ids, which mean nothing with other names
            self._cache.forget("items", "users")
            return
        self._item_version = self._cache.load_columns("items", self._items.load)
        self._user_version = self._cache.load_columns("users", self._users.load)

    def _save_cache(self) -> None:
        for kind, names in self._names.items():
            self._cache.save_names(kind, names)
        self._cache.save_columns("items", self._item_version, self._items.arrays)
        self._cache.save_columns("users", self._user_version, self._users.arrays)


def _ids(texts: Sequence[str | None], resolve: Callable[[Sequence[str]], Int32]) -> Int32:
    """Dense ids of texts, MISSING for None."""
    known = np.array([text is not None for text in texts], np.bool_)
    ids = np.full(len(texts), MISSING, np.int32)
    ids[known] = resolve([text for text in texts if text is not None])
    return ids
