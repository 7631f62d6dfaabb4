"""The SQLite file behind names and facts: durable transactions that first take in what other processes wrote."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.core.errors import Corrupt, NotReady

FORMAT = 1
WAIT_S = 60.0
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS about(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS names(kind INTEGER, dense INTEGER, name BLOB NOT NULL, PRIMARY KEY(kind, dense)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS items(dense INTEGER PRIMARY KEY, version INTEGER NOT NULL, added INTEGER NOT NULL, "
    "json TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS users(dense INTEGER PRIMARY KEY, version INTEGER NOT NULL, json TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS items_version ON items(version)",
    "CREATE INDEX IF NOT EXISTS users_version ON users(version)",
)


class Transaction:
    """An open write: statements, and what to do in memory once they are durable."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self._after: list[Callable[[], None]] = []

    def after(self, action: Callable[[], None]) -> None:
        """Run action when the transaction is on disk, before anybody else may write."""
        self._after.append(action)

    def finish(self) -> None:
        """Run what waits for durability."""
        for action in self._after:
            action()


class Database:
    """One writer connection behind a lock, and one reader for each thread (WAL: readers never wait)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self.opened = True
        self._take_in: Callable[[], None] | None = None
        self._seen: int | None = None
        self._writer = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self._found()
        except sqlite3.OperationalError:
            self._writer.close()
            raise
        except (sqlite3.DatabaseError, Corrupt) as error:
            self._writer.close()
            raise Corrupt(f"{path}: {error}") from error

    def on_change(self, take_in: Callable[[], None]) -> None:
        """What reads the rows that others added; called under the lock, with nothing half-written in sight."""
        self._take_in = take_in

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction, alone among threads and processes; durable when the block is left, undone when it raises."""
        with self._lock:
            self._begin()
            try:
                seen = self._catch_up()
                transaction = Transaction(self._writer)
                yield transaction
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            self._seen = None  # should memory fail to follow, the next call reads it all again
            transaction.finish()
            self._seen = seen

    def refresh(self) -> None:
        """Take in what other processes wrote, as of one moment; a few microseconds when they wrote nothing."""
        with self._lock:
            if self._version() == self._seen:
                return
            self._writer.execute("BEGIN")  # names and the rows that speak of them have to be of one moment
            try:
                self._writer.execute("SELECT 1 FROM about").fetchone()
                self._catch_up()
            finally:
                self._writer.execute("ROLLBACK")

    def reader(self) -> sqlite3.Connection:
        """This thread's own connection for reading."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA query_only=ON")
            self._local.connection = connection
            with self._lock:
                self._readers.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for connection in [*self._readers, self._writer]:
                connection.close()
            self._readers.clear()
            self.opened = False

    def _version(self) -> int:
        """Changes when, and only when, another connection has written."""
        return int(self._writer.execute("PRAGMA data_version").fetchone()[0])

    def _catch_up(self) -> int:
        seen = self._version()
        if seen != self._seen and self._take_in is not None:
            self._take_in()
            self._seen = seen
        return seen

    def _begin(self) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise NotReady(f"{self._path}: another process has been writing for {WAIT_S:.0f} s") from error

    def read(self, sql: str, *values: object) -> sqlite3.Cursor:
        """A query on the writer's connection, which sees its own transaction; the lock must be held."""
        return self._writer.execute(sql, values)

    def _found(self) -> None:
        """Create the tables where they are not there yet; who opens a catalogue that is there waits for nobody."""
        self._use_wal()
        self._writer.execute("PRAGMA synchronous=FULL")
        self._writer.execute("PRAGMA cache_size=-65536")  # KiB, as it is negative
        facts = self._about()
        if not facts:
            self._begin()
            for statement in SCHEMA:
                self._writer.execute(statement)
            about = [("format", str(FORMAT)), ("id", secrets.token_hex(8))]
            self._writer.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about)
            self._writer.execute("COMMIT")
            facts = self._about()
        if facts["format"] != str(FORMAT):
            raise Corrupt(f"has format {facts['format']}, this version reads format {FORMAT}")
        self.id: str = facts["id"]

    def _about(self) -> dict[str, str]:
        if self._writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone() is None:
            return {}
        return dict(self._writer.execute("SELECT key, value FROM about").fetchall())

    def _use_wal(self) -> None:
        """Turn on the write-ahead log; SQLite does not wait for this lock by itself when two processes open a new file."""
        for attempt in range(200):
            try:
                self._writer.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == 199:
                    raise
                time.sleep(0.01)
