"""The folder of the online state: which files there are, when they can be trusted, how they grow, what is in use."""

from __future__ import annotations

import threading
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import WEEK_HOURS
from segue.core.errors import NotReady
from segue.storage.durable import sync_folder
from segue.storage.online_state import fold, tops
from segue.storage.online_state.file import HEADER, LAYOUT, MAGIC, FolderLock, MappedArray, boot_id
from segue.storage.online_state.fold import COUNTS, Listeners
from segue.storage.online_state.hours import WORDS
from segue.storage.online_state.pairs import DIRECTORY_BITS, MAX_SEGMENTS, SLOTS, Table
from segue.storage.online_state.tops import CELLS_A_REGION, META, TOP, UNSET, Cells

FIRST_USERS, FIRST_REGIONS, FIRST_SEGMENTS, FIRST_ITEMS = 1024, 8, 32, 1024
_LISTENERS = ("counts", "entries")
_TABLES = {"pairs": fold.ROW, "sums": tops.ROW}
_CELLS = ("totals", "items", "sums", "meta")


class View(NamedTuple):
    """The arrays as of one generation of the files. A reader takes it once and keeps it for one answer."""

    listeners: Listeners
    pairs: Table
    cells: Cells
    hours: NDArray[np.uint16]


def _files(ring: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Every file but the header: dtype, shape of a row, rows at first."""
    cells = 1 + FIRST_REGIONS * CELLS_A_REGION
    files: dict[str, tuple[str, tuple[int, ...], int]] = {
        "listeners.counts": ("<u4", (COUNTS,), FIRST_USERS),
        "listeners.entries": ("<i8", (ring, 2), FIRST_USERS),
        "cells.totals": ("<f8", (2,), cells),
        "cells.items": ("<i4", (TOP,), cells),
        "cells.sums": ("<f8", (TOP,), cells),
        "cells.meta": ("<i4", (META,), cells),
        "cells.hours": ("<f8", (WEEK_HOURS, 4), FIRST_REGIONS),
        "items.hours": ("<u2", (WORDS,), FIRST_ITEMS),
    }
    for table, words in _TABLES.items():
        files[f"{table}.directory"] = ("<u4", (), 1 << DIRECTORY_BITS)
        files[f"{table}.segments"] = ("<i4", (2,), FIRST_SEGMENTS)
        files[f"{table}.rows"] = ("<i8", (words,), FIRST_SEGMENTS * SLOTS)
    return files


class Store:
    """The mapped files. For a writer: locked, emptied when they cannot be trusted, marked clean by close().

    They are trusted after a clean close, and after a killed process on the same boot (the kernel keeps its pages) unless a
    fold was cut short; never after another boot without a clean close, nor with another layout or other parameters.
    """

    def __init__(self, folder: Path, *, ring: int, parameters: int, read_only: bool) -> None:
        self.folder = folder
        self.read_only = read_only
        self._ring = ring
        self._parameters = parameters
        self._remapping = threading.Lock()
        self._lock: FolderLock | None = None
        self._view: View | None = None
        if read_only:
            self._map()
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder)
        self._map()
        if not self._trusted():
            self.wipe()
        self.header["clean"] = 0
        self.header["boot"] = boot_id()
        self._header_file.flush()

    def _map(self) -> None:
        """Map every file as it is now; a writer gives an empty one its first rows."""
        ring = self._ring_on_disk() if self.read_only else self._ring
        header = MappedArray(self.folder / "header", HEADER, rows=1, read_only=self.read_only)
        seen = int(header.array[0]["generation"])
        if self.read_only and bytes(header.array[0]["magic"]) != MAGIC:
            raise NotReady(f"{self.folder} holds no online state yet; start the server or import events first")
        files = {
            name: MappedArray(self.folder / name, dtype, tail, rows=rows, read_only=self.read_only)
            for name, (dtype, tail, rows) in _files(ring).items()
        }
        self._header_file, self._files, self._seen = header, files, seen
        self.header: np.void = header.array[0]
        self._view = self._arrays()

    def _ring_on_disk(self) -> int:
        """Beside a writer the length of the ring is read off the files: counts and rings have as many rows."""
        try:
            rows = (self.folder / "listeners.counts").stat().st_size // (4 * COUNTS)
            return int((self.folder / "listeners.entries").stat().st_size // (16 * rows))
        except (FileNotFoundError, ZeroDivisionError):
            raise NotReady(f"{self.folder} holds no online state yet; start the server or import events first") from None

    def _arrays(self) -> View:
        def array(name: str) -> NDArray[Any]:
            return self._files[name].array

        def table(name: str) -> Table:
            rows = array(f"{name}.rows")
            return Table(array(f"{name}.directory"), array(f"{name}.segments"), rows, rows.view(np.float64), self.header[name])

        totals, tops, sums, meta = (array(f"cells.{n}") for n in _CELLS)
        cells = Cells(table("sums"), totals, tops, sums, meta, array("cells.hours"))
        return View(
            Listeners(array("listeners.counts"), array("listeners.entries")), table("pairs"), cells, array("items.hours")
        )

    def _trusted(self) -> bool:
        header = self.header
        if bytes(header["magic"]) != MAGIC or int(header["layout"]) != LAYOUT or header["folding"]:
            return False
        same_boot = bool(boot_id()) and bytes(header["boot"]) == boot_id()
        return int(header["parameters"]) == self._parameters and bool(header["clean"] or same_boot)

    def wipe(self) -> None:
        """Start from nothing in new files: readers keep the old ones, whose header tells them to open again."""
        self.header["retired"] = 1
        for name in ("header", *self._files):
            (self.folder / name).unlink(missing_ok=True)
        self._map()
        header = self.header
        header["clock"] = (0, UNSET)
        header["pairs"] = header["sums"] = (1, -1, 0)
        header["boot"], header["parameters"], header["layout"] = boot_id(), self._parameters, LAYOUT
        header["magic"] = MAGIC

    def view(self) -> View:
        """The arrays to work on; in another process than the writer's, mapped again when they have grown."""
        if self._view is None:
            raise NotReady("the online state is closed")
        if self.read_only and (self.header["retired"] or int(self.header["generation"]) != self._seen):
            with self._remapping, suppress(NotReady, OSError, ValueError):  # while it is emptied, the old files answer
                self._map()
        return self._view

    def _grow(self, sizes: dict[str, int]) -> None:
        """Make room in the named files, then swap the view once."""
        grown = [self._files[name].grow(rows) for name, rows in sizes.items()]
        if any(grown):
            self._view = self._arrays()
            self.header["generation"] += 1

    def need(self, users: int, regions: int, items: int) -> None:
        """Make rows for that many users, region rows and items, and count them as used."""
        cells = 1 + regions * CELLS_A_REGION
        sizes = {f"listeners.{name}": users for name in _LISTENERS} | {f"cells.{name}": cells for name in _CELLS}
        self._grow(sizes | {"cells.hours": regions, "items.hours": items})
        self.header["items"] = max(int(self.header["items"]), items)
        self.header["users"] = max(int(self.header["users"]), users)
        self.header["cells"] = max(int(self.header["cells"]), cells)

    def grow_tables(self) -> None:
        """Double each table that has less than half of its segments free."""
        for name in _TABLES:
            held = len(self._files[f"{name}.segments"])
            if 2 * int(self.header[name][0]) < held:
                continue
            if held >= MAX_SEGMENTS:
                raise NotReady(f"the table of {name} is full at {MAX_SEGMENTS * SLOTS:,} slots: split the users over two homes")
            self._grow({f"{name}.rows": 2 * held * SLOTS, f"{name}.segments": 2 * held})

    def used(self) -> dict[str, int]:
        """Rows in use of every file but the header; the others are zero."""
        users, cells = int(self.header["users"]), int(self.header["cells"])
        rows = {f"listeners.{name}": users for name in _LISTENERS} | {f"cells.{name}": cells for name in _CELLS}
        rows["items.hours"] = int(self.header["items"])
        rows["cells.hours"] = (cells - 1) // CELLS_A_REGION
        for table in _TABLES:
            segments = int(self.header[table][0])
            rows |= {f"{table}.directory": 1 << DIRECTORY_BITS, f"{table}.segments": segments}
            rows[f"{table}.rows"] = segments * SLOTS
        return rows

    def used_bytes(self) -> int:
        """Bytes of the rows in use: what disk and page cache can hold at most."""
        return sum(rows * self._files[name].row_bytes for name, rows in self.used().items())

    def digest(self) -> str:
        """blake2b over parameters, counters and the rows in use, whatever room the files have."""
        hasher = blake2b(digest_size=16)
        for name in ("layout", "parameters", "applied", "users", "cells", "items", "clock", "pairs", "sums"):
            hasher.update(self.header[name].tobytes())
        for name, rows in sorted(self.used().items()):
            hasher.update(self._files[name].array[:rows].data)
        return hasher.hexdigest()

    def flush(self) -> None:
        """Wait until every page and the folder itself are on disk."""
        for file in (*self._files.values(), self._header_file):
            file.flush()
        sync_folder(self.folder)

    def close(self) -> None:
        """Flush, mark as clean and let the next writer in; later calls do nothing."""
        if self._view is None:
            return
        if self._lock is not None:
            self.flush()
            self.header["clean"] = 1 - int(self.header["folding"])
            self._header_file.flush()
            self._lock.release()
        self._view = None
