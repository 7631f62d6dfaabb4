"""The log as the night learns from it: compact columns, sorted by user and time, in bounded memory, and split by time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import Action, shares, signals
from segue.core.ports import EventLog
from segue.core.types import SHARE_STEPS, SHARE_UNKNOWN, Events, History, Int8, Int32, Int64, Items
from segue.training.kernels import count_users, number_sessions, place_rows, scatter, sort_users

TASTES = (
    Action.COMPLETED,
    Action.SKIPPED,
    Action.LIKED,
    Action.DISLIKED,
    Action.SAVED,
    Action.RATED,
    Action.HIDDEN,
)
"""The actions that say something about taste, or give an item a place in a playlist."""

COLUMNS = ("at", "session", "user", "item", "played_s", "duration_s", "value", "position", "action", "device")
SESSION_GAP_S = 1800
"""Half an hour of silence ends a session that the caller did not name."""
_BLOCK = 1 << 22
_SPEC: dict[str, type[np.generic]] = {
    "item": np.int32,
    "at": np.uint32,
    "signal": np.int8,
    "mark": np.uint32,
    "position": np.int16,
    "share": np.uint16,
    "device": np.int8,
}
_IS_TASTE = np.isin(np.arange(128), [int(a) for a in TASTES])


def build_history(log: EventLog, facts: Items, *, now: int, window_ms: int, n_users: int, n_items: int) -> History:
    """The tastes and places of [now - window_ms, now) as a History, in about 26 bytes a row at its peak.

    One pass over the log in order of seq, columns projected; rows of unknown users or items (MISSING, or newer than
    n_users and n_items) are left out. Then a counting sort by user, stable in seq, column by column so that only one
    column exists twice, and a merge sort of each user by (at in seconds, the caller's session, position): the rows of two
    playlists that carry the same time stay apart, each in the order of its places.

    Sessions: the caller's where given; a row without one joins the session before it within 30 minutes, else starts one.
    """
    rows = _Rows(n_users, n_items)
    for chunk in log.scan(now - window_ms, now, COLUMNS):
        rows.add(chunk)
    counts, columns = rows.by_user()
    ptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    order_by = columns["at"], columns["mark"], columns["position"]
    sort_users(ptr, order_by, columns["item"], columns["signal"], columns["share"], columns["device"])
    del order_by
    del columns["position"]
    session = columns["mark"].view(np.int32)
    number_sessions(ptr, columns["at"], columns["mark"], session, SESSION_GAP_S)
    return History(
        n_users=n_users,
        n_items=n_items,
        now=now,
        user=np.repeat(np.arange(n_users, dtype=np.int32), counts),
        item=columns["item"],
        at=columns["at"],
        signal=columns["signal"],
        session=session,
        facts=facts,
        share=columns["share"],
        device=columns["device"],
    )


class _Rows:
    """Rows as they come, in blocks of columns; a block is freed as soon as its rows have found their place."""

    def __init__(self, n_users: int, n_items: int) -> None:
        self.n_items = n_items
        self.counts = np.zeros(n_users, np.int64)
        self.users: list[Int32] = []
        self.blocks: dict[str, list[NDArray[Any]]] = {name: [] for name in _SPEC}
        self.filled = _BLOCK  # rows used in the newest block: none yet, so it is full

    def add(self, events: Events) -> None:
        """Keep what is a taste of somebody for something."""
        user, item = events["user"], events["item"]
        known = (user >= 0) & (user < len(self.counts)) & (item >= 0) & (item < self.n_items)
        events = events[known & _IS_TASTE[events["action"]]]
        action = np.ascontiguousarray(events["action"])
        signal = signals(action, events["played_s"], events["duration_s"], events["value"])
        columns = {
            "item": events["item"],
            "at": (events["at"] // 1000).astype(np.uint32),
            "signal": signal.astype(np.int8),
            "mark": _fold(events["session"]),
            "position": events["position"],
            "share": _steps(shares(action, events["played_s"], events["duration_s"])),
            "device": events["device"],
        }
        for start, stop in self._room(len(events)):
            at = self.filled
            self.users[-1][at : at + stop - start] = events["user"][start:stop]
            for name, column in columns.items():
                self.blocks[name][-1][at : at + stop - start] = column[start:stop]
            self.filled += stop - start
        count_users(np.ascontiguousarray(events["user"]), self.counts)

    def _room(self, n: int) -> Iterator[tuple[int, int]]:
        """Cut n rows where blocks end, opening new blocks on the way."""
        start = 0
        while start < n:
            if self.filled == _BLOCK:
                self.users.append(_pages(_BLOCK, np.int32))
                for name, dtype in _SPEC.items():
                    self.blocks[name].append(_pages(_BLOCK, dtype))
                self.filled = 0
            stop = min(n, start + _BLOCK - self.filled)
            yield start, stop
            start = stop

    def by_user(self) -> tuple[Int64, dict[str, NDArray[Any]]]:
        """Rows of each user, (n_users,) int64, and the columns with users together, in order of arrival within one."""
        total = int(self.counts.sum())
        sizes = [min(_BLOCK, total - start) for start in range(0, total, _BLOCK)]
        cursor = np.cumsum(self.counts) - self.counts
        places = [block[:size].view(np.uint32) for size, block in zip(sizes, self.users, strict=True)]
        for size, block, place in zip(sizes, self.users, places, strict=True):
            place_rows(block[:size], cursor, place)  # over the users themselves: they are not needed any more
        columns: dict[str, NDArray[Any]] = {}
        for name, dtype in _SPEC.items():
            out = np.empty(total, dtype)
            waiting = self.blocks.pop(name)
            for size, place in zip(sizes, places, strict=True):
                scatter(waiting.pop(0)[:size], place, out)
            columns[name] = out
        return self.counts, columns


def _pages(n: int, dtype: type[np.generic]) -> NDArray[Any]:
    """n uninitialized values on pages of their own, which go back when the array does; malloc keeps the holes of blocks."""
    return np.frombuffer(mmap.mmap(-1, n * np.dtype(dtype).itemsize), dtype)


def _steps(share: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Shares in [0, 1] as History keeps them; NaN is SHARE_UNKNOWN."""
    known = np.nan_to_num(share) * np.float32(SHARE_STEPS)
    return np.where(np.isnan(share), SHARE_UNKNOWN, np.round(known)).astype(np.uint16)


def _fold(session: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Half of the bits, 0 only for none: two neighbours of one user clash once in four billion."""
    folded = ((session >> np.uint64(32)) ^ session).astype(np.uint32)
    return np.where((folded == 0) & (session != 0), np.uint32(1), folded)


@dataclass(frozen=True)
class Held:
    """What was held back: rows of a history at or after the cut, (n,) columns in the order of the history."""

    row: Int64  # where in the whole history
    user: Int32  # ascending
    item: Int32
    at: NDArray[np.uint32]  # seconds
    signal: Int8

    def __len__(self) -> int:
        return len(self.row)


def split_by_time(history: History, at: int) -> tuple[History, Held]:
    """(the history before `at` ms, what came at or after it). Nothing at or after the cut is in the first, by any column.

    Sessions that span the cut end there; session numbers of the first are dense again. Its facts are those of the whole:
    what a catalogue says of an item is not a thing that listeners did.
    """
    early = history.at < np.uint32(max(0, -(-at // 1000)))
    kept = history.session[early]
    if len(kept):
        steps = np.diff(kept, prepend=kept[0]) != 0
        kept = np.cumsum(steps, dtype=np.int32)
    before = History(
        n_users=history.n_users,
        n_items=history.n_items,
        now=min(at, history.now),
        user=history.user[early],
        item=history.item[early],
        at=history.at[early],
        signal=history.signal[early],
        session=kept,
        facts=history.facts,
        share=None if history.share is None else history.share[early],
        device=None if history.device is None else history.device[early],
    )
    late = np.flatnonzero(~early)
    return before, Held(late, history.user[late], history.item[late], history.at[late], history.signal[late])


_PARKED = ("user", "item", "at", "signal", "session")
_OPTIONAL = ("share", "device")


def park(history: History, folder: Path) -> None:
    """Write the columns of a history to a folder, so that its memory can be used for something else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PARKED:
        np.save(folder / f"{name}.npy", getattr(history, name))
    for name in _OPTIONAL:
        if getattr(history, name) is not None:
            np.save(folder / f"{name}.npy", getattr(history, name))


def unpark(folder: Path, facts: Items, *, n_users: int, now: int) -> History:
    """The history that was parked there."""
    columns = {name: np.load(folder / f"{name}.npy") for name in _PARKED}
    for name in _OPTIONAL:
        kept = folder / f"{name}.npy"
        columns[name] = np.load(kept) if kept.exists() else None
    return History(n_users=n_users, n_items=len(facts), now=now, facts=facts, **columns)


def mapped(folder: Path) -> dict[str, NDArray[Any]]:
    """The columns of a parked history, memory-mapped: for reading a few users without loading the rest."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _PARKED}
