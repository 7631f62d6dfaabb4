"""A generated town: songs, listeners and days of listening, the same to the bit for the same seed; it knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.actions import Action
from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.errors import BadInput
from segue.core.records import ItemRecord, UserRecord
from segue.core.types import EVENT, Events, Float32, Int8, Int32, Int64, UInt64, empty_events
from segue.simulator import listeners as people
from segue.simulator import songs as music
from segue.simulator.listeners import FAVOURITES, FORGET_MS, INTERESTS, Listener, Traits, appetite, pleasure, share_heard
from segue.simulator.names import GENRES, REGIONS

UNTIL_MS = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)
"""Where a history ends unless told: a Monday, 00:00 UTC."""
SESSION_GAP_MS = 40 * 60_000
"""A listener's sessions are at least this far apart, so that they stay apart for whoever splits them by gaps."""
CHUNK = 1 << 16
DICE = 8
"""Uniform numbers that one play may use."""


class World(NamedTuple):
    """The songs as the kernel needs them; cumulative weights end at 1."""

    vectors: Float32
    artist: Int32
    artist_ptr: Int64
    appeal: Float32
    duration_s: Float32
    released: Int64
    by_release: Int32  # songs, oldest first
    release_times: Int64  # released[by_release]
    by_genre: Int32  # songs grouped by genre
    genre_ptr: Int64
    genre_chart: NDArray[np.float64]  # cumulative fame within the genre, in order of by_genre
    region_chart: NDArray[np.float64]  # (regions, n) cumulative fame as heard in the region


class Visits(NamedTuple):
    """The sessions that may happen, grouped by listener and in order of time."""

    ptr: Int64  # (listeners + 1,)
    at: Int64  # ms
    want: Int32  # the interest of the session
    length: Int32  # songs, if nothing annoys


class Plays(NamedTuple):
    """What happened, one row a play, in order of listener and time."""

    visit: Int32
    place: Int32  # place in the session, from 0
    song: Int32
    at: Int64  # ms, when it ended
    share: Float32
    vote: Int8  # 0, LIKED or SAVED


