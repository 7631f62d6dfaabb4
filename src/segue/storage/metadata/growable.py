"""Arrays that grow at the end by doubling and never change what a reader already holds."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Growable(Generic[T]):
    """One column: rows are appended in amortised constant time, `view` is a read-only snapshot of the first n.

    A snapshot stays as it was: appended rows lie behind its end, and the first change of a row that a snapshot may hold
    copies the column once. A `live` column is changed in place instead: its snapshots show newer values, never half of one
    (elements are at most 8 bytes). One writer at a time; snapshots are read from any thread.
    """

    def __init__(self, rows: NDArray[T], fill: T | int | float = 0, *, live: bool = False, used: int | None = None) -> None:
        self._buffer = rows  # read-only (a file that is memory-mapped): copied before the first write
        self._fill = fill
        self._live = live
        self.n = len(rows) if used is None else used  # what is behind them is room to grow
        self._shared = self.n  # rows below may be in somebody's hands
        self._owned = rows.flags.writeable

    def view(self) -> NDArray[T]:
        """The rows as of now, read-only."""
        self._shared = self.n
        rows = self._buffer[: self.n]
        rows.flags.writeable = False
        return rows

    def peek(self) -> NDArray[T]:
        """The rows as of now for the writer itself, who gives them to nobody."""
        return self._buffer[: self.n]

    def resize(self, n: int) -> None:
        """Grow to n rows of the fill value; a smaller n does nothing."""
        if n > self.n:
            self._reserve(n)
            self._buffer[self.n : n] = self._fill
            self.n = n

    def extend(self, rows: NDArray[T]) -> None:
        """Append rows."""
        start, end = self.n, self.n + len(rows)
        self._reserve(end)
        self._buffer[start:end] = rows
        self.n = end

    def set(self, places: NDArray[np.integer], values: NDArray[T]) -> NDArray[np.bool_]:
        """Write values at places (distinct, below n); which of them changed something. Equal values copy nothing."""
        old = self._buffer[places]
        changed: NDArray[np.bool_] = np.asarray(old != values)
        if values.dtype.kind == "f":
            changed &= ~(np.isnan(old) & np.isnan(values))
        if changed.any():
            self._own(int(places[changed].min()))
            self._buffer[places[changed]] = values[changed]
        return changed

    def overwrite(self, start: int, rows: NDArray[T]) -> None:
        """Replace everything from `start` on."""
        end = start + len(rows)
        if end > len(self._buffer) or not self._owned or start < self._shared:
            self._copy(max(end + (end >> 3), len(self._buffer)))
        self._buffer[start:end] = rows
        self.n = end

    def _own(self, first: int) -> None:
        if not self._owned or (first < self._shared and not self._live):
            self._copy(len(self._buffer))

    def _reserve(self, n: int) -> None:
        if n > len(self._buffer) or not self._owned:
            self._copy(max(n + (n >> 1), 64))

    def _copy(self, capacity: int) -> None:
        fresh = np.empty(max(capacity, self.n), self._buffer.dtype)
        fresh[: self.n] = self._buffer[: self.n]  # empty pages cost nothing until they are written
        self._buffer, self._owned, self._shared = fresh, True, 0
