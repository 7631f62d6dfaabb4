"""Posted files that are kept: one an item in a folder of the home, to be played, and heard again when an encoder asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path


class Kept:
    """Files under FOLDER/xyz/HASH.type-subtype, HASH being that of the item and the rest its MIME type.

    No path is stored anywhere, so a home can be moved. At most `most_bytes` in all; what is beyond is not kept, and nothing
    that is kept gives way. For several threads of one process.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        self._lock = threading.Lock()
        self._bytes = -1  # counted when it is first asked for

    def take(self, item: str, path: Path, mime: str) -> bool:
        """Move a file in, in the place of the item's file before; whether it was kept. Durable when it returns."""
        size = path.stat().st_size
        with self._lock:
            if self._bytes < 0:
                self._bytes = sum(file.stat().st_size for file in self._folder.glob("*/*"))
            old = {file: file.stat().st_size for file in self._files(item)}
            fits = self._bytes - sum(old.values()) + size <= self._most
            if fits:
                folder, name = self._place(item)
                folder.mkdir(parents=True, exist_ok=True)
                target = folder / f"{name}.{mime.replace('/', '-', 1)}"
                _sync(path)
                os.replace(path, target)
                _sync(folder)
                self._bytes += size - old.pop(target, 0)
            for file, length in old.items():  # another recording of the item, which it is no longer
                file.unlink(missing_ok=True)
                self._bytes -= length
            return fits

    def find(self, item: str) -> tuple[Path, str] | None:
        """The file of an item and its MIME type, None where there is none."""
        found = []
        for file in self._files(item):
            with suppress(FileNotFoundError):  # another has just taken its place
                found.append((file.stat().st_mtime_ns, file))
        if not found:
            return None
        _, newest = max(found)  # two only after a crash in the midst of `take`
        return newest, newest.name.partition(".")[2].replace("-", "/", 1)

    def _files(self, item: str) -> Iterator[Path]:
        folder, name = self._place(item)
        return folder.glob(f"{name}.*")

    def _place(self, item: str) -> tuple[Path, str]:
        """The folder of an item's file, and its name but for the type."""
        name = blake2b(item.encode(), digest_size=20).hexdigest()
        return self._folder / name[:3], name


def _sync(path: Path) -> None:
    """Put a file, or the names in a folder, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