class Town:
    """Songs and listeners made up from a seed, and their history until a moment.

    seed: a non-negative integer; same arguments, same bytes. songs >= artists >= genres; genres up to 12; regions up to 12.
    `items[i]` is town song number i, `users[u]` listener number u. BadInput for sizes that cannot be.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        songs: int = 3000,
        artists: int = 600,
        genres: int = 12,
        listeners: int = 2000,
        regions: int = 6,
        days: int = 60,
        until_ms: int = UNTIL_MS,
    ) -> None:
        _check_sizes(songs, artists, genres, listeners, regions, days)
        self.seed, self.days, self.until_ms = seed, days, until_ms
        self.songs = music.build(self._rng("songs"), songs=songs, artists=artists, genres=genres, until_ms=until_ms)
        self.people = people.build(self._rng("listeners"), self.songs, listeners=listeners, regions=regions)
        self.regions: tuple[str, ...] = REGIONS[:regions]

    @property
    def items(self) -> list[ItemRecord]:
        """What a catalogue would know of the songs."""
        return self.songs.records

    @property
    def users(self) -> list[UserRecord]:
        """What a catalogue would know of the listeners."""
        return self.people.records

    def listener(self, user_index: int, rng: np.random.Generator) -> Listener:
        """Listener number user_index at the start of a session, in a mood drawn from rng."""
        return Listener(self.songs, self.people.traits, user_index, rng)

    def events(self, item_ids: Int32, user_ids: Int32, region_ids: Int32) -> Iterator[Events]:
        """The history as events in order of time, in chunks of at most CHUNK, ending before until_ms.

        item_ids, user_ids, region_ids: the caller's dense ids of `items`, `users` and `regions`, place by place. Plays are
        COMPLETED or SKIPPED at the moment they end, with played_s and duration_s; LIKED and SAVED come during the play.
        Keys, bodies and session ids are hashes of the seed and the place in the history: never 0, no two keys alike.
        """
        for have, want, what in (
            (item_ids, self.items, "items"), (user_ids, self.users, "users"), (region_ids, self.regions, "regions"),
        ):  # fmt: skip
            if len(have) != len(want):
                raise BadInput(f"expected {len(want)} ids, one for each of the town's {what}; found {len(have)}", what)
        events = self._history(item_ids, user_ids, region_ids)
        for start in range(0, len(events), CHUNK):
            yield events[start : start + CHUNK]

    def _rng(self, part: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *part.encode()])

    def _history(self, item_ids: Int32, user_ids: Int32, region_ids: Int32) -> Events:
        visits = self._visits(self._rng("visits"))
        plays = self._live(visits, self._rng("plays"))
        user = np.repeat(np.arange(len(self.users), dtype=np.int32), np.diff(visits.ptr))[plays.visit]
        duration = self.songs.duration_s[plays.song]
        out = empty_events(len(plays.song))
        out["at"] = plays.at
        out["session"] = _mix(self.seed, 1, plays.visit.astype(np.uint64))
        out["user"], out["item"] = user_ids[user], item_ids[plays.song]
        out["region"] = region_ids[self.people.traits.region[user]]
        out["position"] = plays.place
        out["played_s"], out["duration_s"] = np.round(plays.share * duration, 1), duration
        out["action"] = np.where(plays.share >= 0.995, Action.COMPLETED, Action.SKIPPED)
        voted = np.flatnonzero(plays.vote)
        votes = out[voted]
        votes["action"] = plays.vote[voted]
        votes["at"] -= (0.3 * 1000 * votes["played_s"]).astype(np.int64)
        votes["played_s"] = votes["duration_s"] = np.nan
        return self._stamp(np.concatenate([out, votes]))

    def _stamp(self, events: Events) -> Events:
        """In order of time (ties: user, then as they happened), with keys and bodies."""
        events = events[np.lexsort((events["user"], events["at"]))]
        events = events[events["at"] < self.until_ms]
        place = np.arange(len(events), dtype=np.uint64)
        salt = self.until_ms % (1 << 40)
        events["key_hi"] = _mix(self.seed ^ salt, 2, place)
        events["key_lo"] = _mix(self.seed ^ salt, 3, place)
        body = np.zeros(len(events), np.uint64)
        for name in EVENT.names or ():
            if name not in ("seq", "key_hi", "key_lo", "body"):
                column = np.ascontiguousarray(events[name])
                body = _mix(0, 4, body ^ column.view(f"u{column.itemsize}").astype(np.uint64))
        events["body"] = body
        return events

    def _visits(self, rng: np.random.Generator) -> Visits:
        """When everybody listens: a Poisson number of sessions a day, at hours of their own, in the mood of the hour."""
        n, traits = len(self.users), self.people.traits
        first_day = self.until_ms // DAY_MS - self.days + 1
        counts = rng.poisson(np.repeat(self.people.daily[:, None], self.days, axis=1))
        user, day = np.divmod(np.repeat(np.arange(n * self.days), counts.ravel()), self.days)
        weekend = ((first_day + day + 3) % 7 >= 5).astype(np.int64)  # 1970-01-01 was a Thursday
        hour = _draw(self.people.hours[user, weekend], rng)
        at = (first_day + day) * DAY_MS + hour * HOUR_MS + rng.integers(0, HOUR_MS, len(user))
        moods = self._rng("moods").normal(0, 0.8, (len(GENRES), 4))  # what suits the night, morning, day and evening
        mood = np.exp(moods[traits.genre[user], (hour // 6)[:, None]]) * traits.leaning[user]
        want = _draw(mood / mood.sum(axis=1, keepdims=True), rng).astype(np.int32)
        length = np.minimum(2 + rng.geometric(1 / 8.5, len(user)), 60).astype(np.int32)
        order = np.lexsort((at, user))
        ptr = np.searchsorted(user, np.arange(n + 1)).astype(np.int64)
        return Visits(ptr, at[order], want[order], length[order])

    def _live(self, visits: Visits, rng: np.random.Generator) -> Plays:
        most = int(visits.length.sum())
        dice = rng.random((most, DICE), dtype=np.float32)
        plays = Plays(
            np.zeros(most, np.int32), np.zeros(most, np.int32), np.zeros(most, np.int32), np.zeros(most, np.int64),
            np.zeros(most, np.float32), np.zeros(most, np.int8),
        )  # fmt: skip
        traits = self.people.traits
        n = live(self._world(), traits._replace(favourites=traits.favourites.copy()), visits, dice, plays)
        return Plays(plays.visit[:n], plays.place[:n], plays.song[:n], plays.at[:n], plays.share[:n], plays.vote[:n])

    def _world(self) -> World:
        songs = self.songs
        by_release = np.argsort(songs.released, kind="stable").astype(np.int32)
        by_genre = np.argsort(songs.genre, kind="stable").astype(np.int32)
        genres = len(songs.genre_vectors)
        ptr = np.searchsorted(songs.genre[by_genre], np.arange(genres + 1)).astype(np.int64)
        chart = songs.fame[by_genre].copy()
        for g in range(genres):
            part = chart[ptr[g] : ptr[g + 1]]
            part[:] = np.cumsum(part) / max(part.sum(), 1e-30)
        local = np.exp(self._rng("regions").normal(0, 1.0, (len(self.regions), genres)))  # every region has its sound
        weight = songs.fame * local[:, songs.genre]
        region_chart = np.ascontiguousarray(np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True))
        return World(
            songs.vectors, songs.artist, songs.artist_ptr, songs.appeal, songs.duration_s, songs.released, by_release,
            songs.released[by_release], by_genre, ptr, chart, region_chart,
        )  # fmt: skip


def _check_sizes(songs: int, artists: int, genres: int, listeners: int, regions: int, days: int) -> None:
    if not 1 <= genres <= len(GENRES):
        raise BadInput(f"expected 1 to {len(GENRES)} genres, found {genres}", "genres")
    if not 1 <= regions <= len(REGIONS):
        raise BadInput(f"expected 1 to {len(REGIONS)} regions, found {regions}", "regions")
    if not songs >= artists >= genres:
        raise BadInput(f"expected songs >= artists >= genres, found {songs}, {artists}, {genres}", "songs")
    if listeners < 1 or days < 1:
        raise BadInput(f"expected at least one listener and one day, found {listeners} and {days}", "listeners")


def _draw(shares: NDArray[np.floating], rng: np.random.Generator) -> Int64:
    """One place a row, by the row's shares."""
    cumulative = np.cumsum(shares, axis=1, dtype=np.float64)
    dice = rng.random((len(shares), 1)) * cumulative[:, -1:]
    return np.asarray((cumulative <= dice).sum(axis=1), np.int64)


