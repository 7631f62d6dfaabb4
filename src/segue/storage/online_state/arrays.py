"""The online state as arrays in memory-mapped files of one folder: the embedded backend of the port OnlineState."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import Action
from segue.core.clock import DAY_MS, HOUR_MS, WEEK_HOURS, Offset, part_of_week
from segue.core.errors import Corrupt, NotReady
from segue.core.hashing import hash64
from segue.core.ports import EventLog
from segue.core.types import Bool, Events, Float32, Int32, Int64, Recent, Scored
from segue.storage.online_state.batch import Batch, short_session, to_batch
from segue.storage.online_state.fold import Counted, fold_events, read_pairs, read_recent
from segue.storage.online_state.hours import read_hours
from segue.storage.online_state.store import Store, View
from segue.storage.online_state.tops import REBASE_AFTER, UNSET, Ask, answer, features, rebase

FOLD = 3
"""What a fold makes of an event; another number makes stored states fold the log anew."""


_Columns = tuple[NDArray[np.uint16], Int64, NDArray[np.uint8], NDArray[np.uint32]]
"""times, last, marks, sessions: what a pair of user and item holds."""
LATE = 1e-4
"""Share of all decayed plays by which a kept answer of popularity may be late."""
PLACES = 4096
"""Places and parts of the week whose answers of popularity are kept."""
_Asked = tuple[Int32, int, int, View, _Columns]
"""The last question, the state it was put to, and the answer."""


class ArrayState:
    """OnlineState in a folder of sparse files: one writer, any number of readers.

    Nothing here is the truth, the log is: a folder that cannot be trusted (store.Store) is emptied when opened, `applied`
    is 0 and `catch_up` folds the log anew. Kernels hold no GIL, so other threads read while one folds; they may see an
    event half-counted, never memory that is not theirs. Open one ArrayState a process; other processes open it read-only.

    folder: created when absent. recent_plays: entries kept for each listener. half_life_days: of every decaying sum.
    utc_offsets: region -> minutes east of UTC, always or by season, for the local hour; absent = 0.
    demand_prior, share_prior: how many decayed plays the parent's demand and share heard are worth (they shape answers, not
    what is stored).
    NotReady when another process folds into the folder, or for a reader when there is nothing to read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        recent_plays: int = 64,
        half_life_days: float = 14.0,
        utc_offsets: Mapping[int, Offset] | None = None,
        demand_prior: float = 500.0,
        share_prior: float = 20.0,
        read_only: bool = False,
    ) -> None:
        if recent_plays < 1 or half_life_days <= 0 or demand_prior < 0 or share_prior <= 0:
            raise ValueError("needs recent_plays >= 1, half_life_days > 0, demand_prior >= 0 and share_prior > 0")
        self.recent_plays = recent_plays
        self.half_life_days = half_life_days
        self.utc_offsets = {int(region): place for region, place in (utc_offsets or {}).items() if place}
        self.demand_prior = demand_prior
        self.share_prior = share_prior
        self._life_ms = half_life_days * DAY_MS
        self._writing = threading.Lock()
        self._asked: _Asked | None = None
        self._popular: dict[tuple[int, int, float, float], tuple[int, Scored]] = {}
        parameters = hash64(repr((FOLD, recent_plays, self._life_ms, sorted(self.utc_offsets.items(), key=itemgetter(0)))))
        self._store = Store(Path(folder), ring=recent_plays, parameters=parameters, read_only=read_only)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = True, half_life_days: float = 14.0) -> ArrayState:
        """The state of a folder for look-ups beside the process that folds into it; a fold through it is refused."""
        return cls(folder, read_only=read_only, half_life_days=half_life_days)

    # -- folding ------------------------------------------------------------------------------------------------------

    @property
    def applied(self) -> int:
        """seq of the last event that was folded in."""
        self._store.view()
        return int(self._store.header["applied"])

    def fold(self, events: Events) -> None:
        """Apply events in order of seq; those at or below `applied` are skipped.

        Plays that end and votes enter the listener's ring, by time; a play is counted in popularity by the share that was
        heard. A vote counts there as one more play, when it says something new: a like or a save as heard to the
        end, a rating by its stars of five, a dislike or a hide as not heard. The evidence of one listener about one song
        saturates (fold.fresh_share): plays, and votes apart, never weigh more than two. Searches and clicks leave no trace.
        Corrupt after a fold that was interrupted: open the folder again and catch up.
        """
        with self._writing:
            self._writable()
            header = self._store.header
            if header["folding"]:
                raise Corrupt("a fold was interrupted: open the state again and catch up from the log")
            seq = np.ascontiguousarray(events["seq"])
            fresh = events[int(np.searchsorted(seq, header["applied"], "right")) :]
            if len(fresh):
                batch = to_batch(fresh, self.utc_offsets)
                self._store.need(*(int(column.max()) + 1 for column in (batch.user, batch.row, batch.item)))
                header["folding"] = 1  # from here to the end a crash costs a rebuild: nothing that can wait is in between
                self._fold(batch)
                header["applied"] = seq[-1]
                header["folding"] = 0

    def _fold(self, batch: Batch) -> None:
        clock = self._store.header["clock"]
        done = 0
        while True:
            view = self._store.view()
            counted = Counted(view.cells, view.hours)
            done = fold_events(batch, done, view.listeners, view.pairs, counted, clock, self._life_ms)
            if done == len(batch.user):
                return
            lives = float(batch.at[done] / self._life_ms)
            if batch.action[done] >= Action.COMPLETED and lives - clock[1] >= REBASE_AFTER:
                self._move_landmark(clock, math.floor(lives))
            else:
                self._store.grow_tables()

    def _move_landmark(self, clock: Int64, landmark: int) -> None:
        if clock[1] != UNSET:
            rebase(self._store.view().cells, landmark - int(clock[1]))
        clock[1] = landmark

    def _writable(self) -> None:
        self._store.view()
        if self._store.read_only:
            raise NotReady("this process opened the online state read-only: another one folds")

    def catch_up(self, log: EventLog, batch: int = 65_536) -> int:
        """Fold what the log holds beyond `applied`; how many events that was. A state ahead of its log is rebuilt."""
        if self.applied > log.last:
            self.start_over()
        folded = 0
        while len(events := log.read(self.applied, batch)):
            before = self.applied
            self.fold(events)
            folded += len(events)
            if self.applied == before:
                raise Corrupt(f"the log answers with events at or before seq {before} when asked for later ones")
        return folded

    def rebuild(self, log: EventLog, batch: int = 65_536) -> int:
        """Forget everything and fold the whole log, as a stream; how many events that was."""
        self.start_over()
        return self.catch_up(log, batch)

    def start_over(self) -> None:
        """Forget everything: `applied` is 0 and the log must tell it again. Look-ups go on, and know nothing for a while."""
        with self._writing:
            self._writable()
            self._popular.clear()
            self._store.wipe()

    # -- listeners ----------------------------------------------------------------------------------------------------

    def recent(self, user: int, session: int = 0) -> Recent:
        """The listener's last plays and votes, newest first by time; of one moment, the later in the log first.

        Shares are kept in steps of 2**-18. Empty for MISSING and for anyone unknown.
        """
        view = self._store.view()
        if not 0 <= user < min(len(view.listeners.counts), len(view.listeners.entries)):
            return Recent.none()
        items, signal, share, at, same = read_recent(view.listeners, user, short_session(session))
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
        the song last knows of it. Nothing is in session 0.
        """
        sessions = self._pairs(user, items)[3]
        same: Bool = (sessions == short_session(session)) & (session != 0)
        return same

    def _pairs(self, user: int, items: Int32) -> _Columns:
        """What is stored of (user, item) for many items; read-only columns. The caller leaves `items` as it is.

        A request asks about the same array again and again (rules, features, reranking): the last answer is kept for as long
        as nothing was folded. Rows of many listeners lie all over a large table, so a second look costs as much as the first.
        """
        view, applied = self._store.view(), int(self._store.header["applied"])
        known = self._asked
        if known is not None and known[0] is items and known[1] == user and known[2] == applied and known[3] is view:
            return known[4]
        times, last, marks, sessions = read_pairs(view.pairs, user, np.ascontiguousarray(items, np.int32))
        for column in (times, last, marks, sessions):
            column.flags.writeable = False
        if not self._store.header["folding"]:
            self._asked = (items, user, applied, view, (times, last, marks, sessions))
        return times, last, marks, sessions

    def novelty(self, user: int) -> tuple[float, float, float, float]:
        """(finished new, rejected new, finished familiar, rejected familiar): ends of plays with a signal.

        New: the user had never ended a play of the item before.
        """
        counts = self._store.view().listeners.counts
        if not 0 <= user < len(counts):
            return 0.0, 0.0, 0.0, 0.0
        new_yes, new_no, old_yes, old_no = counts[user, 1:].tolist()
        return float(new_yes), float(new_no), float(old_yes), float(old_no)

    # -- popularity ---------------------------------------------------------------------------------------------------

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        """The live answer of M3: the items with the largest expected share of all listening at this place and time.

        The score is demand times share heard, each shrunk from region x part of the week to region to world
        (tops.expect); candidates are the exact top 256 of each of the three by decayed share heard. An unknown region is
        answered by the events that name none, which without any are the world. The log knows no ages: every age band is
        answered by its parent, and the lift of a band is learned at night (candidates.popularity).

        An answer is kept while fewer events were folded since than LATE of all decayed plays: exact on a small service, and
        at ten million plays a place and part of the week is worked out anew with each thousandth event.
        """
        _, found = self._popular_now(region, hour_of_week)
        return Scored(found.items[: max(limit, 0)], found.scores[: max(limit, 0)])

    def popular_as_of(self, region: int, hour_of_week: int) -> int:
        """seq of the last event that the answer of popular() for this place and hour knows of: at most `applied`."""
        return self._popular_now(region, hour_of_week)[0]

    def _popular_now(self, region: int, hour_of_week: int) -> tuple[int, Scored]:
        view, ask, applied = self._store.view(), self._ask(region, hour_of_week), int(self._store.header["applied"])
        place = (ask.row, ask.part, ask.demand_prior, ask.share_prior)
        when, found = self._popular.get(place, (UNSET, Scored.none()))
        if when == UNSET or not 0 <= applied - when <= LATE * view.cells.totals[0, 0] * ask.scale:
            when, found = applied, answer(view.cells, ask)
            if len(self._popular) >= PLACES:
                self._popular.clear()
            if not self._store.header["folding"]:
                self._popular[place] = (when, found)
        return when, found

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> Float32:
        """Per item (expected share heard, log decayed plays), (n, 2): features for the ranker, shrunk to the parent.

        The second is log(1 + demand x all decayed plays of the world), so that it compares across regions.
        """
        wanted = np.ascontiguousarray(items, np.int32)
        return features(self._store.view().cells, self._ask(region, hour_of_week), wanted)

    def by_hour(self, items: Int32, now: int) -> NDArray[np.uint16]:
        """Listeners who played each item in the hour (UTC) of `now` (ms) and in each of the 23 before it, (n, 24), the newest
        first; one counts once an hour. What the log holds beyond `now` is not in it."""
        return read_hours(self._store.view().hours, np.ascontiguousarray(items, np.int32), now // HOUR_MS)

    def hours(self, region: int) -> NDArray[np.float64]:
        """Decayed (plays, finished, rejected, seconds heard) by local hour of the week, (168, 4), as of the newest play.

        For monitoring; MISSING: the plays that name no region.
        """
        cells, row = self._store.view().cells, max(region, -1) + 1
        if row >= len(cells.hours):
            return np.zeros((WEEK_HOURS, 4))
        scaled: NDArray[np.float64] = cells.hours[row] * self._scale()
        return scaled

    def _scale(self) -> float:
        """What turns stored sums into plays as of the newest one."""
        newest, landmark = (int(v) for v in self._store.header["clock"])
        return 0.0 if landmark == UNSET else math.exp2(min(landmark - newest / self._life_ms, 0.0))

    def _ask(self, region: int, hour_of_week: int) -> Ask:
        part = part_of_week(hour_of_week % WEEK_HOURS)
        return Ask(max(region, -1) + 1, part, self._scale(), float(self.demand_prior), float(self.share_prior))

    # -- the whole ----------------------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """How much is known: users, pairs of user and item, sums (pairs of cell and item), cells, bytes in use."""
        self._store.view()
        header = self._store.header
        return {
            "users": int(header["users"]),
            "pairs": int(header["pairs"][2]),
            "sums": int(header["sums"][2]),
            "cells": int(header["cells"]),
            "bytes": self._store.used_bytes(),
        }

    def digest(self) -> str:
        """A hash over every byte of the state: the same events in the same order, however batched, give the same."""
        with self._writing:
            self._store.view()
            return self._store.digest()

    def flush(self) -> None:
        """Write back to disk; nothing is lost without it, since the log can rebuild the state."""
        self._store.view()
        self._store.flush()

    def close(self) -> None:
        """Flush, mark the folder as clean and release it. Look-ups and folds raise NotReady afterwards."""
        with self._writing:
            self._store.close()
