"""The vectors of one encoder in one file: rows are appended with a checksum each, memory-mapped, and never changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segue.core.types import MISSING, Float32, Int32
from segue.storage.durable import sync_folder
from segue.storage.vectors.kernels import UInt32, call_the_roll, marks


@dataclass(frozen=True)
class Roll:
    """The rows as of one moment; its arrays never change.

    A row of the file is (2 + d) words of 32 bits: item (or ~item: forgotten), mark, the vector at unit length.
    """

    table: Float32  # (rows, 2 + d), memory-mapped: the vector is the end of a row
    names: Int32  # (rows,) the item of each row, MISSING where the row is nobody's any more
    row_of: Int32  # (items,) the row of each item, MISSING where it has none
    live: int
    damaged: int

    @staticmethod
    def empty(dimension: int) -> Roll:
        """No rows."""
        nothing = np.zeros(0, np.int32)
        return Roll(np.zeros((0, 2 + dimension), np.float32), nothing, nothing, 0, 0)

    @property
    def vectors(self) -> Float32:
        """(rows, d), memory-mapped."""
        return self.table[:, 2:]

    def get(self, items: Int32) -> Float32:
        """(n, d), a row of NaN for an item without a vector."""
        out = np.full((len(items), self.vectors.shape[1]), np.nan, np.float32)
        inside = (items >= 0) & (items < len(self.row_of))
        rows = np.full(len(items), MISSING, np.int32)
        rows[inside] = self.row_of[items[inside]]
        out[rows >= 0] = self.vectors[rows[rows >= 0]]
        return out


def packed(items: Int32, vectors: Float32) -> UInt32:
    """Rows for the file: (n, 2 + d) words."""
    table = np.empty((len(items), 2 + vectors.shape[1]), np.uint32)
    table[:, 0] = items.view(np.uint32)
    table[:, 2:] = vectors.view(np.uint32)
    table[:, 1] = marks(table)
    return table


class RowFile:
    """The file of a version. Callers hold the lock of the store for everything but reading `roll`."""

    def __init__(self, path: Path, dimension: int) -> None:
        self.path, self.dimension = path, dimension
        self.roll = Roll.empty(dimension)

    def take_in(self) -> None:
        """Read what was appended since; rows whose mark is wrong are passed over, and counted once sound ones follow.

        A torn tail is none of ours to keep: nobody was told that it was stored, and the next append goes over it.
        """
        table = self._mapped()
        known = len(self.roll.names)
        fresh = table[known:]
        if not len(fresh):
            return
        sound = fresh[:, 1] == marks(fresh)
        end = int(np.flatnonzero(sound)[-1]) + 1 if sound.any() else 0
        fresh, sound = fresh[:end], sound[:end]
        if not end:
            return
        items = np.ascontiguousarray(fresh[:, 0]).view(np.int32)
        spoken = np.where(items < 0, ~items, items)[sound]
        old = self.roll
        width = max(len(old.row_of), int(spoken.max(initial=-1)) + 1)
        names = np.concatenate((old.names, np.full(end, MISSING, np.int32)))
        row_of = np.concatenate((old.row_of, np.full(width - len(old.row_of), MISSING, np.int32)))
        live = old.live + call_the_roll(items, sound, known, names, row_of)
        self.roll = Roll(table[: known + end].view(np.float32), names, row_of, live, old.damaged + int((~sound).sum()))

    def append(self, table: UInt32) -> None:
        """Write rows behind the last sound one, durably; `take_in` must have read everything before."""
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.seek(len(self.roll.names) * table.shape[1] * 4)
            file.write(table.tobytes())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        if not len(self.roll.names):
            sync_folder(self.path.parent)
        self.take_in()

    def damaged(self) -> int:
        """Rows whose mark is wrong though sound ones follow, read from the disk again."""
        table = self._mapped()[: len(self.roll.names)]
        return int((table[:, 1] != marks(table)).sum()) if len(table) else 0

    def _mapped(self) -> UInt32:
        """Whole rows of the file as words, read-only: a row that is cut short is not there."""
        width = 2 + self.dimension
        size = self.path.stat().st_size if self.path.exists() else 0
        rows = size // (4 * width)
        if not rows:
            return np.zeros((0, width), np.uint32)
        return np.asarray(np.memmap(self.path, np.uint32, "r", shape=(rows, width)))
