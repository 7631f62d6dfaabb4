"""A small world for the night: a log in memory, a catalogue that only counts, sources that learn in a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from segue.core.actions import Action
from segue.core.types import EVENT, Arrays, Candidates, Events, Exposure, Float32, History, Items, Query, Scored, empty_events

DAY_MS = 86_400_000
T0 = 20_000 * DAY_MS
N_USERS, N_ITEMS, DAYS = 120, 60, 20


class ListLog:
    """The parts of a log that the night asks for, over an array in memory."""

    def __init__(self, events: Events, chunk: int = 1000) -> None:
        self.events = events
        self.chunk = chunk
        self.last = len(events)
        self.shown: list[Exposure] = []

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        wanted = self.events[(self.events["at"] >= at_from) & (self.events["at"] < at_to)]
        for start in range(0, len(wanted), self.chunk):
            part = np.zeros(len(wanted[start : start + self.chunk]), EVENT)
            for name in columns or EVENT.names or ():
                part[name] = wanted[start : start + self.chunk][name]
            yield part

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        return (one for one in self.shown if at_from <= one.at < at_to)

    def read(self, after: int, limit: int) -> Events:
        return self.events[max(after, 0) : max(after, 0) + limit]


class Counts:
    """The parts of a catalogue that the night asks for."""

    def __init__(self, n_users: int = N_USERS, n_items: int = N_ITEMS) -> None:
        self.users = range(n_users)
        self.facts = Items.bare(n_items)


def walks(seed: int = 0, days: int = DAYS) -> Events:
    """Everybody plays 8 songs a day, each song mostly followed by the next one of a ring: a world for `Ring`."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(N_USERS):
        for day in range(days):
            item = int(rng.integers(N_ITEMS))
            for place in range(8):
                at = T0 + day * DAY_MS + 36_000_000 + place * 200_000
                skipped = rng.random() < 0.1
                rows.append((at, user, item, Action.SKIPPED if skipped else Action.COMPLETED, user * 1000 + day + 1))
                item = (item + 1) % N_ITEMS if rng.random() < 0.8 else int(rng.integers(N_ITEMS))
    rows.sort()
    events = empty_events(len(rows))
    for name, column in zip(("at", "user", "item", "action", "session"), zip(*rows, strict=True), strict=True):
        events[name] = column
    events["seq"] = np.arange(1, len(rows) + 1)
    return events


class Ring:
    """Offers what followed the last song most often: knows the world above. `worth` < 0 turns it upside down."""

    name: ClassVar[str] = "ring"

    def __init__(self, *, worth: float = 1.0) -> None:
        self.worth = worth

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        counts = np.zeros((history.n_items, history.n_items), np.float32)
        inside = np.flatnonzero(np.diff(history.session) == 0)
        np.add.at(counts, (history.item[inside], history.item[inside + 1]), 1)
        self.counts_ = counts
        self.users_ = np.bincount(history.user[history.signal > 0], minlength=history.n_users).astype(np.int32)
        return self

    def arrays(self) -> Arrays:
        return {"counts": self.counts_, "users": self.users_}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self.counts_ = arrays["counts"]
        self.users_ = arrays["users"]
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        if len(query.recent) == 0:
            return Scored.none()
        scores = self.worth * np.asarray(self.counts_[query.recent.items[0]])
        order = np.argsort(-scores, kind="stable")[:limit].astype(np.int32)
        return Scored(order, scores[order].astype(np.float32))


class Loved:
    """Offers what most liked, in the order of their number."""

    name: ClassVar[str] = "loved"

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        self.counts_ = np.bincount(history.item[history.signal > 0], minlength=history.n_items).astype(np.float32)
        return self

    def arrays(self) -> Arrays:
        return {"counts": self.counts_}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self.counts_ = arrays["counts"]
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        order = np.argsort(-np.asarray(self.counts_), kind="stable")[:limit].astype(np.int32)
        return Scored(order, np.asarray(self.counts_)[order])


class First:
    """A ranker that trusts the first source that says anything."""

    name: ClassVar[str] = "first"

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        silent = np.isnan(candidates.evidence)
        scores = np.zeros(len(candidates), np.float32)
        for column in range(candidates.evidence.shape[1] - 1, -1, -1):
            said = ~silent[:, column]
            scores[said] = 1e6 * (candidates.evidence.shape[1] - column) + candidates.evidence[said, column]
        return scores
