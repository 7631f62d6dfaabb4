"""Finding items by the words of their title and artist: SQLite's FTS5, or a plain scan where SQLite was built without it."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterable

import msgspec

from segue.core.records import ItemRecord
from segue.storage.metadata.database import Database, Transaction

WORD = re.compile(r"[^\W_]+")
APOSTROPHES = str.maketrans({"'": None, "\u2019": None})
MOST_WORDS = 12
BATCH = 10_000
CREATE = "CREATE VIRTUAL TABLE words USING fts5(title, artist, content='', prefix='2', tokenize='unicode61')"
KNOWN = "SELECT 1 FROM sqlite_master WHERE name = 'words'"
POOL = 400
"""Matches looked at for each way of asking: bounds the time of a word that half of the songs hold."""


def words(text: str) -> list[str]:
    """The words of a text as they are indexed: without case, marks and apostrophes."""
    if text.isascii():
        folded = text.lower()
    else:
        folded = unicodedata.normalize("NFKD", text.casefold()).casefold()
        folded = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return WORD.findall(folded.translate(APOSTROPHES))


def holds(wanted: list[str], present: list[str]) -> bool:
    """Whether all wanted words are present, the last perhaps as the beginning of one."""
    return all(word in present for word in wanted[:-1]) and any(word.startswith(wanted[-1]) for word in present)


class SearchIndex:
    """Title and artist by word. Updated inside the transaction of a put, so it is as durable as the facts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        if database.reader().execute(KNOWN).fetchone() is None:
            with database.write() as transaction:
                if transaction.execute(KNOWN).fetchone() is None and self._found(transaction):
                    self._fill(transaction)
        self._indexed = database.reader().execute(KNOWN).fetchone() is not None

    def update(self, transaction: Transaction, changes: Iterable[tuple[int, ItemRecord | None, ItemRecord]]) -> None:
        """Index items: (dense id, what it was or None, what it is now)."""
        if self._indexed:
            self._change(transaction, changes)

    @staticmethod
    def _change(transaction: Transaction, changes: Iterable[tuple[int, ItemRecord | None, ItemRecord]]) -> None:
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

    def find(self, wanted: list[str], pool: int = POOL) -> list[int]:
        """Dense ids of items that may hold all the words (the last as the beginning of one), unordered; at most 2 * pool."""
        if not wanted:
            return []
        connection = self._database.reader()
        if not self._indexed:
            return self._scan(connection, wanted, pool)
        asked = [f'title : ^ "{" ".join(wanted)}" *']
        if len(wanted) > 1 and len(wanted[-1]) == 1:
            wanted = wanted[:-1]  # the beginning of half of all words narrows nothing down
            asked.append(" AND ".join(f'"{word}"' for word in wanted))
        else:
            asked.append(" AND ".join(f'"{word}"' for word in wanted) + " *")
        found: set[int] = set()
        for question in asked:
            rows = connection.execute("SELECT rowid FROM words WHERE words MATCH ? LIMIT ?", (question, pool))
            found.update(dense for (dense,) in rows)
        return sorted(found)

    @staticmethod
    def _scan(connection: sqlite3.Connection, wanted: list[str], pool: int) -> list[int]:
        clauses = " AND ".join("json LIKE ?" for _ in wanted)
        query = f"SELECT dense FROM items WHERE {clauses} LIMIT ?"
        return [dense for (dense,) in connection.execute(query, [*(f"%{word}%" for word in wanted), pool])]

    def _fill(self, transaction: Transaction) -> None:
        """Index what was put while there was no index."""
        rows = transaction.execute("SELECT dense, json FROM items ORDER BY dense")
        while chunk := rows.fetchmany(BATCH):
            records = ((dense, None, msgspec.json.decode(text, type=ItemRecord)) for dense, text in chunk)
            self._change(transaction, records)

    @staticmethod
    def _found(transaction: Transaction) -> bool:
        try:
            transaction.execute(CREATE)
        except sqlite3.OperationalError:
            return False
        return True


def _texts(record: ItemRecord | None) -> tuple[str, str]:
    if record is None:
        return "", ""
    return " ".join(words(record.title or "")), " ".join(words(record.artist or ""))
