"""New releases and new arrivals, those of loved artists and tags first, while the other sources know little of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from segue.candidates._pull import Reading
from segue.candidates._shelves import Shelves, Taste, decayed_plays, learn_taste, one_each, shelve, tags_of, width
from segue.candidates._sparse import frozen, pull, scored, taken
from segue.core.clock import DAY_MS
from segue.core.types import NO_DAY, Arrays, Float32, History, Int32, Items, Query, Scored

KEPT_DAYS = 8
"""Pools kept, a day each."""
REBUILD_MS = 5_000
"""The shelf is rebuilt at most so often (by the time of the queries) when facts change all the time."""
IMPORT_SHARE, IMPORT_AT_LEAST = 0.2, 200
"""A day on which more than this share of the catalogue (and so many songs) was added is an import: its songs are not new."""
FOREVER_DAYS = 1e9
FACTS = {
    "artist": np.int32,
    "released": np.int32,
    "added": np.int32,
    "playable": np.bool_,
    "tags_ptr": np.int64,
    "tags": np.int32,
}
"""The facts that a fitted source keeps for itself."""


class Pool(NamedTuple):
    """The new songs of a day: shelf 0 holds all of them, then one for each artist, then one for each tag."""

    facts: Items
    day: int
    built: int  # ms
    shelves: Shelves
    n_artists: int
    n_tags: int


class Fresh:
    """Songs released (or, where that is not known, added) in the last `days` days before the query's now.

    q = ucb * sqrt(evidence / (evidence + plays)): the upper bound of the finish rate under a Beta prior that leans on the
    artist, mean + bonus * deviation (Auer 2002's optimism, with a posterior), times a share that shrinks as plays come in.
    score = q * (newcomer + artist_weight * taste(artist) + tag_weight * mean taste(tags))  with taste from the session
    (Reading) and from what the listener finished before. `facts` gives the catalogue of now, so that a song that came in by
    day is offered by day; without it the facts of the fit are used.
    """

    name: ClassVar[str] = "fresh"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        days: int = 30,
        pool: int = 20_000,
        prior: float = 10.0,
        bonus: float = 1.0,
        evidence: float = 50.0,
        newcomer: float = 0.1,
        artist_weight: float = 1.0,
        tag_weight: float = 0.3,
        long_term: float = 0.5,
        half_life_days: float = 180.0,
        shelf: int = 200,
        facts: Callable[[], Items] | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.days, self.pool, self.shelf = days, pool, shelf
        self.prior, self.bonus, self.evidence = prior, bonus, evidence
        self.newcomer, self.artist_weight, self.tag_weight = newcomer, artist_weight, tag_weight
        self.long_term, self.half_life_days = long_term, half_life_days
        self.reading = reading or Reading()
        self._facts = facts
        self._pools: dict[int, Pool] = {}
        ptr, ids, weights = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
        none, nobody = np.zeros((0, 2), np.float32), Taste(ptr, ids, weights)
        self._set(Items.bare(0), none, none, (nobody, nobody))

    def _set(self, facts: Items, plays: Float32, artist_plays: Float32, tastes: tuple[Taste, Taste]) -> None:
        self.facts_ = facts
        self.plays_ = frozen(plays, np.float32)
        self.artist_plays_ = frozen(artist_plays, np.float32)
        self.artist_taste_, self.tag_taste_ = tastes
        self._pools = {}

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Count finishes and skips of items and artists, keep each listener's taste; deterministic, `rng` is not used."""
        facts = history.facts
        artist = np.ascontiguousarray(facts.artist, np.int32)
        plays = np.stack(decayed_plays(history, FOREVER_DAYS), axis=1)
        known = artist >= 0
        artist_plays = np.zeros((width(artist), 2), np.float32)
        for kind in (0, 1):
            artist_plays[:, kind] = np.bincount(artist[known], plays[known, kind], len(artist_plays))
        tags = np.ascontiguousarray(facts.tags_ptr, np.int64), np.ascontiguousarray(facts.tags, np.int32)
        tastes = (
            learn_taste(history, one_each(artist), self.half_life_days, 32),
            learn_taste(history, tags, self.half_life_days, 16),
        )
        self._set(facts, plays, artist_plays, tastes)
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The new songs of query.now, best first; a listener of whom nothing is known gets them by their own merit."""
        pool = self._today(query.now)
        if not len(pool.shelves.items):
            return Scored.none()
        rows, weights = [np.zeros(1, np.int32)], [np.array([self.newcomer], np.float32)]
        pulls = self.reading.pulls(query)
        known = (pulls.items >= 0) & (pulls.items < len(pool.facts))
        items, strength = pulls.items[known], pulls.weights[known]
        place, tags = tags_of(pool.facts, items)
        seeds = query.seeds
        artists, artist_taste = self.artist_taste_.of(query.user)
        liked_tags, tag_taste = self.tag_taste_.of(query.user)
        for ids, strengths in (
            (pool.facts.artist[items], self.artist_weight * strength),
            (artists, self.artist_weight * self.long_term * artist_taste),
            (seeds.artists, np.full(len(seeds.artists), self.artist_weight, np.float32)),
        ):
            rows.append(np.where((ids >= 0) & (ids < pool.n_artists), 1 + ids, -1).astype(np.int32))
            weights.append(strengths.astype(np.float32))
        for ids, strengths in (
            (tags, self.tag_weight * strength[place]),
            (liked_tags, self.tag_weight * self.long_term * tag_taste),
            (seeds.tags, np.full(len(seeds.tags), self.tag_weight, np.float32)),
        ):
            rows.append(np.where((ids >= 0) & (ids < pool.n_tags), 1 + pool.n_artists + ids, -1).astype(np.int32))
            weights.append(strengths.astype(np.float32))
        where, weight, (ptr, new, quality) = np.concatenate(rows), np.concatenate(weights), pool.shelves
        return scored(pull(where, weight, ptr, new, quality, self.shelf, limit))

    def _today(self, now: int) -> Pool:
        """The pool of the query's day and of the facts of now; replaced as a whole, so threads see the old or the new one.

        A few days are kept: the night asks about moments of several, in no order, and a pool of a million songs takes a while.
        """
        day, facts = now // DAY_MS, self._facts() if self._facts else self.facts_
        pools = self._pools
        pool = pools.get(day)
        if pool is None or (pool.facts is not facts and abs(now - pool.built) >= REBUILD_MS):
            pool = self._build(facts, now)
            latest = [kept for kept in pools if kept != day][1 - KEPT_DAYS :]
            self._pools = {**{kept: pools[kept] for kept in latest}, day: pool}
        return pool

    def _build(self, facts: Items, now: int) -> Pool:
        day = now // DAY_MS
        born = _born(facts, day, self.days)
        new = np.flatnonzero((born > day - self.days) & (born <= day) & facts.playable)
        newest: Int32 = new[np.lexsort((new, -born[new]))][: self.pool].astype(np.int32)
        quality = self._quality(facts, newest)
        place, tags = tags_of(facts, newest)
        n_artists, n_tags = width(facts.artist), width(facts.tags)
        artist = np.where(facts.artist[newest] >= 0, 1 + facts.artist[newest], -1)
        shares = quality / np.maximum(np.bincount(place, minlength=len(newest)), 1)
        shelves = shelve(
            np.concatenate((np.zeros(len(newest), np.int64), artist, 1 + n_artists + tags)),
            np.concatenate((newest, newest, newest[place])),
            np.concatenate((quality, quality, shares[place])).astype(np.float32),
            1 + n_artists + n_tags,
            self.shelf,
        )
        return Pool(facts, day, now, shelves, n_artists, n_tags)

    def _quality(self, facts: Items, new: Int32) -> Float32:
        """q of the class docstring, (len(new),) in (0, 2]; songs and artists that came after the fit have no plays."""
        counts = np.zeros((len(new), 2))
        fitted = new < len(self.plays_)
        counts[fitted] = self.plays_[new[fitted]]
        of_artist = np.zeros((len(new), 2))
        artist = facts.artist[new]
        fitted = (artist >= 0) & (artist < len(self.artist_plays_))
        of_artist[fitted] = self.artist_plays_[artist[fitted]]
        total = self.plays_.sum(axis=0, dtype=np.float64) + 1.0
        world = total[0] / total.sum()
        lean = (of_artist[:, 0] + self.prior * world) / (of_artist.sum(axis=1) + self.prior)
        a = counts[:, 0] + self.prior * lean
        b = counts[:, 1] + self.prior * (1.0 - lean)
        deviation = np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1.0)))
        share = np.sqrt(self.evidence / (self.evidence + counts.sum(axis=1)))
        quality: Float32 = ((a / (a + b) + self.bonus * deviation) * share).astype(np.float32)
        return quality

    def arrays(self) -> Arrays:
        """Facts of the fit by item, finishes and skips (n, 2) of items and of artists, taste by listener."""
        facts = {name: np.ascontiguousarray(getattr(self.facts_, name)) for name in FACTS}
        tastes = {
            f"{kind}_{column}": values
            for kind, taste in (("artist", self.artist_taste_), ("tag", self.tag_taste_))
            for column, values in taste._asdict().items()
        }
        return {**facts, **tastes, "plays": self.plays_, "artist_plays": self.artist_plays_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        facts = replace(Items.bare(0), **{name: taken(arrays, name, kind) for name, kind in FACTS.items()})
        artist_taste, tag_taste = (
            Taste(
                taken(arrays, f"{kind}_ptr", np.int64),
                taken(arrays, f"{kind}_shelves", np.int32),
                taken(arrays, f"{kind}_weights", np.float32),
            )
            for kind in ("artist", "tag")
        )
        plays, artist_plays = taken(arrays, "plays", np.float32), taken(arrays, "artist_plays", np.float32)
        self._set(facts, plays, artist_plays, (artist_taste, tag_taste))
        return self


def _born(facts: Items, day: int, days: int) -> Int32:
    """The day each song was new: released, else added unless that day was an import; NO_DAY where it never was, (n,) int32."""
    age = day - facts.added.astype(np.int64)
    inside = (age >= 0) & (age < days)
    arrivals = np.bincount(age[inside], minlength=1)
    imports = np.flatnonzero(arrivals > max(IMPORT_SHARE * len(facts), IMPORT_AT_LEAST))
    arrival = np.where(inside & ~np.isin(age, imports), facts.added, NO_DAY)
    return np.where(facts.released != NO_DAY, facts.released, arrival).astype(np.int32)
