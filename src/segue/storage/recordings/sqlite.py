"""Files, recordings and statistics on one machine: a table of each in SQLite, the numbers in packs beside it."""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import Corrupt
from segue.core.records import SongFile
from segue.storage.durable import locked, sync_folder

FORMAT = "1"
WAIT_S = 60.0
PACK_BYTES = 1 << 30
"""A pack is closed when it is larger than this: files that a backup can handle, and few of them."""
CHUNK = 1_000
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS about(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS folders(path BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS files(path BLOB PRIMARY KEY, folder BLOB NOT NULL, size INTEGER NOT NULL, "
    "mtime_ns INTEGER NOT NULL, item TEXT NOT NULL, mime TEXT NOT NULL, refused TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS files_item ON files(item)",
    "CREATE INDEX IF NOT EXISTS files_folder ON files(folder, path)",
    "CREATE TABLE IF NOT EXISTS recordings(digest TEXT PRIMARY KEY, version INTEGER NOT NULL, seconds REAL NOT NULL, "
    "rows INTEGER NOT NULL, columns INTEGER NOT NULL, pack INTEGER NOT NULL, place INTEGER NOT NULL, crc INTEGER NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS items(number INTEGER PRIMARY KEY, item TEXT NOT NULL UNIQUE, digest TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS items_digest ON items(digest)",
)
_FILES = "path, folder, size, mtime_ns, item, mime, refused"
_UNHEARD = "FROM items LEFT JOIN recordings ON recordings.digest = items.digest AND version = ? WHERE recordings.digest IS NULL"


class SqliteRecordings:
    """Recordings in FOLDER: recordings.db (WAL, synchronous=FULL) and packs of statistics, 2 bytes a number.

    Statistics of another `version` than this one count as not there: what changed is heard anew. A pack is appended to under
    a lock among processes; what a crash left behind a row is never read, since rows come after their bytes are on disk.
    """

    def __init__(self, folder: Path, *, version: int, pack_bytes: int = PACK_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._version, self._pack_bytes = folder, version, pack_bytes
        self._lock = threading.RLock()
        self._open_packs: dict[int, int] = {}
        self._unsynced: set[int] = set()
        self._waiting: list[tuple[Any, ...]] = []
        self._db = sqlite3.connect(folder / "recordings.db", timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        for statement in SCHEMA:
            self._db.execute(statement)
        self._db.execute("INSERT OR IGNORE INTO about VALUES ('format', ?)", (FORMAT,))
        found = self._db.execute("SELECT value FROM about WHERE key = 'format'").fetchone()[0]
        if found != FORMAT:
            self._db.close()
            raise Corrupt(f"{folder / 'recordings.db'} has format {found}, this version reads format {FORMAT}")

    def add_folder(self, folder: bytes) -> None:
        """See core.ports.Recordings."""
        self._write("INSERT OR IGNORE INTO folders VALUES (?)", [(folder,)])

    def folders(self) -> list[bytes]:
        """See core.ports.Recordings."""
        return [path for (path,) in self._read("SELECT path FROM folders ORDER BY path")]

    def files(self, paths: Sequence[bytes]) -> list[SongFile | None]:
        """See core.ports.Recordings."""
        rows = [self._read(f"SELECT {_FILES} FROM files WHERE path = ?", (path,)) for path in paths]
        return [SongFile(*row[0]) if row else None for row in rows]

    def note(self, files: Sequence[SongFile]) -> None:
        """See core.ports.Recordings."""
        rows = [(f.path, f.folder, f.size, f.mtime_ns, f.item, f.mime, f.refused) for f in files]
        self._write(f"INSERT OR REPLACE INTO files({_FILES}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def forget(self, paths: Sequence[bytes]) -> list[str]:
        """See core.ports.Recordings."""
        items = {file.item for file in self.files(paths) if file is not None and file.item}
        self._write("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
        return sorted(item for item in items if not self.files_of(item))

    def within(self, folder: bytes) -> Iterator[bytes]:
        """See core.ports.Recordings."""
        last, end = folder.rstrip(b"/") + b"/", folder.rstrip(b"/") + b"0"  # "0" comes after "/"
        while rows := self._read(
            "SELECT path FROM files WHERE path > ? AND path < ? ORDER BY path LIMIT ?", (last, end, CHUNK)
        ):
            yield from (path for (path,) in rows)
            last = rows[-1][0]

    def files_of(self, item: str) -> list[SongFile]:
        """See core.ports.Recordings."""
        return [SongFile(*row) for row in self._read(f"SELECT {_FILES} FROM files WHERE item = ? ORDER BY path", (item,))]

    def keep(self, digest: str, seconds: float, statistics: NDArray[np.float16]) -> None:
        """See core.ports.Recordings."""
        data = np.ascontiguousarray(statistics, np.float16).tobytes()
        rows, columns = statistics.shape
        with self._lock, locked(self._folder / "lock"):
            pack = self._newest()
            handle = self._pack(pack)
            place = os.lseek(handle, 0, os.SEEK_END)
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            self._unsynced.add(pack)
            self._waiting.append((digest, self._version, seconds, rows, columns, pack, place, zlib.crc32(data)))

    def bind(self, pairs: Sequence[tuple[str, str]]) -> None:
        """See core.ports.Recordings."""
        with self._lock:
            for pack in self._unsynced:
                os.fsync(self._pack(pack))
            self._unsynced.clear()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._waiting)
                self._db.executemany(
                    "INSERT INTO items(item, digest) VALUES (?, ?) ON CONFLICT(item) DO UPDATE SET digest = excluded.digest",
                    pairs,
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._waiting.clear()

    def items_of(self, digest: str) -> list[str]:
        """See core.ports.Recordings."""
        return [item for (item,) in self._read("SELECT item FROM items WHERE digest = ? ORDER BY number", (digest,))]

    def heard(self, digest: str) -> bool:
        """See core.ports.Recordings."""
        return self.statistics(digest) is not None

    def seconds(self, digest: str) -> float | None:
        """See core.ports.Recordings."""
        found = self._read("SELECT seconds FROM recordings WHERE digest = ?", (digest,))
        return float(found[0][0]) if found else None

    def statistics(self, digest: str) -> NDArray[np.float16] | None:
        """See core.ports.Recordings."""
        found = self._read(
            "SELECT rows, columns, pack, place, crc FROM recordings WHERE digest = ? AND version = ?", (digest, self._version)
        )
        if not found:
            return None
        rows, columns, pack, place, crc = found[0]
        size = 2 * rows * columns
        with self._lock:
            data = os.pread(self._pack(pack), size, place)
        if len(data) != size or zlib.crc32(data) != crc:
            return None
        return np.frombuffer(data, np.float16).reshape(rows, columns)

    def unheard(self, items: Sequence[str]) -> set[str]:
        """See core.ports.Recordings."""
        sql = f"SELECT item {_UNHEARD} AND item = ?"
        return {row[0] for item in items for row in self._read(sql, (self._version, item))}

    def all_unheard(self) -> Iterator[list[tuple[str, str]]]:
        """See core.ports.Recordings."""
        last, sql = 0, f"SELECT number, item, items.digest {_UNHEARD} AND number > ? ORDER BY number LIMIT ?"
        while rows := self._read(sql, (self._version, last, CHUNK)):
            yield [(item, digest) for _, item, digest in rows]
            last = rows[-1][0]

    def bound(self) -> Iterator[list[tuple[str, str]]]:
        """See core.ports.Recordings."""
        last = 0
        while rows := self._read(
            "SELECT number, item, items.digest FROM items JOIN recordings ON recordings.digest = items.digest "
            "WHERE number > ? AND version = ? ORDER BY number LIMIT ?", (last, self._version, CHUNK),
        ):  # fmt: skip
            yield [(item, digest) for _, item, digest in rows]
            last = rows[-1][0]

    def __len__(self) -> int:
        sql = "SELECT count(*) FROM items JOIN recordings ON recordings.digest = items.digest WHERE version = ?"
        return int(self._read(sql, (self._version,))[0][0])

    def close(self) -> None:
        """See core.ports.Recordings."""
        with self._lock:
            self._db.close()
            for handle in self._open_packs.values():
                os.close(handle)
            self._open_packs.clear()

    def _read(self, sql: str, given: Sequence[object] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, given).fetchall()

    def _write(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(sql, rows)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _newest(self) -> int:
        """The number of the pack to write to; a full one gives way to a new one. The lock is held."""
        numbers = [int(path.name.removeprefix("pack-")) for path in self._folder.glob("pack-*")]
        newest = max(numbers, default=0)
        full = not numbers or (self._folder / f"pack-{newest:06d}").stat().st_size >= self._pack_bytes
        return newest + 1 if full else newest

    def _pack(self, number: int) -> int:
        if number not in self._open_packs:
            path = self._folder / f"pack-{number:06d}"
            new = not path.exists()
            self._open_packs[number] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if new:
                sync_folder(self._folder)
        return self._open_packs[number]
