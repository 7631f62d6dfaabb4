"""What sessions and listeners say of an item beside the sources: does it come again, and did its listener play it before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._blend import Pairs
from segue.benchmarks._listening import DAY_S, Events
from segue.core.types import Float32, History, Int32, Int64

HALF_LIVES = (7.0, 30.0, 120.0, 1000.0)
"""Days over which what a listener played is forgotten, each a column."""
TRENDS = (30.0, 365.0, 1e5)
"""Days over which what everyone played is forgotten, each a column."""
PRIOR = 50.0
"""Plays that a listener's shares of repeats are shrunk with, towards those of everyone."""


@dataclass(frozen=True)
class Ages:
    """What was played of something: plays decayed over each half-life (half-lives, n), days since the last (n,)."""

    plays: Float32
    days: Float32


class Habits:
    """The plays of each listener by item, everyone's by item, and how often sessions repeat what they had.

    `fit` on a History whose rows are in order of a listener's time; `signs` gives columns for pairs of event and item.
    """

    def fit(self, past: History) -> Self:
        """Count; O(rows log rows) time, 40 bytes a distinct (listener, item)."""
        self.n_items_ = past.n_items
        age = (past.now / 1000.0 - past.at) / DAY_S
        keys, row = np.unique(past.user.astype(np.int64) * past.n_items + past.item, return_inverse=True)
        self.keys_: Int64 = keys
        fading = [np.exp2(-age / half_life) for half_life in HALF_LIVES]
        newest = np.full(len(keys), np.inf)
        np.minimum.at(newest, row, age)
        plays = np.array([np.bincount(row, weights, len(keys)) for weights in fading], np.float32)
        self.own_ = Ages(plays, newest.astype(np.float32))
        self.total_ = np.array([np.bincount(past.user, weights, past.n_users) for weights in fading], np.float32)
        trend = [np.bincount(past.item, np.exp2(-age / half_life), past.n_items) for half_life in TRENDS]
        self.trend_ = np.log1p(np.array(trend, np.float32))
        again, at_once = _repeats(past)
        self.again_ = _log_odds(again, past.user, past.n_users)
        self.at_once_ = _log_odds(at_once, past.user, past.n_users)
        return self

    def signs(self, events: Events, pairs: Pairs) -> Float32:
        """(p, F) columns: repeats of the session, plays of the listener, plays of everyone."""
        return np.concatenate([self._repeating(events, pairs), self._own(events, pairs), self.trend_[:, pairs.item].T], axis=1)

    def _own(self, events: Events, pairs: Pairs) -> Float32:
        """Plays of the listener by half-life, alone and for 1,000 of all their plays; days since the last."""
        user = events.users[pairs.query].astype(np.int64)
        wanted = user * self.n_items_ + pairs.item
        place = np.minimum(np.searchsorted(self.keys_, wanted), len(self.keys_) - 1)
        known = self.keys_[place] == wanted
        plays = np.where(known, self.own_.plays[:, place], 0)
        days = np.where(known, self.own_.days[place], 0)
        share = 1000 * plays / (self.total_[:, user] + 10)
        dated = np.stack([known, np.log1p(days), known & (days < 8)])
        return np.asarray(np.concatenate([np.log1p(plays), np.log1p(share), dated]).T, np.float32)

    def _repeating(self, events: Events, pairs: Pairs) -> Float32:
        """An item that the session had: how long ago and how often, by what the listener and the session repeat."""
        ago, times, state = _session_state(events, pairs)
        length, repeats, just_repeated, run = state[:, pairs.query]
        had, newest = ago > 0, ago == 1
        user = events.users[pairs.query]
        session = np.log((repeats + 1) / (length + 10))
        again, at_once = self.again_[user], self.at_once_[user]
        columns = [had, newest, ago == 2, (ago > 2) & (ago < 6), (ago > 5) & (ago < 12), had * np.log1p(ago)]
        columns += [had * again, newest * at_once, had * session, newest * session]
        columns += [had * just_repeated, newest * just_repeated, had * np.log1p(times), newest * np.log1p(times)]
        columns += [had * np.log1p(length), newest * np.log1p(run)]
        return np.stack(columns, axis=1).astype(np.float32)


def _repeats(past: History) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each row whether its session had the item before, and whether just before."""
    order = np.lexsort((np.arange(len(past)), past.item, past.session))
    same = (np.diff(past.session[order]) == 0) & (np.diff(past.item[order]) == 0)
    again = np.zeros(len(past), np.bool_)
    again[order[1:][same]] = True
    at_once = np.zeros(len(past), np.bool_)
    at_once[1:] = (np.diff(past.session) == 0) & (np.diff(past.item) == 0)
    return again, at_once


def _log_odds(happened: NDArray[np.bool_], user: Int32, n_users: int) -> Float32:
    """Of the share of each listener's plays, shrunk by PRIOR plays of everyone, (n_users,)."""
    everyone = (happened.sum() + 0.5) / (len(happened) + 1.0)
    share = (np.bincount(user, happened, n_users) + PRIOR * everyone) / (np.bincount(user, minlength=n_users) + PRIOR)
    return np.asarray(np.log(share / (1 - share)), np.float32)


def _session_state(events: Events, pairs: Pairs) -> tuple[Float32, Float32, Float32]:
    """Per pair: places since the session had the item (0 never, 1 the last) and how often it had it; per event, (4, n):
    places so far, repeats among them, whether the last was one, and how many of the last are the same item."""
    ago, times = np.zeros(len(pairs.item), np.float32), np.zeros(len(pairs.item), np.float32)
    state = np.zeros((4, len(events)), np.float32)
    for event, (first, row) in enumerate(zip(events.first, events.row, strict=True)):
        so_far = events.plays.item[first:row][::-1]
        items, latest, counts = np.unique(so_far, return_index=True, return_counts=True)
        other = np.flatnonzero(so_far != so_far[0])
        run = other[0] if len(other) else len(so_far)
        state[:, event] = len(so_far), len(so_far) - len(items), so_far[0] in so_far[1:], run
        pair = slice(int(pairs.ptr[event]), int(pairs.ptr[event + 1]))
        place = np.minimum(np.searchsorted(items, pairs.item[pair]), len(items) - 1)
        had = items[place] == pairs.item[pair]
        ago[pair], times[pair] = np.where(had, latest[place] + 1, 0), np.where(had, counts[place], 0)
    return ago, times, state
