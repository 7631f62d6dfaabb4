"""The online state as arrays in memory-mapped files of one folder: the embedded backend of the port OnlineState."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import STARS, Action, shares, signals
from segue.core.clock import WEEK_HOURS, hours_of_week, part_of_week
from segue.core.errors import Corrupt, NotReady
from segue.core.hashing import hash64
from segue.core.ports import EventLog
from segue.core.types import Bool, Events, Float32, Int32, Int64, Recent, Scored
from segue.storage.online_state.file import HEADER, LAYOUT, MAGIC, FolderLock, MappedArray, boot_id
from segue.storage.online_state.fold import Batch, Listeners, fold_events, read_pairs, read_recent
from segue.storage.online_state.pairs import DIRECTORY_BITS, MAX_SEGMENTS, SLOTS, Table
from segue.storage.online_state.tops import CELLS_A_REGION, TOP, Ask, Cells, answer, features

DAY_MS = 86_400_000.0
_UNSET = np.iinfo(np.int64).min


class _View(NamedTuple):
    """The arrays as of one generation of the files. A reader takes it once and keeps it for one answer."""

    listeners: Listeners
    pairs: Table
    cells: Cells


class ArrayState:
    """OnlineState in a folder of sparse files, one writer, any number of readers.

    Nothing here is the truth: the log is. The folder is trusted after a clean close, and after a killed process on the
    same boot unless a fold was cut short; else (other boot, layout or parameters) it is emptied when opened, `applied` is 0
    and `catch_up` folds the log anew. Kernels hold no GIL, so other threads read while one folds; they may see an event
    half-counted, never memory that is not theirs.

    folder: created when absent. recent_plays: entries kept by listener. half_life_days: of every decaying sum.
    utc_offsets: region -> minutes east of UTC, for the local hour; absent = 0. demand_prior, share_prior: how many decayed
    plays the parent's demand and share heard are worth (they shape answers, not what is stored).
    """

    def __init__(
        self,
        folder: Path,
        *,
        recent_plays: int = 64,
        half_life_days: float = 14.0,
        utc_offsets: Mapping[int, int] | None = None,
        demand_prior: float = 500.0,
        share_prior: float = 20.0,
        read_only: bool = False,
    ) -> None:
        if recent_plays < 1 or half_life_days <= 0:
            raise ValueError(f"recent_plays >= 1 and half_life_days > 0, not {recent_plays} and {half_life_days}")
        self.folder = Path(folder)
        self.read_only = read_only
        self._ring = recent_plays
        self._life_ms = half_life_days * DAY_MS
        self._offsets = dict(utc_offsets or {})
        self._priors = (float(demand_prior), float(share_prior))
        self._writing = threading.Lock()
        self._view: _View | None = None
        self._lock: FolderLock | None = None
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder)
        elif not (self.folder / "header").exists():
            raise NotReady(f"{self.folder} holds no online state yet; start the server or import events first")
        self._open()

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = True) -> ArrayState:
        """The state of a folder for look-ups beside the process that folds into it; a fold through it is refused."""
        return cls(folder, read_only=read_only)

    # -- opening and growing ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._map_files()
        if self.read_only:
            self._seen = int(self._header["generation"])
            return
        if not self._trusted():
            self._wipe()
        self._header["clean"] = 0
        self._header["boot"] = boot_id()
        self._files["header"].flush()

    def _map_files(self) -> None:
        """Map every file; an empty one gets its first rows."""

        def column(name: str, dtype: str, tail: tuple[int, ...] = (), rows: int = 1) -> None:
            path = self.folder / name
            self._files[name] = MappedArray(path, dtype, tail, rows=rows, read_only=self.read_only)

        self._files: dict[str, MappedArray] = {
            "header": MappedArray(self.folder / "header", HEADER, rows=1, read_only=self.read_only)
        }
        self._header = self._files["header"].array[0]
        ring = self._ring_on_disk()
        column("listeners.counts", "<u4", (5,), 1024)
        column("listeners.items", "<i4", (ring,), 1024)
        column("listeners.sessions", "<u4", (ring,), 1024)
        column("listeners.words", "<i8", (ring,), 1024)
        for table in ("pairs", "sums"):
            column(f"{table}.directory", "<u4", (), 1 << DIRECTORY_BITS)
            column(f"{table}.segments", "<i4", (2,), 32)
            column(f"{table}.keys", "<u8", (), 32 * SLOTS)
            column(f"{table}.values", "<i8", (2,), 32 * SLOTS)
        column("cells.totals", "<f8", (2,), CELLS_A_REGION * 8 + 1)
        column("cells.items", "<i4", (TOP,), CELLS_A_REGION * 8 + 1)
        column("cells.sums", "<f8", (TOP,), CELLS_A_REGION * 8 + 1)
        column("cells.meta", "<i4", (2,), CELLS_A_REGION * 8 + 1)
        column("cells.hours", "<f8", (WEEK_HOURS, 4), 8)
        self._swap_view()

    def _ring_on_disk(self) -> int:
        """A reader in another process takes the length of the ring from the files: counts and rings grow together."""
        if not self.read_only:
            return self._ring
        rows = (self.folder / "listeners.counts").stat().st_size // 20
        return int((self.folder / "listeners.items").stat().st_size // (4 * rows))

    def _swap_view(self) -> None:
        def array(name: str) -> NDArray[np.generic]:
            return self._files[name].array

        def table(name: str) -> Table:
            parts = [array(f"{name}.{part}") for part in ("directory", "segments", "keys", "values")]
            return Table(*parts, self._header[name])

        listeners = Listeners(*(array(f"listeners.{n}") for n in ("counts", "items", "sessions", "words")))
        cells = Cells(table("sums"), *(array(f"cells.{n}") for n in ("totals", "items", "sums", "meta", "hours")))
        self._view = _View(listeners, table("pairs"), cells)

    def _parameters(self) -> int:
        offsets = sorted((int(k), int(v)) for k, v in self._offsets.items() if v)
        return hash64(repr((self._ring, self._life_ms, offsets)))

    def _trusted(self) -> bool:
        header = self._header
        if bytes(header["magic"]) != MAGIC or int(header["layout"]) != LAYOUT or header["folding"]:
            return False
        same_boot = bool(boot_id()) and bytes(header["boot"]) == boot_id()
        return int(header["parameters"]) == self._parameters() and bool(header["clean"] or same_boot)

    def _wipe(self) -> None:
        """Start from nothing in new files: readers keep the old ones, whose header tells them to open again."""
        self._header["retired"] = 1
        for name in self._files:
            (self.folder / name).unlink(missing_ok=True)
        self._map_files()
        header = self._header
        header["magic"], header["layout"], header["parameters"] = MAGIC, LAYOUT, self._parameters()
        header["boot"] = boot_id()
        header["clock"] = (0, _UNSET)
        header["pairs"] = header["sums"] = (1, -1, 0)

    def _grow(self, sizes: Mapping[str, int]) -> None:
        """Make room in the named files, then swap the view once."""
        grown = [self._files[name].grow(rows) for name, rows in sizes.items()]
        if any(grown):
            self._header["generation"] += 1
            self._swap_view()

    def _grow_rows(self, users: int, rows: int) -> None:
        header = self._header
        header["users"] = max(int(header["users"]), users)
        header["cells"] = max(int(header["cells"]), 1 + rows * CELLS_A_REGION)
        sizes = {f"listeners.{n}": users for n in ("counts", "items", "sessions", "words")}
        sizes |= {f"cells.{n}": 1 + rows * CELLS_A_REGION for n in ("totals", "items", "sums", "meta")}
        self._grow(sizes | {"cells.hours": rows})

    def _grow_tables(self) -> None:
        for name in ("pairs", "sums"):
            held = len(self._files[f"{name}.segments"])
            if held - int(self._header[name][0]) > held // 2:
                continue
            if held >= MAX_SEGMENTS:
                raise NotReady(f"the table of {name} is full at {MAX_SEGMENTS * SLOTS:,} slots: shard the users")
            self._grow({f"{name}.{part}": 2 * held * SLOTS for part in ("keys", "values")})
            self._grow({f"{name}.segments": 2 * held})

    def _now(self) -> _View:
        """The arrays to read from; in another process than the writer's, mapped again when they have grown."""
        view = self._view
        if view is None:
            raise NotReady("the online state is closed")
        if self.read_only and (self._header["retired"] or int(self._header["generation"]) != self._seen):
            with self._writing:
                self._map_files()
                self._seen = int(self._header["generation"])
            view = self._view
            assert view is not None
        return view

    # -- folding ------------------------------------------------------------------------------------------------------

    @property
    def applied(self) -> int:
        """seq of the last event that was folded in."""
        self._now()
        return int(self._header["applied"])

    def fold(self, events: Events) -> None:
        """Apply events in order of seq; those at or below `applied` are skipped.

        Corrupt after a fold that was interrupted: open the folder again and catch up.
        """
        if self.read_only:
            raise NotReady("this process opened the online state read-only: another one folds")
        with self._writing:
            self._now()
            header = self._header
            if header["folding"]:
                raise Corrupt("a fold was interrupted: open the state again and catch up from the log")
            seq = np.ascontiguousarray(events["seq"])
            fresh = events[int(np.searchsorted(seq, header["applied"], "right")) :]
            if not len(fresh):
                return
            header["folding"] = 1
            self._fold(self._batch(fresh))
            header["applied"] = fresh["seq"][-1]
            header["folding"] = 0

    def _fold(self, batch: Batch) -> None:
        self._grow_rows(int(batch.user.max(initial=-1)) + 1, int(batch.row.max(initial=0)) + 1)
        done = 0
        while True:
            view = self._now()
            clock = self._header["clock"]
            done = fold_events(batch, done, view.listeners, view.pairs, view.cells, clock, self._life_ms)
            if done == len(batch.user):
                return
            self._grow_tables()

    def _batch(self, events: Events) -> Batch:
        """Columns for the kernel: signals and shares by core.actions, so that night and day agree."""
        action, at = np.ascontiguousarray(events["action"]), np.ascontiguousarray(events["at"])
        played, duration = events["played_s"], events["duration_s"]
        value = np.ascontiguousarray(events["value"])
        play = (action == Action.COMPLETED) | (action == Action.SKIPPED)
        share = np.where(play, shares(action, played, duration), np.float32(np.nan)).astype(np.float32)
        worth = np.where((action == Action.LIKED) | (action == Action.SAVED), np.float32(1), np.float32(0))
        stars = np.clip(np.nan_to_num(value) / np.float32(STARS), 0, 1).astype(np.float32)
        worth = np.where(action == Action.RATED, stars, worth).astype(np.float32)
        seconds = np.where(np.isfinite(played), np.maximum(played, 0), np.nan_to_num(share * duration, posinf=0.0))
        row = np.maximum(events["region"].astype(np.int32) + 1, 0)
        session = (events["session"] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        return Batch(
            user=np.ascontiguousarray(events["user"]),
            item=np.ascontiguousarray(events["item"]),
            at=at,
            session=np.where(events["session"] > 0, np.maximum(session, 1), 0).astype(np.uint32),
            action=action,
            signal=signals(action, played, duration, value),
            share=share,
            worth=worth,
            seconds=seconds.astype(np.float32),
            row=row,
            hour=hours_of_week(at, self._offset_table(int(row.max(initial=0)))[row]).astype(np.int32),
        )

    def _offset_table(self, last_row: int) -> Int64:
        table = np.zeros(last_row + 1, np.int64)
        for region, minutes in self._offsets.items():
            if 0 <= region < last_row:
                table[region + 1] = minutes
        return table

    def catch_up(self, log: EventLog, batch: int = 65_536) -> int:
        """Fold what the log holds beyond `applied`; how many events that was. A state ahead of its log is rebuilt."""
        if self.applied > log.last:
            self._restart()
        before = folded = 0
        while len(events := log.read(self.applied, batch)):
            before = self.applied
            self.fold(events)
            folded += len(events)
            if self.applied == before:
                raise Corrupt(f"the log answers with events at or before seq {before} when asked for later ones")
        return folded

    def rebuild(self, log: EventLog, batch: int = 65_536) -> int:
        """Forget everything and fold the whole log, as a stream; how many events that was."""
        self._restart()
        return self.catch_up(log, batch)

    def _restart(self) -> None:
        if self.read_only:
            raise NotReady("this process opened the online state read-only: another one rebuilds it")
        with self._writing:
            self._now()
            self._wipe()

    # -- look-ups -----------------------------------------------------------------------------------------------------

    def recent(self, user: int, session: int = 0) -> Recent:
        """The listener's last plays and votes, newest first by time; of one moment, the later in the log first.

        Shares are kept in steps of 2**-18. Empty for MISSING and for anyone unknown.
        """
        view = self._now()
        if not 0 <= user < len(view.listeners.words):
            return Recent.none()
        items, signal, share, at, same = read_recent(view.listeners, user, _short(session))
        return Recent(items, signal, share, at, same)

    def heard(self, user: int, items: Int32) -> tuple[NDArray[np.uint16], Int64]:
        """Per item: times this user played it (ends of plays, at most 65,535), and when last (ms, 0 never)."""
        times, last, _, _ = self._pairs(user, items)
        return times, last

    def marks(self, user: int, items: Int32) -> NDArray[np.uint8]:
        """Per item the bits LIKED=1, DISLIKED=2, HIDDEN=4, SAVED=8, SHOWN=16 of this user, last word wins.

        A like or a save takes back a dislike and a hide, these take back a like; a rating of 4 stars and more is a like,
        of 2 and less a dislike, between neither.
        """
        return self._pairs(user, items)[2]

    def in_session(self, user: int, session: int, items: Int32) -> Bool:
        """Per item whether this user started or played it in this session, however long the session is.

        The last session of each (user, item) is kept, by 32 bits of its id: of two sessions at once, the one that played
        the song last knows of it.
        """
        if session == 0:
            return np.zeros(len(items), np.bool_)
        same: Bool = self._pairs(user, items)[3] == _short(session)
        return same

    def _pairs(self, user: int, items: Int32) -> tuple[NDArray[np.uint16], Int64, NDArray[np.uint8], NDArray[np.uint32]]:
        view = self._now()
        wanted = np.ascontiguousarray(items if user >= 0 else np.full(len(items), -1), np.int32)
        times, last, marks, sessions = read_pairs(view.pairs, max(user, 0), wanted)
        return times, last, marks, sessions

    def novelty(self, user: int) -> tuple[float, float, float, float]:
        """(finished new, rejected new, finished familiar, rejected familiar): ends of plays with a signal.

        New: the user had never ended a play of the item before.
        """
        counts = self._now().listeners.counts
        if not 0 <= user < len(counts):
            return 0.0, 0.0, 0.0, 0.0
        new_yes, new_no, old_yes, old_no = counts[user, 1:].tolist()
        return float(new_yes), float(new_no), float(old_yes), float(old_no)

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        """The live answer of M3: the items with the largest expected share of all listening at this place and time.

        The score is demand times share heard, each shrunk from region x part of the week to region to world
        (tops.expect); candidates are the exact top 256 of each of the three by decayed share heard. An unknown region is
        answered by the events that name none, which without any are the world. The log knows no ages: every age band is
        answered by its parent, and the lift of a band is learned at night (candidates.popularity).
        """
        view = self._now()
        items, scores = answer(view.cells, self._ask(region, hour_of_week), max(limit, 0))
        return Scored(items, scores)

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> Float32:
        """Per item (expected share heard, log decayed plays), (n, 2): features for the ranker, shrunk to the parent.

        The second is log(1 + demand x all decayed plays of the world), so that it compares across regions.
        """
        view = self._now()
        out: Float32 = features(view.cells, self._ask(region, hour_of_week), np.ascontiguousarray(items, np.int32))
        return out

    def hours(self, region: int) -> NDArray[np.float64]:
        """Decayed (plays, finished, rejected, seconds heard) by local hour of the week, (168, 4), as of the newest play."""
        cells = self._now().cells
        row = max(region, -1) + 1
        if row >= len(cells.hours):
            return np.zeros((WEEK_HOURS, 4))
        return cells.hours[row] * self._scale()

    def _scale(self) -> float:
        newest, landmark = (int(v) for v in self._header["clock"])
        return 0.0 if landmark == _UNSET else math.exp2(landmark - newest / self._life_ms)

    def _ask(self, region: int, hour_of_week: int) -> Ask:
        part = part_of_week(hour_of_week % WEEK_HOURS)
        return Ask(max(region, -1) + 1, part, self._scale(), *self._priors)

    # -- the whole ----------------------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """How much is known: users, pairs of user and item, pairs of cell and item, cells, and bytes of files in use."""
        self._now()
        header = self._header
        users, cells = int(header["users"]), int(header["cells"])
        used = users * (20 + 16 * self._files["listeners.items"].tail[0]) + cells * (TOP * 12 + 24)
        used += sum(int(header[name][0]) * (SLOTS * 24 + 8) for name in ("pairs", "sums"))
        return {
            "users": users,
            "pairs": int(header["pairs"][2]),
            "sums": int(header["sums"][2]),
            "cells": cells,
            "bytes": used,
        }

    def digest(self) -> str:
        """A hash over every byte of the state: parameters, counters and all rows in use, whatever room the files have."""
        with self._writing:
            self._now()
            header = self._header
            hasher = blake2b(digest_size=16)
            for name in ("layout", "parameters", "applied", "users", "cells", "clock", "pairs", "sums"):
                hasher.update(np.ascontiguousarray(header[name]))
            users, cells = int(header["users"]), int(header["cells"])
            rows = {"listeners": users, "cells": cells, "cells.hours": (cells - 1) // CELLS_A_REGION}
            for table in ("pairs", "sums"):
                segments = int(header[table][0])
                rows |= {f"{table}.directory": 1 << DIRECTORY_BITS, f"{table}.segments": segments}
                rows |= {f"{table}.keys": segments * SLOTS, f"{table}.values": segments * SLOTS}
            for name, file in sorted(self._files.items()):
                if name != "header":
                    used = rows[name] if name in rows else rows[name.split(".")[0]]
                    hasher.update(file.array[:used])
            return hasher.hexdigest()

    def flush(self) -> None:
        """Write back to disk; nothing is lost without it, since the log can rebuild the state."""
        self._now()
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Flush, mark the folder as clean and release it. Look-ups and folds raise NotReady afterwards."""
        with self._writing:
            if self._view is None:
                return
            if not self.read_only:
                self.flush()
                self._header["clean"] = not self._header["folding"]
                self._files["header"].flush()
            self._view = None
            if self._lock is not None:
                self._lock.release()


def _short(session: int) -> int:
    """The half of a session's hash that is kept: never 0 for a session, 0 for none."""
    return max(session & 0xFFFFFFFF, 1) if session else 0
