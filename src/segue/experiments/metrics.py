"""From the log to one row a user: what a listener did in the window after first influence, and in the weeks before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import Action, signals
from segue.core.hashing import spread
from segue.core.types import Bool, Events, Int64
from segue.experiments.assignment import ARMS, Split
from segue.experiments.clustered import Sample

Float64 = NDArray[np.float64]
DAY_MS: Final = 86_400_000
GAP_MS: Final = 1_800_000
SUMS: Final = (
    "one",
    "plays",
    "finished",
    "skipped",
    "asked",
    "asked_finished",
    "seconds",
    "sessions",
    "votes",
    "gone_7",
    "gone_14",
)
"""Columns of sums a user; `asked` are ends of plays that carry a request id: songs that were recommended."""


@dataclass(frozen=True)
class Metric:
    """sum(num) / sum(den) over users; good is +1 where more is better, -1 where less is. It closes once a user."""

    num: str
    den: str
    good: int
    text: str
    least_days: float = 0.0  # a window of at least so many days after first influence
    cuped: bool = True


METRICS: Final[dict[str, Metric]] = {
    "listened_share": Metric("asked_finished", "asked", +1, "share of recommended songs listened to"),
    "session_time": Metric("seconds", "sessions", +1, "seconds of listening a session"),
    "session_length": Metric("plays", "sessions", +1, "songs a session"),
    "engagement": Metric("votes", "plays", +1, "likes and saves a song"),
    "songs": Metric("finished", "one", +1, "songs listened to, a listener"),
    "skip_rate": Metric("skipped", "plays", -1, "share of songs skipped at once"),
    "churn_7": Metric(
        "gone_7", "one", -1, "share of listeners who play nothing in the 7 days after the first", 8.0, cuped=False
    ),
    "churn_14": Metric(
        "gone_14", "one", -1, "share of listeners who play nothing in the 14 days after the first", 15.0, cuped=False
    ),
}
SNAPSHOTS: Final = {
    "daily_active": "share of assigned listeners who listen today",
    "daily_share": "share listened to, of today's songs",
}
"""Metrics of a day, for monitoring; never for an always-valid interval."""


class Log(Protocol):
    """The part of the log that this reads."""

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        """As in core.ports.EventLog."""
        ...


@dataclass(frozen=True)
class Assigned:
    """First influences of one step of one experiment, each (user, arm) once: (n,) columns, by time."""

    user: NDArray[np.int32]
    arm: NDArray[np.int8]  # place in ARMS
    first: Int64  # ms
    unit_key: NDArray[np.uint64]  # of every unit: the session or the request, for splits by those, with the row: see _unit
    unit_row: NDArray[np.int64]  # the row a unit belongs to
    drawn: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    """In splits by session or request: the arm of every unit, by time. Shares are of units: one listener has many."""
    drawn_at: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))  # ms, of each of these

    def __len__(self) -> int:
        return len(self.user)


def code(step: int, arm: str) -> float:
    """How an ASSIGNED event tells step and arm in its `value`."""
    return float(step * 16 + ARMS.index(arm))


MOST_UNITS: Final = 1 << 23
"""Sessions or requests that are looked at in a step, about a GB: beyond, a fixed half of the listeners speaks for all, then a
quarter, and so on."""
_INFLUENCE = np.dtype([("at", "<i8"), ("user", "<i4"), ("arm", "<i1"), ("key", "<u8")])


def assigned(
    log: Log, number: int, step: int, split: Split, start: int, now: int, *, most_units: int = MOST_UNITS
) -> Assigned:  # fmt: skip
    """Who was first influenced, by which arm, in a step that began at `start`; number is the experiment's.

    Of splits by session or request at most `most_units` units: whoever is left out is by a hash of the listener.
    """
    rows = _influences(log, (number, step), split, (start, now), most_units)
    if not len(rows):
        none = np.zeros(0, np.int64)
        return Assigned(none.astype(np.int32), none.astype(np.int8), none, none.astype(np.uint64), none)
    rows = rows[np.argsort(rows["at"], kind="stable")]
    arm, key = rows["arm"], rows["key"]
    pair = rows["user"].astype(np.int64) * len(ARMS) + arm
    distinct, first, inverse = np.unique(pair, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # by time of first influence
    row_of = np.empty(len(distinct), np.int64)
    row_of[order] = np.arange(len(distinct))
    chosen = first[order]
    row = row_of[inverse]
    unit = _unit(key, row)
    by_key = np.argsort(unit, kind="stable")
    units = slice(0, 0 if split == "user" else None)
    drawn, drawn_at = arm[units], rows["at"][units]
    return Assigned(rows["user"][chosen], arm[chosen], rows["at"][chosen], unit[by_key], row[by_key], drawn, drawn_at)


def _influences(
    log: Log, which: tuple[int, int], split: Split, when: tuple[int, int], most: int
) -> NDArray[np.void]:  # fmt: skip
    """The ASSIGNED events of an experiment's step, 21 bytes each, in order of the log; `which` is (number, step)."""
    parts, held, share = [np.zeros(0, _INFLUENCE)], 0, 1.0
    for events in log.scan(*when, ("at", "user", "action", "value", "position", "session", "request")):
        mine = (events["action"] == Action.ASSIGNED) & (events["position"] == which[0]) & (events["user"] >= 0)
        told = events[mine & (np.where(mine, events["value"], -1.0) // 16 == which[1])]
        part = np.zeros(len(told), _INFLUENCE)
        part["at"], part["user"], part["arm"] = told["at"], told["user"], told["value"].astype(np.int64) % 16
        part["key"] = told["request"] if split == "request" else told["session"]
        parts.append(part if share == 1.0 else part[_lot(part) < share])
        held += len(parts[-1])
        while split != "user" and held > most:  # listeners bound themselves; a listener's requests do not
            share /= 2
            parts = [part[_lot(part) < share] for part in parts]
            held = sum(len(part) for part in parts)
    return np.concatenate(parts)


def _lot(influences: NDArray[np.void]) -> Float64:
    """A number in [0, 1) for each listener, by which nothing else is decided."""
    return spread(influences["user"].astype(np.int64) + (1 << 40))


def _unit(key: NDArray[np.uint64], row: Int64) -> NDArray[np.uint64]:
    """One number of a session or request and its row: callers name sessions as they like, and many listeners have a "1"."""
    return np.asarray(key ^ (row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)), np.uint64)


@dataclass(frozen=True)
class Table:
    """Sums a row of Assigned, (n, len(SUMS)), in the window and before it."""

    who: Assigned
    inside: Float64
    before: Float64

    def samples(self, metric: str, arms: tuple[str, str], now: int, window_ms: int) -> tuple[Sample, Sample]:
        """The rows of two arms whose window has closed by now, in order of closing: old first."""
        told = METRICS[metric]
        closed = self.who.first + max(window_ms, int(told.least_days * DAY_MS)) <= now
        num, den = SUMS.index(told.num), SUMS.index(told.den)
        out = []
        for arm in arms:
            mine = closed & (self.who.arm == ARMS.index(arm))
            pre = (self.before[mine, num], self.before[mine, den]) if told.cuped else (None, None)
            out.append(Sample(self.who.user[mine].astype(np.int64), self.inside[mine, num], self.inside[mine, den], *pre))
        return out[0], out[1]


_COLUMNS: Final = ("at", "session", "request", "user", "item", "played_s", "duration_s", "value", "action")


def collect(
    log: Log, who: Assigned, split: Split, now: int, *, window_ms: int, before_ms: int, untouched: int | None = None
) -> Table:
    """Every sum of every row of `who`, read once from the log in chunks; memory is a few numbers a user.

    A user's window is [first, first + window_ms) and [first - before_ms, first). In splits by session or request, what counts
    inside is what also carries the session or request, since users are in both arms. `untouched` (ms) is until when nobody had
    met the new arm: the window before ends there at the latest, since CUPED would take the effect of an earlier step away.
    """
    n = len(who)
    inside, before = np.zeros((n, len(SUMS))), np.zeros((n, len(SUMS)))
    inside[:, 0] = before[:, 0] = 1.0
    inside[:, SUMS.index("gone_7")] = inside[:, SUMS.index("gone_14")] = 1.0
    if not n:
        return Table(who, inside, before)
    users = int(who.user.max()) + 1
    row_of = np.full((users, len(ARMS)), -1, np.int64)
    row_of[who.user, who.arm] = np.arange(n)
    last = (np.full((n, 2), -1, np.int64), np.zeros((n, 2), np.uint64))  # end of the last play, its session: inside, before
    until = who.first if untouched is None else np.minimum(who.first, untouched)
    for events in log.scan(int(until.min()) - before_ms, now, _COLUMNS):
        known = (events["user"] >= 0) & (events["user"] < users) & (events["action"] != Action.ASSIGNED)
        events = events[known]
        for arm in range(len(ARMS)):
            rows = row_of[events["user"], arm]
            mine = rows >= 0
            if mine.any():
                _add(events[mine], rows[mine], who, split, (window_ms, before_ms, until), (inside, before), last)
    return Table(who, inside, before)


def _add(
    events: Events, rows: Int64, who: Assigned, split: Split, windows: tuple[int, int, Int64],
    tables: tuple[Float64, Float64], last: tuple[Int64, NDArray[np.uint64]],
) -> None:  # fmt: skip
    window_ms, before_ms, until = windows
    since, ago = events["at"] - who.first[rows], until[rows] - events["at"]
    play = (events["action"] == Action.COMPLETED) | (events["action"] == Action.SKIPPED)
    later = play & (since >= DAY_MS)
    for name, days in (("gone_7", 8), ("gone_14", 15)):
        tables[0][rows[later & (since < days * DAY_MS)], SUMS.index(name)] = 0.0
    in_window = (since >= 0) & (since < window_ms)
    if split != "user":
        in_window &= _of_row(events, rows, who, split)
    for table, mask, side in ((tables[0], in_window, 0), (tables[1], (ago > 0) & (ago <= before_ms), 1)):
        if mask.any():
            _sum(events[mask], rows[mask], table, last, side)


def _of_row(events: Events, rows: Int64, who: Assigned, split: Split) -> Bool:
    """Whether an event carries a unit that was assigned to its row; no session is a unit too where the user stood for it."""
    unit = _unit(events["request"] if split == "request" else events["session"], rows)
    at = np.minimum(np.searchsorted(who.unit_key, unit), len(who.unit_key) - 1)
    return np.asarray((who.unit_key[at] == unit) & (who.unit_row[at] == rows), np.bool_)


def _sum(events: Events, rows: Int64, table: Float64, last: tuple[Int64, NDArray[np.uint64]], side: int) -> None:
    action = np.ascontiguousarray(events["action"])
    said = signals(action, *(np.ascontiguousarray(events[name]) for name in ("played_s", "duration_s", "value")))
    play = (action == Action.COMPLETED) | (action == Action.SKIPPED)
    asked = play & (events["request"] != 0)
    full = np.where(action == Action.COMPLETED, np.nan_to_num(events["duration_s"]), 0.0)
    heard = np.where(np.isfinite(events["played_s"]), events["played_s"], full)
    starts = _session_starts(events, rows, play, last, side)
    columns = {
        "plays": play, "finished": play & (said > 0), "skipped": play & (said < 0), "asked": asked,
        "asked_finished": asked & (said > 0), "seconds": np.where(play, np.maximum(heard, 0), 0.0),
        "votes": (action == Action.LIKED) | (action == Action.SAVED), "sessions": starts,
    }  # fmt: skip
    for name, values in columns.items():
        table[:, SUMS.index(name)] += np.bincount(rows, values, minlength=len(table))


def _session_starts(events: Events, rows: Int64, play: Bool, last: tuple[Int64, NDArray[np.uint64]], side: int) -> Float64:
    """1 where a play begins a session: another session id than the play before, or half an hour after it."""
    out = np.zeros(len(rows))
    places = np.flatnonzero(play)
    if not len(places):
        return out
    places = places[np.lexsort((events["at"][places], rows[places]))]
    row, at, session = rows[places], events["at"][places], events["session"][places]
    ended, of = last
    first = np.r_[True, row[1:] != row[:-1]]
    before_at = np.where(first, ended[row, side], np.r_[0, at[:-1]])
    before_session = np.where(first, of[row, side], np.r_[np.uint64(0), session[:-1]])
    new = (before_at < 0) | (session != before_session) | ((session == 0) & (at - before_at > GAP_MS))
    out[places] = new
    final = np.r_[row[1:] != row[:-1], True]
    ended[row[final], side], of[row[final], side] = at[final], session[final]
    return out
