"""The listeners of the town: hidden tastes and habits, and how one of them reacts to a song or to a slate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import DAY_MS
from segue.core.records import AGE_BANDS, UserRecord
from segue.core.types import Float32, Int32, Int64
from segue.simulator.names import GENRES, REGIONS, handles
from segue.simulator.songs import DIMENSIONS, Songs, unit

INTERESTS = 4
FAVOURITES = 24
"""How many interests a listener may have, and favourite songs an interest."""
FORGET_MS = 6.0 * DAY_MS
"""A song that was just heard is half as tiring after this long times ln 2, about four days."""
WAYS = 6
"""Ways to come to a song: a favourite, more of the artist, the genre's chart, the region's chart, a new release, chance."""


class Traits(NamedTuple):
    """Columns over listeners, n rows; a NamedTuple so that kernels can take it whole."""

    interests: Float32  # (n, INTERESTS, DIMENSIONS) unit rows
    leaning: Float32  # (n, INTERESTS) shares of attention, sum to 1; 0 = no such interest
    genre: Int32  # (n, INTERESTS)
    favourites: Int32  # (n, INTERESTS, FAVOURITES) songs known and loved before the history begins
    curiosity: Float32  # (n,) 0 wants what is known, 1 wants what is new
    patience: Float32  # (n,) 0 to 1: how much of a wrong song is heard before it is skipped
    tiring: Float32  # (n,) logits that a song loses when it was heard a moment ago
    ways: Float32  # (n, WAYS) cumulative, ends at 1
    region: Int32  # (n,)


@dataclass(frozen=True)
class Listeners:
    """Everybody in town: what a catalogue may know (records) and what only they know (traits, habits)."""

    records: list[UserRecord]
    traits: Traits
    hours: Float32  # (n, 2, 24) when they listen on workdays and at the weekend, each row sums to 1
    daily: Float32  # (n,) mean sessions a day


# Hour weights of four kinds of day; a listener is a blend of two of them.
_DAYS = np.array(
    [
        [1, 0, 0, 0, 0, 1, 4, 9, 7, 2, 1, 1, 2, 2, 1, 2, 5, 9, 7, 3, 2, 2, 2, 1],  # on the way to work and back
        [0, 0, 0, 0, 0, 0, 1, 2, 6, 9, 9, 8, 4, 7, 9, 9, 7, 3, 1, 1, 1, 1, 0, 0],  # at the desk
        [2, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 5, 8, 9, 9, 7, 4],  # in the evening
        [8, 7, 5, 3, 1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6, 8, 9],  # at night
    ],
    np.float64,
)
_AGE_SHARES = np.array([0.01, 0.09, 0.22, 0.25, 0.18, 0.12, 0.08, 0.05])


def build(rng: np.random.Generator, songs: Songs, *, listeners: int, regions: int) -> Listeners:
    """The listeners of a town. Same arguments and generator state, same listeners."""
    age = rng.choice(len(AGE_BANDS), listeners, p=_AGE_SHARES)
    region = rng.choice(regions, listeners, p=rng.dirichlet(np.full(regions, 6.0))).astype(np.int32)
    genres = len(songs.genre_vectors)
    likes = rng.normal(0, 0.9, (regions, genres))[region] + rng.normal(0, 0.7, (len(AGE_BANDS), genres))[age]
    ranked = np.argsort(-(likes + rng.gumbel(size=likes.shape)), axis=1, kind="stable")
    genre = np.ascontiguousarray(ranked[:, np.arange(INTERESTS) % genres], np.int32)  # one layout, one compilation
    how_many = rng.choice(np.arange(1, INTERESTS + 1), listeners, p=[0.2, 0.4, 0.28, 0.12])
    leaning = rng.gamma(2.0, size=(listeners, INTERESTS)) * (np.arange(INTERESTS) < how_many[:, None])
    interests = _interests(songs, genre, rng)
    curiosity = rng.beta(2.0, 2.6, listeners)
    traits = Traits(
        interests,
        (leaning / leaning.sum(axis=1, keepdims=True)).astype(np.float32),
        genre,
        _favourites(songs, genre, interests, rng),
        curiosity.astype(np.float32),
        rng.beta(2.0, 2.0, listeners).astype(np.float32),
        rng.gamma(4.0, 0.35, listeners).astype(np.float32),
        _ways(curiosity),
        region,
    )
    blend = rng.dirichlet(np.full(len(_DAYS), 0.5), (listeners, 2))
    hours = blend @ (_DAYS / _DAYS.sum(axis=1, keepdims=True))
    daily = rng.gamma(1.6, 0.27, listeners)
    return Listeners(_records(age, region, genre, how_many, rng), traits, hours.astype(np.float32), daily.astype(np.float32))


def _interests(songs: Songs, genre: Int32, rng: np.random.Generator) -> Float32:
    """An interest is the middle of two artists of the genre and of the genre itself."""
    order = np.argsort(songs.artist_genre, kind="stable")
    ptr = np.searchsorted(songs.artist_genre[order], np.arange(len(songs.genre_vectors) + 1))
    low, high = ptr[genre], np.maximum(ptr[genre + 1], ptr[genre] + 1)
    pulled = songs.genre_vectors[genre].astype(np.float64)
    for _ in range(2):
        who = order[np.minimum((low + rng.random(genre.shape) * (high - low)).astype(np.int64), len(order) - 1)]
        pulled = pulled + songs.artist_vectors[who]
    return unit(pulled + 0.05 * rng.normal(size=pulled.shape))


def _favourites(songs: Songs, genre: Int32, interests: Float32, rng: np.random.Generator) -> Int32:
    """Of songs met by their fame, mostly in the genre, those that match the interest best: (n, INTERESTS, FAVOURITES)."""
    out = np.zeros((*genre.shape, FAVOURITES), np.int32)
    met = 8 * FAVOURITES
    for g in range(len(songs.genre_vectors)):
        users, places = np.nonzero(genre == g)
        near = 0.05 * songs.fame**0.5 + np.where(songs.genre == g, songs.fame**0.5, 0.0)
        cumulative = np.cumsum(near)
        drawn = np.searchsorted(cumulative, rng.random((len(users), met)) * cumulative[-1]).astype(np.int32)
        drawn.sort(axis=1)
        match = np.einsum("umd,ud->um", songs.vectors[drawn], interests[users, places]) + 0.1 * songs.appeal[drawn]
        match[:, 1:][drawn[:, 1:] == drawn[:, :-1]] = -2.0  # met twice is one favourite, while there are others
        best = np.argsort(-match, axis=1, kind="stable")[:, :FAVOURITES]
        out[users, places] = np.take_along_axis(drawn, best, axis=1)
    return out


def _ways(curiosity: NDArray[np.float64]) -> Float32:
    """The curious look further: cumulative shares of the WAYS for each listener."""
    base = np.array([0.46, 0.14, 0.16, 0.12, 0.03, 0.09])
    bold = np.array([0.24, 0.16, 0.24, 0.10, 0.10, 0.16])
    cumulative = np.cumsum(base + curiosity[:, None] * (bold - base), axis=1)
    cumulative[:, -1] = 1.0
    return cumulative.astype(np.float32)


def _records(
    age: NDArray[np.int64], region: Int32, genre: Int32, how_many: NDArray[np.int64], rng: np.random.Generator
) -> list[UserRecord]:
    told = rng.random(len(age)) < 0.4  # the others were never asked what they like
    return [
        UserRecord(
            name,
            age_band=int(age[i]),
            region=REGIONS[int(region[i])],
            tags=[GENRES[int(g)].name for g in genre[i, : how_many[i]]] if told[i] else None,
        )
        for i, name in enumerate(handles(len(age), rng))
    ]


@njit(cache=True, nogil=True)
def appetite(song: Float32, interests: Float32, leaning: Float32, want: int) -> float:
    """How well a song fits what is wanted now (interest `want`) and, a little less, anything the listener likes: cosine."""
    best = -1.0
    wanted = 0.0
    for k in range(interests.shape[0]):
        if leaning[k] > 0.0:
            match = 0.0
            for d in range(song.shape[0]):
                match += song[d] * interests[k, d]
            best = max(best, match)
            if k == want:
                wanted = match
    return float(0.65 * wanted + 0.35 * best)


@njit(cache=True, nogil=True)
def pleasure(fit: float, appeal: float, known: bool, curiosity: float, weariness: float) -> float:
    """Probability that a song is heard out: logistic in fit and appeal, lifted when known, lowered when tired of."""
    logit = 8.0 * (fit - 0.66) + appeal - weariness
    if known:
        logit += 1.6 * (1.0 - curiosity)
    else:
        logit += 0.8 * (curiosity - 0.5)
    return float(1.0 / (1.0 + np.exp(-logit)))


@njit(cache=True, nogil=True)
def share_heard(probability: float, patience: float, first: float, second: float) -> float:
    """The heard share of one play from two uniforms: to the end (sometimes without the fade-out), or skipped early."""
    if first < probability:
        return 1.0 if second < 0.85 else 0.85 + second * 0.12
    return float(0.7 * second ** (1.0 / (0.15 + 0.6 * patience)))


@dataclass
class Listener:
    """One listener in one session, who answers slates; made by Town.listener.

    What is wanted now (one of the interests) is hidden and stays for the session. Repeats, and an artist heard within the
    last four songs, tire. After too many skips in a row (3 for the impatient, 9 for the patient) the listener leaves.
    """

    songs: Songs
    traits: Traits
    user: int
    rng: np.random.Generator
    want: int = -1

    def __post_init__(self) -> None:
        if self.want < 0:
            self.want = int(self.rng.choice(INTERESTS, p=self._leaning()))
        self.left = False
        self._skips = 0
        self._heard: dict[int, int] = {}
        self._artists: list[int] = []
        active = self.traits.leaning[self.user] > 0
        self._known = set(self.traits.favourites[self.user][active].ravel().tolist())

    def listen(self, items: Int32 | Int64) -> Float32:
        """The heard share of each song in turn, (k,) float32 in [0, 1]; NaN for songs after the listener has left.

        items: town song numbers, the places in Town.items. Changes the session: ask once per slate.
        """
        out = np.full(len(items), np.nan, np.float32)
        for i, item in enumerate(np.asarray(items).tolist()):
            if self.left:
                break
            first, second = self.rng.random(2)
            out[i] = share_heard(self.likes(item), float(self.traits.patience[self.user]), first, second)
            self._remember(item, float(out[i]))
        return out

    def likes(self, item: int) -> float:
        """Hidden: the probability that this song would be heard out now. For judging a radio, never for making one."""
        u, traits = self.user, self.traits
        fit = appetite(self.songs.vectors[item], traits.interests[u], traits.leaning[u], self.want)
        artist = int(self.songs.artist[item])
        weary = float(traits.tiring[u]) * self._heard.get(item, 0) + 0.5 * self._artists[-4:].count(artist)
        known = item in self._known or item in self._heard
        return float(pleasure(fit, float(self.songs.appeal[item]), known, float(traits.curiosity[u]), weary))

    def _remember(self, item: int, share: float) -> None:
        self._heard[item] = self._heard.get(item, 0) + 1
        self._artists.append(int(self.songs.artist[item]))
        self._skips = 0 if share > 0.5 else self._skips + 1
        self.left = self._skips > 2 + 6 * float(self.traits.patience[self.user])

    def _leaning(self) -> NDArray[np.float64]:
        leaning = self.traits.leaning[self.user].astype(np.float64)
        return np.asarray(leaning / leaning.sum(), np.float64)


__all__ = ["DIMENSIONS", "INTERESTS", "Listener", "Listeners", "Traits", "appetite", "build", "pleasure", "share_heard"]
