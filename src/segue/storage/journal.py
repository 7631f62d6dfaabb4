"""A journal: records appended durably to one file, each with its checksum; what a crash cut off at the end never happened."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from segue.core.errors import Corrupt
from segue.storage.durable import locked, sync_folder


class Journal:
    """Lines of `crc32 record`, where a record holds no line feed. Several processes may append and read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: bytes, *, after: int | None = None) -> bool:
        """Add a record; durable when it returns. With `after`, only if the journal still ends there (see read); else False."""
        if b"\n" in record:
            raise ValueError("a record of a journal is one line")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path.with_suffix(".lock")):
            fresh = not self._path.exists()
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                data = self._all(handle)
                whole = data.rfind(b"\n") + 1
                if after is not None and whole != after:
                    return False
                if whole != len(data):
                    os.ftruncate(handle, whole)  # a record that a crash cut off was never acknowledged
                os.lseek(handle, whole, os.SEEK_SET)
                line = b"%08x " % zlib.crc32(record) + record + b"\n"
                while line:
                    line = line[os.write(handle, line) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            if fresh:
                sync_folder(self._path.parent)
        return True

    def read(self) -> tuple[list[bytes], int]:
        """Every whole record in order, and where the journal ends; Corrupt where one does not match its checksum."""
        if not self._path.exists():
            return [], 0
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        records = []
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            told, _, record = line.partition(b" ")
            if told != b"%08x" % zlib.crc32(record):
                raise Corrupt(f"{self._path}, line {number}: the record does not match its checksum")
            records.append(record)
        return records, whole

    @staticmethod
    def _all(handle: int) -> bytes:
        os.lseek(handle, 0, os.SEEK_SET)
        parts = []
        while part := os.read(handle, 1 << 20):
            parts.append(part)
        return b"".join(parts)
