"""Writing files so that a crash leaves either the old or the new: hashed writes, fsync of files and folders, one lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 22


class HashedFile:
    """A binary file being written that knows its size and the sha256 of every byte that went in."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write and hash; the number of bytes."""
        self._hash.update(data)
        self.size += len(data)
        return self._raw.write(data)

    def digest(self) -> str:
        """sha256 so far, 64 hexadecimal digits."""
        return self._hash.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits, read in pieces of 4 MiB."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename or a removal is only on disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(file: BinaryIO) -> None:
    """Make what was written to a file durable."""
    file.flush()
    os.fsync(file.fileno())


def replace_file(path: Path, data: bytes, temporary: Path) -> None:
    """Put data at path, atomically and durably, by way of `temporary` in the same folder."""
    with temporary.open("wb") as file:
        file.write(data)
        sync_file(file)
    temporary.replace(path)
    sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the one lock of this path among threads and processes; a killed holder lets go of it (flock). The file stays."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
