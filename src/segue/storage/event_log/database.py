"""The SQLite file of the log: its tables, its connections, and how its errors become ours."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.core.errors import Corrupt, NotReady

LAYOUT = 2
"""1: slates lay in SQLite for good; 2: those of closed days lie in Parquet."""
BUSY_S = 60.0
CHECKPOINT_PAGES = 4000
"""WAL pages between checkpoints (32 MB): a checkpoint costs a second fsync, so it should not follow every commit."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS batches(
        last_seq INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, arrived_ms INTEGER NOT NULL,
        at_min INTEGER NOT NULL, at_max INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS segments(
        last_seq INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, arrived_ms INTEGER NOT NULL,
        at_min INTEGER NOT NULL, at_max INTEGER NOT NULL, bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL, name TEXT NOT NULL UNIQUE)""",
    """CREATE TABLE IF NOT EXISTS runs(
        last_seq INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, keys INTEGER NOT NULL,
        bytes INTEGER NOT NULL, crc INTEGER NOT NULL, name TEXT NOT NULL UNIQUE)""",
    "CREATE TABLE IF NOT EXISTS texts(seq INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS exposures(
        request_id INTEGER PRIMARY KEY, at INTEGER NOT NULL, user INTEGER NOT NULL, kind INTEGER NOT NULL,
        crc INTEGER NOT NULL, payload BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS exposures_at ON exposures(at, request_id)",
    "CREATE TABLE IF NOT EXISTS exposure_kinds(kind INTEGER PRIMARY KEY, payload BLOB NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS slate_segments(
        number INTEGER PRIMARY KEY, rows INTEGER NOT NULL, at_min INTEGER NOT NULL, at_max INTEGER NOT NULL,
        bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, name TEXT NOT NULL UNIQUE)""",
    "CREATE TABLE IF NOT EXISTS sealed_slates(request_id INTEGER PRIMARY KEY, place INTEGER NOT NULL)",
)


class Database:
    """One writer connection and a pool of readers on one file; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._pool = threading.Lock()
        self._writing = threading.Lock()
        self.writer = self._connect()
        with _translated(path):
            self._create()

    def _connect(self) -> sqlite3.Connection:
        with _translated(self.path):
            connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            return connection

    def _create(self) -> None:
        self.writer.execute("PRAGMA page_size = 8192")
        self.writer.execute("PRAGMA journal_mode = WAL")
        layout = self.writer.execute("PRAGMA user_version").fetchone()[0]
        if layout > LAYOUT:
            raise Corrupt(f"{self.path} has layout {layout}, this version reads up to {LAYOUT}: install a newer Segue")
        if layout == LAYOUT:
            return
        self.writer.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            self.writer.execute(statement)
        self.writer.execute(f"PRAGMA user_version = {LAYOUT}")
        self.writer.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The write lock of the file, across threads and processes; durable when the block ends, undone when it raises.

        NotReady when another process holds the lock for a minute.
        """
        with self._writing, _translated(self.path):
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                if self.writer.in_transaction:
                    self.writer.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A reader that sees one moment of the file; any number at a time, none waits for a writer."""
        with self._pool:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            with _translated(self.path):
                connection.execute("BEGIN")
                yield connection
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")
            with self._pool:
                self._idle.append(connection)

    def version(self) -> int:
        """Changes when, and only when, another connection has committed since the last call."""
        return int(self.writer.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Write the WAL back and release the file."""
        with self._pool:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        self.writer.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise NotReady(f"{path} has been locked by another process for {BUSY_S:.0f} s") from error
        raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.NotSupportedError):
            raise
        raise Corrupt(f"{path} cannot be read: {error}") from error
