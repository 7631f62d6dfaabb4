"""From the log to one vote a listener: whose songs of the slates that two rankers shared were heard to the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import Action, signals
from segue.core.types import Events, Exposure, Int64
from segue.experiments.assignment import ARMS, NEW
from segue.experiments.book import Experiment
from segue.experiments.interleaving import OURS, THEIRS, Preference, preference
from segue.experiments.metrics import assigned
from segue.experiments.plan import DAY_MS

SETTLED_MS: Final = 120_000
"""Slates are written within a second: those older than this are read once and kept as columns, younger ones again."""
_COLUMNS: Final = ("at", "request", "user", "item", "action", "played_s", "duration_s", "value")
PLACE: Final = np.dtype([("request", "<u8"), ("item", "<i4"), ("team", "i1")])
"""A place of a shared slate: 13 bytes."""


class Log(Protocol):
    """The part of the log that this reads."""

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        """As in core.ports.EventLog."""
        ...

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        """As in core.ports.EventLog."""
        ...


@dataclass(frozen=True)
class Votes:
    """What listeners heard to the end of each ranker's songs, one row a listener, by time of first influence: (n,) columns."""

    user: NDArray[np.int32]
    first: Int64  # ms
    ours: Int64
    theirs: Int64


class Shared:
    """The places of the slates that experiments share, as columns; all of it is in the log, and read again after a restart."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._kept: dict[str, tuple[int, NDArray[np.void]]] = {}  # by experiment: read up to (ms), places

    def only(self, names: Collection[str]) -> None:
        """Forget the places of other experiments: a day of slates is megabytes, and what has ended is asked for rarely."""
        self._kept = {name: kept for name, kept in self._kept.items() if name in names}

    def places(self, name: str, start: int, end: int, now: int) -> NDArray[np.void]:
        """Every place of the experiment's slates shown in [start, end), (p,) of PLACE, sorted by (request, item)."""
        until, kept = self._kept.get(name, (start, np.zeros(0, PLACE)))
        settled = max(until, min(end, now - SETTLED_MS))
        if settled > until:
            kept = np.concatenate((kept, self._read(name, until, settled)))
            self._kept[name] = (settled, kept)
        every = np.concatenate((kept, self._read(name, settled, end)))
        return every[np.lexsort((every["item"], every["request"]))]

    def _read(self, name: str, at_from: int, at_to: int) -> NDArray[np.void]:
        if at_from >= at_to:
            return np.zeros(0, PLACE)
        parts = [np.zeros(0, PLACE)]
        for shown in self.log.exposures(at_from, at_to):
            if name in shown.teams:
                part = np.zeros(len(shown.slate.items), PLACE)
                part["request"], part["item"], part["team"] = shown.slate.request_id, shown.slate.items, shown.teams[name]
                parts.append(part)
        return np.concatenate(parts)

    def preference(self, experiment: Experiment, now: int) -> Preference:
        """Of the listeners whose window has closed by now."""
        plan, votes = experiment.plan, self.votes(experiment, now)
        closed = votes.first + int(plan.window_days * DAY_MS) <= now
        return preference(votes.ours[closed], votes.theirs[closed], planned=float(plan.users), alpha=plan.alpha)

    def votes(self, experiment: Experiment, now: int) -> Votes:
        """What has come in of the step that decides by now; empty before it.

        A song counts for the ranker that drafted it when it was heard to the end, liked or saved by word of its request, by
        the listener, within the window after first influence; once, whatever is said of it.
        """
        step = len(experiment.plan.ramp) - 1
        if len(experiment.steps) <= step:
            none = np.zeros(0, np.int64)
            return Votes(none.astype(np.int32), none, none, none)
        start, end = experiment.steps[step], now + 1
        who = assigned(self.log, experiment.number, step, "user", start, end)
        mine = who.arm == ARMS.index(NEW)
        user, first = who.user[mine], who.first[mine]
        heard = np.zeros((2, len(user)), np.int64)
        places = self.places(experiment.plan.name, start, end, now)
        if len(user) and len(places):
            join = _Join(places, user, first, int(experiment.plan.window_days * DAY_MS))
            done = np.zeros(len(places), np.bool_)
            for events in self.log.scan(start, end, _COLUMNS):
                at, row = join.credited(events)
                at, row = at[~done[at]], row[~done[at]]
                at, one = np.unique(at, return_index=True)
                done[at] = True
                np.add.at(heard, (places["team"][at], row[one]), 1)
        return Votes(user, first, heard[OURS], heard[THEIRS])


class _Join:
    """Finds for events the places of shared slates that they are about, and the rows of their listeners."""

    def __init__(self, places: NDArray[np.void], user: NDArray[np.int32], first: Int64, window_ms: int) -> None:
        self._requests, number = np.unique(places["request"], return_inverse=True)
        self._keys = number.astype(np.int64) << 32 | places["item"]  # ascending: places are sorted by request and item
        self._row_of = np.full(int(user.max()) + 1, -1, np.int64)
        self._row_of[user] = np.arange(len(user))
        self._first, self._window = first, window_ms

    def credited(self, events: Events) -> tuple[Int64, Int64]:
        """(place, row) of each event that says that the song of a place was liked, in its listener's window."""
        mine = (events["user"] >= 0) & (events["user"] < len(self._row_of)) & (events["item"] >= 0)
        events = events[mine & (events["request"] != 0) & (events["action"] != Action.ASSIGNED)]
        row = self._row_of[events["user"]]
        since = events["at"] - self._first[row]
        inside = (row >= 0) & (since >= 0) & (since < self._window)
        events, row = events[inside], row[inside]
        action = np.ascontiguousarray(events["action"])
        said = signals(action, *(np.ascontiguousarray(events[name]) for name in ("played_s", "duration_s", "value")))
        number = np.minimum(np.searchsorted(self._requests, events["request"]), len(self._requests) - 1)
        key = number.astype(np.int64) << 32 | events["item"]
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1).astype(np.int64)
        liked = (said > 0) & (self._requests[number] == events["request"]) & (self._keys[at] == key)
        return at[liked], row[liked]
