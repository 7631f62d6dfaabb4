"""Files that appear whole or not at all, and the sweeping away of what a crash left half-written."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from segue.storage.durable import sync_folder

DRAFT = ".draft"


class Draft:
    """A file that is being written: locked while its writer lives, nameless to readers until `publish`."""

    def __init__(self, folder: Path) -> None:
        self._fd = -1
        while self._fd < 0:  # a sweeper may come between the creation and the lock
            self.path = folder / f"{secrets.token_hex(8)}{DRAFT}"
            self._fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink == 0:
                os.close(self._fd)
                self._fd = -1

    def sync(self) -> int:
        """Put the bytes on disk; the size of the file."""
        os.fsync(self._fd)
        return os.fstat(self._fd).st_size

    def publish(self, name: str) -> Path:
        """Give the file its name, durably; call it under the write lock, right before the row that registers it."""
        target = self.path.with_name(name)
        os.replace(self.path, target)
        sync_folder(target.parent)
        os.close(self._fd)
        self._fd = -1
        return target

    def discard(self) -> None:
        """Remove the draft if it was not published; safe to call at any time."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def sweep(folder: Path, registered: set[str]) -> None:
    """Remove drafts whose writer is dead and files that no row names; call it under the write lock.

    A published file without a row can only be the trace of a crash, since rows are written under the same lock.
    """
    for path in folder.iterdir():
        if path.name.endswith(DRAFT):
            _remove_if_orphan(path)
        elif path.name not in registered:
            path.unlink(missing_ok=True)


def _remove_if_orphan(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # its writer is alive
    finally:
        os.close(fd)
