"""Finding items by the words of their title and artist: SQLite's FTS5, or a plain scan where SQLite was built without it."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterable

from segue.core.records import ItemRecord
from segue.storage.metadata.database import Database, Transaction

WORD = re.compile(r"\w+")
MOST_WORDS = 12
POOL = 400
"""Matches looked at for each way of asking: bounds the time of a word that half of the songs hold."""


def words(text: str) -> list[str]:
    """The words of a text as the index has them: without case and marks, at most 12."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return WORD.findall(plain.replace("_", " "))[:MOST_WORDS]


class SearchIndex:
    """Title and artist by word. Updated inside the transaction of a put, so it is as durable as the facts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.write() as transaction:
            known = transaction.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone()
            self._indexed = known is not None or self._found(transaction)

    def update(self, transaction: Transaction, changes: Iterable[tuple[int, ItemRecord | None, ItemRecord]]) -> None:
        """Index items: (dense id, what it was or None, what it is now)."""
        if not self._indexed:
            return
        gone, fresh = [], []
        for dense, old, new in changes:
            before, after = _texts(old), _texts(new)
            if before != after:
                if any(before):
                    gone.append((dense, *before))
                if any(after):
                    fresh.append((dense, *after))
        # the index holds no text: what is to be removed has to be told in full
        transaction.executemany("INSERT INTO words(words, rowid, title, artist) VALUES ('delete', ?, ?, ?)", gone)
        transaction.executemany("INSERT INTO words(rowid, title, artist) VALUES (?, ?, ?)", fresh)

    def find(self, text: str, pool: int = POOL) -> list[int]:
        """Dense ids of items that hold all the words (the last may be the beginning of one), in no order; at most 2 * pool."""
        wanted = words(text)
        if not wanted:
            return []
        connection = self._database.reader()
        if not self._indexed:
            return self._scan(connection, wanted, pool)
        quoted = [f'"{word}"' for word in wanted]
        whole = " ".join(wanted)
        asked = [f'title : ^ "{whole}" *', f"{' AND '.join(quoted)} *"]
        found: dict[int, None] = {}
        for question in asked:
            rows = connection.execute("SELECT rowid FROM words WHERE words MATCH ? LIMIT ?", (question, pool))
            found.update((dense, None) for (dense,) in rows)
        return list(found)

    @staticmethod
    def _scan(connection: sqlite3.Connection, wanted: list[str], pool: int) -> list[int]:
        clauses = " AND ".join("json LIKE ?" for _ in wanted)
        query = f"SELECT dense FROM items WHERE {clauses} LIMIT ?"
        return [dense for (dense,) in connection.execute(query, [*(f"%{word}%" for word in wanted), pool])]

    @staticmethod
    def _found(transaction: Transaction) -> bool:
        try:
            transaction.execute(
                "CREATE VIRTUAL TABLE words USING fts5(title, artist, content='', detail=full, "
                'tokenize="unicode61 remove_diacritics 2")'
            )
        except sqlite3.OperationalError:
            return False
        transaction.execute(
            "INSERT INTO words(rowid, title, artist) SELECT dense, coalesce(json_extract(json, '$.title'), ''), "
            "coalesce(json_extract(json, '$.artist'), '') FROM items"
        )
        return True


def _texts(record: ItemRecord | None) -> tuple[str, str]:
    return (record.title or "", record.artist or "") if record is not None else ("", "")
