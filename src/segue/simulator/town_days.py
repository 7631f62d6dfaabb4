"""The town after its history: days on which listeners hear what a policy plays, and come again when they went well."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import MISSING, Bool, Events, Float32, Int32, Int64
from segue.simulator.listeners import FORGET_MS, Traits, appetite, pleasure, share_heard
from segue.simulator.luck import uniform
from segue.simulator.playing import Game
from segue.simulator.town import Town

REMEMBERED = 192
"""Plays a listener remembers: what was heard and not forgotten is known, and tires for some days."""
_COMES, _HOUR, _MINUTE, _WANT, _LENGTH, _FIRST, _SECOND = range(71, 78)
"""Purposes of luck."""


class TownDays:
    """Everybody in town, day by day from the end of the history on; one town a policy, since what is played changes who comes.

    At most one session a day and listener: chance 1 - exp(-daily * (0.4 + 1.2 warmth)), warmth being a running mean of the
    shares heard, 0.5 at first. What is wanted is one of the listener's interests, by its leaning, for the whole session. A song
    is heard with the probability of `listeners.pleasure`; after too many skips in a row, or when it is enough, it is over.
    All luck is by counters (luck.py): the same songs to the same listeners meet the same answers.
    """

    def __init__(self, town: Town) -> None:
        self.town, self.seed = town, town.seed
        self.traits: Traits = town.people.traits
        n = len(town.users)
        self.warmth = np.full(n, 0.5)
        self._heard = np.full((n, REMEMBERED), MISSING, np.int32)
        self._heard_at = np.zeros((n, REMEMBERED), np.int64)
        self._places = np.zeros(n, np.int64)
        self._favourite = np.sort(self.traits.favourites.reshape(n, -1), axis=1)

    @property
    def n_users(self) -> int:
        """Listeners of the town."""
        return len(self.warmth)

    @property
    def n_items(self) -> int:
        """Songs of the town."""
        return len(self.town.songs)

    def remember(self, history: Events) -> None:
        """Take in what was heard before: rows in order of time, user and item being places in Town.users and Town.items."""
        plays = history[history["played_s"] >= 0]
        self._hear(plays["user"].astype(np.int32), plays["item"].astype(np.int32), plays["at"].astype(np.int64))

    def _hear(self, users: Int32, items: Int32, at: Int64) -> None:
        _written(self._heard, self._heard_at, self._places, users, items, at)

    def open(self, day: int) -> TownSessions:
        """Who comes on a day, counted from the end of the history, in order of listeners."""
        rate = self.town.people.daily * (0.4 + 1.2 * self.warmth)
        users = np.flatnonzero(uniform(self.seed, _COMES, np.arange(self.n_users), day) < 1.0 - np.exp(-rate)).astype(np.int32)
        return TownSessions(self, users, day)

    def close(self, sessions: TownSessions, game: Game) -> None:
        """The day is over: what was heard is remembered, and how it went decides how soon somebody comes again."""
        users = sessions.user
        joy = game.time / np.maximum(game.length, 1.0)
        self.warmth[users] += 0.25 * (joy - self.warmth[users])
        self._hear(game.plays.user, game.plays.item, game.plays.at)


class TownSessions:
    """The sessions of a day; see playing.Sessions. The policy begins: nobody brings a song."""

    def __init__(self, days: TownDays, users: Int32, day: int) -> None:
        self._days, self.user = days, users
        seed, n, town = days.seed, len(users), days.town
        self.number: Int64 = np.full(n, day, np.int64)
        date = town.until_ms // DAY_MS + day
        weekend = int((date + 3) % 7 >= 5)  # 1970-01-01 was a Thursday
        hours = np.cumsum(town.people.hours[users, weekend], axis=1, dtype=np.float64)
        hour = (hours <= uniform(seed, _HOUR, users, day)[:, None] * hours[:, -1:]).sum(axis=1)
        minute = (uniform(seed, _MINUTE, users, day) * HOUR_MS).astype(np.int64)
        self.at: Int64 = date * DAY_MS + np.minimum(hour, 23) * HOUR_MS + minute
        self.opening: Int32 = np.full(n, MISSING, np.int32)
        leaning = np.cumsum(days.traits.leaning[users], axis=1, dtype=np.float64)
        self._want = (leaning <= uniform(seed, _WANT, users, day)[:, None] * leaning[:, -1:]).sum(axis=1).astype(np.int32)
        geometric = np.ceil(np.log1p(-uniform(seed, _LENGTH, users, day)) / np.log1p(-1 / 8.5))
        self._length = np.minimum(2 + np.maximum(geometric, 1.0), 60).astype(np.int32)
        self._skips = np.zeros(n, np.int32)
        self._played = np.full((n, 60), MISSING, np.int32)

    def hear(self, rows: NDArray[np.intp], items: Int32, step: int) -> tuple[Float32, Bool]:
        """Heard to the end or skipped early, by luck; and whether the listener goes on."""
        days, users = self._days, self.user[rows]
        dice = np.column_stack([uniform(days.seed, purpose, users, self.number[rows], step) for purpose in (_FIRST, _SECOND)])
        share = np.empty(len(rows), np.float32)
        songs, memory = days.town.songs, (days._heard, days._heard_at, days._favourite)
        _shares(days.traits, (songs.vectors, songs.artist, songs.appeal), memory, (users, items, self._want[rows]),
                self._played[rows], self.at[rows], dice, share)  # fmt: skip
        if step < self._played.shape[1]:
            self._played[rows, step] = items
        self._skips[rows] = np.where(share > 0.5, 0, self._skips[rows] + 1)
        patient = self._skips[rows] <= 2 + 6 * days.traits.patience[users]
        return share, patient & (step + 1 < self._length[rows])


@njit(cache=True, nogil=True)
def _shares(
    traits: Traits, songs: tuple[Float32, Int32, Float32], memory: tuple[Int32, Int64, Int32],
    asked: tuple[Int32, Int32, Int32], played: Int32, at: Int64, dice: NDArray[np.float64], out: Float32,
) -> None:  # fmt: skip
    """The share each listener hears of one song: songs are (vectors, artist, appeal), asked are (user, item, want)."""
    vectors, artist, appeal = songs
    heard, heard_at, favourite = memory
    for i in range(len(out)):
        u, item, want = asked[0][i], asked[1][i], asked[2][i]
        place = np.searchsorted(favourite[u], item)
        known = place < favourite.shape[1] and favourite[u, place] == item
        weary, last, of_artist = 0.0, 0, 0
        for k in range(heard.shape[1]):
            if heard[u, k] == item:
                known = True
                weary += np.exp(-max(at[i] - heard_at[u, k], 0) / FORGET_MS)
        for k in range(played.shape[1]):
            if played[i, k] < 0:
                break
            last = k + 1
            if played[i, k] == item:
                known = True
                weary += 1.0
        for k in range(max(last - 4, 0), last):
            of_artist += artist[played[i, k]] == artist[item]
        fit = appetite(vectors[item], traits.interests[u], traits.leaning[u], want)
        tired = traits.tiring[u] * weary + 0.5 * of_artist
        liked = pleasure(fit, appeal[item], known, traits.curiosity[u], tired)
        out[i] = share_heard(liked, traits.patience[u], dice[i, 0], dice[i, 1])


@njit(cache=True, nogil=True)
def _written(heard: Int32, heard_at: Int64, places: Int64, users: Int32, items: Int32, at: Int64) -> None:
    """Plays into rings, the oldest out."""
    for i in range(len(users)):
        u = users[i]
        slot = places[u] % heard.shape[1]
        heard[u, slot], heard_at[u, slot] = items[i], at[i]
        places[u] += 1