def _mix(seed: int, stream: int, numbers: UInt64) -> UInt64:
    """splitmix64 (Steele et al. 2014) of each number in a stream of its own: one to one, so distinct stay distinct."""
    with np.errstate(over="ignore"):
        start = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1342543DE82EF95) % (1 << 64)
        z = (numbers + np.uint64(start)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray(np.maximum(z, np.uint64(1)), np.uint64)  # 0 means none; the one number that becomes 1 is met once in 2^64


@njit(cache=True, nogil=True)
def _come_by(world: World, traits: Traits, where: tuple[int, int, int], now: int, dice: Float32) -> int:
    """A song for listener u with interest `want` after song `last` (-1 none), by one of the WAYS; may be out of place."""
    u, want, last = where
    way = 0
    while way < 5 and dice[0] >= traits.ways[u, way]:
        way += 1
    if way == 1 and last >= 0:
        low, high = world.artist_ptr[world.artist[last]], world.artist_ptr[world.artist[last] + 1]
        return int(low + int(dice[1] * (high - low)))
    if way == 2:
        low, high = world.genre_ptr[traits.genre[u, want]], world.genre_ptr[traits.genre[u, want] + 1]
        if high > low:
            place = low + np.searchsorted(world.genre_chart[low:high], dice[1])
            return int(world.by_genre[min(place, high - 1)])
    if way == 3:
        return int(min(np.searchsorted(world.region_chart[traits.region[u]], dice[1]), world.artist.shape[0] - 1))
    if way == 4:
        high = np.searchsorted(world.release_times, now, side="right")
        low = np.searchsorted(world.release_times, now - 28 * 86_400_000)
        if high > low:
            return int(world.by_release[low + int(dice[1] * (high - low))])
    if way == 5:
        return int(dice[1] * world.artist.shape[0])
    return int(traits.favourites[u, want, int(dice[1] * FAVOURITES)])


@njit(cache=True, nogil=True)
def _choose(world: World, traits: Traits, where: tuple[int, int, int], now: int, visit: int, met: Int32, dice: Float32) -> int:
    """_come_by, unless that is not out yet or was heard in this session; then a favourite, then anything, then -1."""
    u, want, _ = where
    for attempt in range(3):
        song = int(dice[3] * world.artist.shape[0])
        if attempt == 0:
            song = _come_by(world, traits, where, now, dice)
        elif attempt == 1:
            song = traits.favourites[u, want, int(dice[2] * FAVOURITES)]
        if met[song] != visit and world.released[song] <= now:
            return song
    return -1


@njit(cache=True, nogil=True)
def live(world: World, traits: Traits, visits: Visits, dice: Float32, plays: Plays) -> int:
    """Everybody lives through their visits; fills plays and returns how many. Changes traits.favourites: pass a copy."""
    n = 0
    met = np.zeros(world.artist.shape[0], np.int32)  # the last visit a song was met in, +1
    heard_at = np.zeros(world.artist.shape[0], np.int64)
    tired = np.zeros(world.artist.shape[0], np.float32)
    known = np.zeros(world.artist.shape[0], np.int32)  # the last listener who knew the song, +1
    for u in range(visits.ptr.shape[0] - 1):
        free_at = 0
        tired[:] = 0.0
        for k in range(INTERESTS):
            if traits.leaning[u, k] > 0.0:
                for f in range(FAVOURITES):
                    known[traits.favourites[u, k, f]] = u + 1
        for visit in range(visits.ptr[u], visits.ptr[u + 1]):
            now = max(visits.at[visit], free_at)
            last, skips = -1, 0
            artists = np.full(4, -1, np.int32)
            for place in range(visits.length[visit]):
                song = _choose(world, traits, (u, visits.want[visit], last), now, visit + 1, met, dice[n])
                if song < 0 or skips > 2 + 6 * traits.patience[u]:
                    break
                tired[song] *= np.exp((heard_at[song] - now) / FORGET_MS)
                weary = traits.tiring[u] * tired[song] + 0.5 * np.sum(artists == world.artist[song])
                fit = appetite(world.vectors[song], traits.interests[u], traits.leaning[u], visits.want[visit])
                liked = pleasure(fit, world.appeal[song], known[song] == u + 1, traits.curiosity[u], weary)
                share = share_heard(liked, traits.patience[u], dice[n, 4], dice[n, 5])
                now += int(share * world.duration_s[song] * 1000.0) + 800
                plays.visit[n], plays.place[n], plays.song[n] = visit, place, song
                plays.at[n], plays.share[n] = now, share
                if share > 0.8 and liked > 0.7:
                    plays.vote[n] = 6 if dice[n, 6] < 0.04 else (8 if dice[n, 6] > 0.97 else 0)
                    if known[song] != u + 1 and dice[n, 7] < 0.2:  # a new favourite takes the place of an old one
                        traits.favourites[u, visits.want[visit], int(dice[n, 7] * 5.0 * FAVOURITES)] = song
                known[song], met[song] = u + 1, visit + 1
                tired[song] += 1.0
                heard_at[song] = now
                artists[place % 4] = world.artist[song]
                skips = 0 if share > 0.5 else skips + 1
                last = song
                n += 1
            free_at = now + SESSION_GAP_MS
    return n


__all__ = ["Town"]
