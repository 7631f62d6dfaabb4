"""Sums by hour, folded from the log as it grows: what every listening metric of the monitor is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import Action, signals
from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import MISSING, Bool, Events, Int32, Int64

Float64 = NDArray[np.float64]
COLUMNS: Final = (
    "events", "plays", "finished", "skipped", "asked", "asked_finished", "seconds", "sessions", "votes", "timeless",
    "placeless", "of_7", "gone_7", "of_14", "gone_14",
)  # fmt: skip
"""Sums an hour. `asked` are ends of plays that carry a request id; `timeless` those without a heard time, `placeless` without
a region; of_7 listeners of the day eight days ago, gone_7 those of them who played nothing in the seven days after it."""
KEEP_WEEKS = 26
GAP_S = 1800
GROUPS = 64
"""Groups kept at most for each segment: the first ones seen."""
FIRST_MONDAY_MS = 4 * DAY_MS
"""1970-01-05, from which weeks are counted."""
WEEK_MS = 7 * DAY_MS


@dataclass(frozen=True)
class Metric:
    """sum(num) / sum(den), or sum(num) an hour where den is ""; good is +1 where more is better."""

    num: str
    den: str
    good: int
    text: str


METRICS: Final[dict[str, Metric]] = {
    "listened_share": Metric("asked_finished", "asked", +1, "share of recommended songs listened to"),
    "sessions": Metric("sessions", "", +1, "sessions"),
    "session_time": Metric("seconds", "sessions", +1, "seconds of listening a session"),
    "session_length": Metric("plays", "sessions", +1, "songs a session"),
    "skip_rate": Metric("skipped", "plays", -1, "share of songs skipped at once"),
    "engagement": Metric("votes", "plays", +1, "likes and saves a song"),
    "events": Metric("events", "", +1, "events that arrive"),
    "churn_7": Metric("gone_7", "of_7", -1, "share of listeners who play nothing in the 7 days after"),
    "churn_14": Metric("gone_14", "of_14", -1, "share of listeners who play nothing in the 14 days after"),
}
"""What is watched, the most important first."""

Reference = Callable[[Int32], Bool]
"""Which listeners are served by the reference policy."""


def nobody(users: Int32) -> Bool:
    """No reference policy."""
    return np.zeros(len(users), np.bool_)


class Tallies:
    """Hourly sums over everybody, over the listeners of the reference policy, and by region and device.

    Memory: a week of a group is 20 kB; a listener is 12 bytes (the last session, when it was heard, and 32 days of activity),
    so ten million are 120 MB. Events older than KEEP_WEEKS before the newest are left out. Feed it in the order of the log.
    """

    def __init__(self, reference: Reference = nobody) -> None:
        self._reference = reference
        self.groups: dict[tuple[str, int], int] = {("all", 0): 0, ("reference", 0): 1}
        self.base = -1  # ms of the Monday that column 0 begins with
        self.sums: Float64 = np.zeros((2, 0, len(COLUMNS)))
        self.newest = 0  # ms of the newest event
        self._days: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._session: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._heard: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._top = -1  # the day of bit 0

    def fold(self, events: Events) -> None:
        """Add events; those of experiments, and those that nobody can have dated so, are not listening."""
        at = events["at"]
        events = events[(events["action"] != Action.ASSIGNED) & (at >= self.newest - KEEP_WEEKS * WEEK_MS) & (at > 0)]
        if not len(events):
            return
        self.newest = max(self.newest, int(events["at"].max()))
        self._room(int(events["at"].min()))
        inside = events["at"] >= self.base
        events = events[inside]
        if not len(events):
            return
        hours = (events["at"] - self.base) // HOUR_MS
        columns = self._columns(events)
        for group, mask in self._memberships(events):
            row = self._row(group)
            for place, values in columns.items():
                picked = values if mask is None else values[mask]
                where = hours if mask is None else hours[mask]
                added = np.bincount(where, picked)
                self.sums[row, : len(added), place] += added

    def _columns(self, events: Events) -> dict[int, Float64]:
        action = np.ascontiguousarray(events["action"])
        said = signals(action, *(np.ascontiguousarray(events[name]) for name in ("played_s", "duration_s", "value")))
        done = action == Action.COMPLETED
        play = done | (action == Action.SKIPPED)
        asked = play & (events["request"] != 0)
        full = np.where(done, np.nan_to_num(events["duration_s"]), 0.0)
        known = np.isfinite(events["played_s"])
        named = {
            "events": np.ones(len(events)), "plays": play, "finished": play & (said > 0), "skipped": play & (said < 0),
            "asked": asked, "asked_finished": asked & (said > 0), "votes": (action == Action.LIKED) | (action == Action.SAVED),
            "seconds": np.where(play, np.maximum(np.where(known, events["played_s"], full), 0.0), 0.0),
            "sessions": self._starts(events, play), "timeless": play & ~known,
            "placeless": play & (events["region"] == MISSING),
        }  # fmt: skip
        return {COLUMNS.index(name): np.asarray(values, np.float64) for name, values in named.items()}

    def _memberships(self, events: Events) -> list[tuple[tuple[str, int], Bool | None]]:
        """Each group that has events here, with a mask of them; None = all."""
        out: list[tuple[tuple[str, int], Bool | None]] = [(("all", 0), None)]
        fixed = self._reference(events["user"])
        if fixed.any():
            out.append((("reference", 0), fixed & (events["request"] != 0)))
        for name in ("region", "device"):
            room = GROUPS - sum(kind == name for kind, _ in self.groups)
            for code in np.unique(events[name]).tolist():
                known = (name, code) in self.groups
                if code != MISSING and (known or room > 0):
                    room -= not known
                    out.append(((name, code), events[name] == code))
        return out

    def _row(self, group: tuple[str, int]) -> int:
        if group not in self.groups:
            self.groups[group] = len(self.groups)
            self.sums = np.concatenate([self.sums, np.zeros((1, *self.sums.shape[1:]))])
        return self.groups[group]

    def _room(self, oldest: int) -> None:
        """Whole weeks that hold everything from `oldest`, at most KEEP_WEEKS of them, to the newest event."""
        least = max(oldest, self.newest - KEEP_WEEKS * WEEK_MS)
        monday = (least - FIRST_MONDAY_MS) // WEEK_MS * WEEK_MS + FIRST_MONDAY_MS
        if self.base < 0:
            self.base = monday
        weeks = (self.newest - self.base) // WEEK_MS + 1
        early = max((self.base - monday) // WEEK_MS, 0)
        more = max(int(weeks) * 168 - self.sums.shape[1], 0)
        if early or more:
            self.sums = np.pad(self.sums, ((0, 0), (int(early) * 168, more), (0, 0)))
            self.base -= early * WEEK_MS
        late = self.sums.shape[1] // 168 - KEEP_WEEKS - 1
        if late > 0:
            self.sums, self.base = self.sums[:, late * 168 :].copy(), self.base + late * WEEK_MS

    def _starts(self, events: Events, play: Bool) -> Float64:
        """1 where a play begins a session: another session id than the listener's play before, or half an hour after it."""
        out = np.zeros(len(events))
        places = np.flatnonzero(play & (events["user"] >= 0))
        if not len(places):
            return out
        places = places[np.lexsort((events["at"][places], events["user"][places]))]
        user, session = events["user"][places], events["session"][places].astype(np.uint32)
        second = (events["at"][places] // 1000).astype(np.int64)
        self._know(int(user[-1]) + 1)
        first = np.r_[True, user[1:] != user[:-1]]
        before = np.where(first, self._heard[user].astype(np.int64), np.r_[0, second[:-1]])
        same = session == np.where(first, self._session[user], np.r_[np.uint32(0), session[:-1]])
        out[places] = (before == 0) | ~same | ((session == 0) & (second - before > GAP_S))
        last = np.r_[user[1:] != user[:-1], True]
        self._heard[user[last]], self._session[user[last]] = second[last], session[last]
        self._active(user, events["at"][places] // DAY_MS)
        return out

    def _know(self, n: int) -> None:
        if n > len(self._days):
            more = max(n, 2 * len(self._days)) - len(self._days)
            self._days, self._session, self._heard = (np.pad(x, (0, more)) for x in (self._days, self._session, self._heard))

    def _active(self, user: Int32, day: Int64) -> None:
        """Mark listeners as active, day by day; when a new day begins, count who of 8 and 15 days ago has not been back."""
        for one in np.unique(day).tolist():
            if self._top < 0 or one - self._top >= 32:
                self._days[:] = 0
                self._top = one
            while self._top < one:
                self._begin_day()
            if self._top - one < 32:
                self._days[user[day == one]] |= np.uint32(1 << (self._top - one))

    def _begin_day(self) -> None:
        self._days <<= np.uint32(1)
        self._top += 1
        for days in (7, 14):
            here = (self._days >> np.uint32(days + 1)) & np.uint32(1) == 1
            back = self._days & np.uint32((1 << (days + 1)) - 2) != 0
            self._put(f"of_{days}", float(here.sum()))
            self._put(f"gone_{days}", float((here & ~back).sum()))

    def _put(self, column: str, value: float) -> None:
        """A figure of the day that begins: it stands in its first hour."""
        hour = (self._top * DAY_MS - self.base) // HOUR_MS
        if 0 <= hour < self.sums.shape[1]:
            self.sums[0, hour, COLUMNS.index(column)] = value

    def series(self, metric: str, group: tuple[str, int], now: int) -> tuple[Float64, Float64]:
        """(numerators, denominators) by hour over whole weeks, (hours,) each; 0 in both where an hour is not over by `now`."""
        told, row = METRICS[metric], self.sums[self.groups[group]]
        num = row[:, COLUMNS.index(told.num)].copy()
        over = (now - self.base) // HOUR_MS
        hours = np.arange(len(num))
        if told.den:
            den = row[:, COLUMNS.index(told.den)].copy()
        else:
            began = np.flatnonzero(row[:, 0])
            den = (hours >= (began[0] if len(began) else len(hours))).astype(np.float64)
        num[over:], den[over:] = 0.0, 0.0
        return num, den

    def until(self, now: int) -> None:
        """Make room for the hours up to now, though nothing arrived in them."""
        if self.base >= 0 and now > self.newest:
            weeks = (now - self.base) // WEEK_MS + 1
            more = int(weeks) * 168 - self.sums.shape[1]
            if 0 < more <= KEEP_WEEKS * 168:
                self.sums = np.pad(self.sums, ((0, 0), (0, more), (0, 0)))

    def total(self, column: str, at_from: int, at_to: int, group: tuple[str, int] = ("all", 0)) -> float:
        """A sum over the hours that lie in [at_from, at_to)."""
        low, high = (max(0, -(-(at - self.base) // HOUR_MS)) for at in (at_from, at_to))
        return float(self.sums[self.groups[group], low:high, COLUMNS.index(column)].sum())
