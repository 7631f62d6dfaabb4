"""Arrays in memory-mapped files that grow by doubling, and the header that tells whether they can be trusted."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from segue.core.errors import NotReady

LAYOUT = 2
"""Version of every file in the folder: raise it whenever a byte changes its meaning, and old folders are folded anew."""
MAGIC = b"SEGUEST\x01"

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("layout", "<u4"),
        ("folding", "u1"),  # a fold began and has not ended: a crash now leaves the arrays half-written
        ("clean", "u1"),  # closed in order, every page on disk
        ("retired", "u1"),  # the folder was wiped: this file is no longer the state
        ("reserved", "u1"),
        ("parameters", "<u8"),  # hash of everything that decides what a fold writes
        ("boot", "S40"),  # dirty pages outlive the process but not the machine
        ("generation", "<i8"),  # goes up with each growth, so that other processes map again
        ("applied", "<i8"),
        ("users", "<i8"),  # rows in use
        ("cells", "<i8"),
        ("clock", "<i8", (2,)),  # newest moment counted (ms), landmark (half-lives since 1970)
        ("pairs", "<i8", (3,)),  # of each table: segments in use, the spare one, keys
        ("sums", "<i8", (3,)),
        ("items", "<i8"),  # rows in use
    ]
)


def boot_id() -> bytes:
    """What tells this run of the machine from the next; empty where the system does not say, which trusts nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:40]
    except OSError:
        return b""


class MappedArray:
    """One array in one file, rows first; the file is sparse, so rows never touched cost no disk and no memory.

    `array` is replaced, never resized: whoever holds an older one goes on reading the same bytes through it. A full disk
    shows as SIGBUS, like for every memory-mapped file.
    """

    def __init__(self, path: Path, dtype: DTypeLike, tail: tuple[int, ...] = (), *, rows: int, read_only: bool) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.tail = tail
        self.row_bytes = self.dtype.itemsize * int(np.prod(tail, dtype=np.int64))
        self._read_only = read_only
        if not read_only:
            path.touch()
            self._extend(rows)
        self.map()

    def __len__(self) -> int:
        return len(self.array)

    def _extend(self, rows: int) -> None:
        if os.stat(self.path).st_size < rows * self.row_bytes:
            os.truncate(self.path, rows * self.row_bytes)

    def map(self) -> None:
        """Map the file as long as it is now.

        A reader in another process maps it privately: it can not write to the file, sees what the writer writes (it never
        touches a page, so none is copied), and its arrays are of the same type, so the kernels are compiled once.
        """
        access = mmap.ACCESS_COPY if self._read_only else mmap.ACCESS_WRITE
        with open(self.path, "rb" if self._read_only else "r+b") as file:
            rows = os.fstat(file.fileno()).st_size // self.row_bytes
            if not rows:
                raise NotReady(f"{self.path} was written by an earlier version; start the server or import events first")
            self._map = mmap.mmap(file.fileno(), rows * self.row_bytes, access=access)
        self.array: NDArray[Any] = np.frombuffer(self._map, self.dtype).reshape(rows, *self.tail)

    def grow(self, rows: int) -> bool:
        """Make room for at least `rows` rows, at least doubling; True when the array was replaced. New rows are zero."""
        if rows <= len(self.array):
            return False
        self._extend(max(rows, 2 * len(self.array)))
        self.map()
        return True

    def flush(self) -> None:
        """Wait until every page is on disk."""
        if not self._read_only:
            self._map.flush()


class FolderLock:
    """One writer a folder: an flock that the kernel releases however the process ends."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = open(folder / "lock", "ab")  # noqa: SIM115 (held open for as long as the lock)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise NotReady(f"another process folds events into {folder}; stop it, or open the state read-only") from None

    def release(self) -> None:
        """Let another writer in."""
        self._file.close()
