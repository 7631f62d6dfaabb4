"""A city that lives on: listeners with moods, habits, fatigue and patience who come back or leave, and songs that arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import MISSING, Bool, Float32, Int32, Int64
from segue.simulator.luck import normal, uniform
from segue.simulator.playing import Game, Policy, play

DAY_MS = 86_400_000
START_MS = 1_767_571_200_000
"""2026-01-05, a Monday: day 0."""
INTERESTS, DIMENSIONS, REMEMBERED = 4, 24, 64
_COMES, _MOOD, _TURN, _HOUR, _PATIENCE, _ENOUGH, _LEAVES, _DRIFT = range(31, 39)
"""Purposes of luck."""


@dataclass(frozen=True)
class Ways:
    """How the city lives; shares and chances unless told."""

    arriving: float = 0.01  # songs that come in every week, of those there at the start
    newcomers: float = 0.003  # listeners who join every day, of those there at the start
    drift: float = 0.08  # how far an interest moves a week, in lengths of itself
    turning: float = 0.06  # chance that the mood changes between two songs
    songs_wanted: float = 18.0  # mean length of a session that annoys nobody
    artist_fatigue: float = 0.5  # logits for each earlier song of the artist in the session
    repeat_fatigue: float = 2.5  # logits for a song heard this week, halved every week
    leaving: float = 0.01  # chance to leave for good after a day like any other


class City:
    """Listeners and songs from a seed; the days change both. One city a policy: what is played changes who comes back.

    A listener has up to INTERESTS interests (vectors that drift every week), hours and weekdays of their own, a bias, a
    patience, and a warmth: a running mean of how well the days went, which decides whether they come tomorrow and whether they
    leave for good. Newcomers join every day; songs arrive on Mondays. All luck is by counters: two cities of one seed differ
    only by what was played in them.
    """

    def __init__(
        self, *, songs: int = 20_000, artists: int = 3000, listeners: int = 5000, seed: int = 0, days: int = 90,
        ways: Ways | None = None,
    ) -> None:  # fmt: skip
        """Sizes at the start; `days` is how long it will live, since who will join and arrive is made at once."""
        if not (songs >= artists >= 1 and listeners >= 1 and days >= 1):
            raise BadInput(
                f"a city needs songs >= artists >= 1, listeners and days; found {songs}, {artists}, {listeners}, {days}"
            )
        self.seed, self.ways, self.days = seed, ways or Ways(), days
        rng = np.random.default_rng([seed, 3])
        weeks = -(-days // 7)
        arriving, joining = round(songs * self.ways.arriving), round(listeners * self.ways.newcomers)
        self.released = np.concatenate([np.zeros(songs), np.repeat(7 * np.arange(1, weeks + 1), arriving)]).astype(np.int32)
        self.joined = np.concatenate([np.zeros(listeners), np.repeat(np.arange(1, days), joining)]).astype(np.int32)
        self._make_songs(rng, artists)
        self._make_listeners(rng)
        n = len(self.joined)
        self.left = np.full(n, np.iinfo(np.int32).max, np.int32)
        self.warmth = np.full(n, 0.5)
        self._heard = np.full((n, REMEMBERED), MISSING, np.int32)
        self._heard_day = np.zeros((n, REMEMBERED), np.int32)
        self._places = np.zeros(n, np.int64)
        self._week = 0

    def _make_songs(self, rng: np.random.Generator, artists: int) -> None:
        n, genres = len(self.released), 16
        fame = 1.0 / np.arange(1, artists + 1) ** 0.7
        self.artist = rng.choice(artists, n, p=fame / fame.sum()).astype(np.int32)
        genre = rng.integers(0, genres, artists)
        of_genre, of_artist, own = (rng.standard_normal((rows, DIMENSIONS)) for rows in (genres, artists, n))
        vectors = 0.7 * of_genre[genre][self.artist] + 0.55 * of_artist[self.artist] + 0.45 * own
        self.vectors: Float32 = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self.appeal = rng.normal(0.0, 0.5, n)

    def _make_listeners(self, rng: np.random.Generator) -> None:
        n = len(self.joined)
        early = np.flatnonzero(self.released == 0)
        self.interests = self.vectors[rng.choice(early, (n, INTERESTS))].astype(np.float64)
        leaning = rng.gamma(1.5, size=(n, INTERESTS)) * (np.arange(INTERESTS) < rng.integers(1, INTERESTS + 1, n)[:, None])
        self.leaning = np.cumsum(leaning / leaning.sum(axis=1, keepdims=True), axis=1)
        self._bias, self._patience = rng.normal(0.35, 0.12, n), rng.integers(3, 9, n)
        self._weekday = np.clip(rng.normal(0.55, 0.2, (n, 7)), 0.02, 0.98)
        self._hour = rng.integers(6, 23, n)

    @property
    def n_items(self) -> int:
        """Songs, those that are still to come included: they are heard with share 0 until they arrive."""
        return len(self.released)

    @property
    def n_users(self) -> int:
        """Listeners, those that are still to join included."""
        return len(self.joined)

    def open(self, day: int) -> CitySessions:
        """Who comes on a day, one session each."""
        while self._week < day // 7:
            self._week += 1
            self._move_on()
        here = np.flatnonzero((self.joined <= day) & (day < self.left))
        chance = self._weekday[here, day % 7] * (0.4 + 1.2 * self.warmth[here])
        users = here[uniform(self.seed, _COMES, here, day) < chance].astype(np.int32)
        return CitySessions(self, users, day)

    def _move_on(self) -> None:
        """A week passes: every interest takes a step of its own and keeps its length."""
        n, ways = self.n_users, self.ways
        cells = np.arange(n * INTERESTS * DIMENSIONS).reshape(n, INTERESTS, DIMENSIONS)
        moved = self.interests + ways.drift / np.sqrt(DIMENSIONS) * normal(self.seed, _DRIFT, cells, self._week)
        self.interests = moved / np.linalg.norm(moved, axis=2, keepdims=True)

    def close(self, sessions: CitySessions, game: Game) -> None:
        """The day is over: who enjoyed it comes sooner again, who did not may leave for good."""
        users, day = sessions.user, sessions.day
        joy = game.time / np.maximum(game.length, 1.0)
        self.warmth[users] += 0.3 * (joy - self.warmth[users])
        hazard = self.ways.leaving * np.exp(3.0 * (0.5 - self.warmth[users]))
        gone = uniform(self.seed, _LEAVES, users, day) < hazard
        self.left[users[gone]] = day + 1
        plays = game.plays
        for step in range(int(plays.position.max(initial=-1)) + 1):  # rows of one step are of different listeners
            now = plays.position == step
            who, slot = plays.user[now], self._places[plays.user[now]] % REMEMBERED
            self._heard[who, slot], self._heard_day[who, slot] = plays.item[now], day
            self._places[who] += 1

    def weary(self, users: Int32, items: Int32, day: int) -> NDArray[np.float64]:
        """Logits that songs lose because their listeners heard them lately, (m,)."""
        age = day - self._heard_day[users]
        return np.asarray(self.ways.repeat_fatigue * ((self._heard[users] == items[:, None]) * np.exp2(-age / 7.0)).sum(axis=1))


class CitySessions:
    """The sessions of a day; see playing.Sessions. The policy begins: nobody brings a song."""

    def __init__(self, city: City, users: Int32, day: int) -> None:
        self.city, self.day, self.user = city, day, users
        self.number: Int64 = np.full(len(users), day, np.int64)
        hour = city._hour[users] + uniform(city.seed, _HOUR, users, day)
        self.at: Int64 = START_MS + day * DAY_MS + (hour * 3_600_000).astype(np.int64)
        self.opening: Int32 = np.full(len(users), MISSING, np.int32)
        self._mood = self._drawn(np.arange(len(users)), 0)
        self._budget = city._patience[users].astype(np.int64)
        self._items: list[tuple[NDArray[np.intp], Int32]] = []

    def _drawn(self, rows: NDArray[np.intp], step: int) -> NDArray[np.int64]:
        users = self.user[rows]
        luck = uniform(self.city.seed, _MOOD, users, self.day, step)
        return np.asarray((luck[:, None] >= self.city.leaning[users][:, :-1]).sum(axis=1), np.int64)

    def hear(self, rows: NDArray[np.intp], items: Int32, step: int) -> tuple[Float32, Bool]:
        """Share = sigmoid of fit to the mood, appeal and fatigue; a bad song eats patience, and enough is enough."""
        city, users = self.city, self.user[rows]
        turned = uniform(city.seed, _TURN, users, self.day, step) < city.ways.turning
        self._mood[rows[turned]] = self._drawn(rows[turned], step + 1)
        fit = np.einsum("md,md->m", city.vectors[items], city.interests[users, self._mood[rows]])
        times, same = self._before(rows, items)
        logits = 9.0 * (fit - city._bias[users]) + city.appeal[items] - city.ways.artist_fatigue * times
        share = 1.0 / (1.0 + np.exp(-(logits - city.weary(users, items, self.day))))
        share[same | (city.released[items] > self.day)] = 0.0
        self._items.append((rows, items))
        self._budget[rows] -= uniform(city.seed, _PATIENCE, users, self.day, step) < (1.0 - share) ** 2
        enough = uniform(city.seed, _ENOUGH, users, self.day, step) < 1.0 / city.ways.songs_wanted
        return share.astype(np.float32), (self._budget[rows] > 0) & ~enough

    def _before(self, rows: NDArray[np.intp], items: Int32) -> tuple[NDArray[np.float64], Bool]:
        """Earlier songs of the artist in each session, and whether the song itself was one."""
        times, same = np.zeros(len(self.user)), np.zeros(len(self.user), np.bool_)
        now = np.full(len(self.user), MISSING, np.int32)
        now[rows] = items
        for earlier, heard in self._items:
            asked = now[earlier]
            on = asked != MISSING
            times[earlier] += on & (self.city.artist[heard] == self.city.artist[asked])
            same[earlier] |= on & (heard == asked)
        return times[rows], same[rows]


@dataclass(frozen=True)
class Day:
    """What became of one day."""

    day: int
    listeners: int  # who came
    members: int  # who has joined and not left
    time: float  # mean session time
    length: float


def live(
    city: City, policy: Policy, *, slate: int = 1, progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[list[Day], list[Game]]:
    """Let a city live all its days under one policy."""
    days, games = [], []
    for day in range(city.days):
        sessions = city.open(day)
        game = play(sessions, policy, slate=slate)
        city.close(sessions, game)
        members = int(((city.joined <= day) & (city.left > day + 1)).sum())
        mean = (float(game.time.mean()), float(game.length.mean())) if len(game.user) else (0.0, 0.0)
        days.append(Day(day, len(game.user), members, *mean))
        games.append(game)
        progress(day + 1, city.days)
    return days, games


__all__ = ["City", "CitySessions", "Day", "Ways", "live"]
