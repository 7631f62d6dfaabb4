"""More of who was finished: the artists, albums and tags behind a session, and what is most loved of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.candidates._pull import Reading
from segue.candidates._shelves import Shelves, Taste, decayed_plays, learn_taste, one_each, shelve, width
from segue.candidates._sparse import frozen, pull, scored, taken
from segue.core.types import Arrays, Float32, History, Int32, Items, Query, Scored


class Artist:
    """Repeat-aware artist radio: each finish pulls the artist's (and album's) songs, each skip pushes them away.

    weight(artist) = sum of the query's weights of the artist's songs (recency, skips negative; Reading)
                     + long_term * the listener's stored taste (decayed finishes minus skips, the `top` strongest artists)
                     + seed_weight for artists that were asked for
    score(song) = weight(artist) * q + album_weight * weight(album) * q + seed_weight * q for each tag that was asked for
    q = sqrt((1 + decayed finishes) / (1 + those of the shelf's best)): loved first, but the whole shelf is heard.
    A shelf holds the best `shelf` songs. `facts` gives the catalogue of now, so that a song that came in by day pulls its
    artist; without it songs that the fit did not know are passed over.
    """

    name: ClassVar[str] = "artist"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        shelf: int = 64,
        half_life_days: float = 180.0,
        top: int = 32,
        long_term: float = 0.3,
        album_weight: float = 0.3,
        seed_weight: float = 2.0,
        facts: Callable[[], Items] | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.shelf = shelf
        self.half_life_days = half_life_days
        self.top = top
        self.long_term = long_term
        self.album_weight = album_weight
        self.seed_weight = seed_weight
        self.reading = reading or Reading(recency=0.85)
        self._facts = facts
        ids, weights, ptr = np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(1, np.int64)
        self._set(Shelves(ptr, ids, weights), np.zeros(4, np.int64), (ids, ids), Taste(ptr, ids, weights))

    def _set(self, shelves: Shelves, starts: NDArray[np.int64], columns: tuple[Int32, Int32], taste: Taste) -> None:
        self.shelves_ = shelves
        self.starts_ = frozen(starts, np.int64)
        self.item_artist_, self.item_album_ = (frozen(column, np.int32) for column in columns)
        self.taste_ = taste

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Fill the shelves and keep each listener's artists; deterministic, `rng` is not used."""
        facts = history.facts
        finishes, _ = decayed_plays(history, self.half_life_days)
        starts = np.cumsum([0, width(facts.artist), width(facts.album), width(facts.tags)])
        artist, album = (np.ascontiguousarray(column, np.int32) for column in (facts.artist, facts.album))
        taste = learn_taste(history, one_each(artist), self.half_life_days, self.top)
        self._set(self._fill(facts, finishes, starts), starts, (artist, album), taste)
        return self

    def _fill(self, facts: Items, finishes: Float32, starts: NDArray[np.int64]) -> Shelves:
        """One shelf for each artist, then each album, then each tag; unplayable songs stand on none."""
        items = np.arange(len(facts), dtype=np.int32)
        tagged = np.repeat(items, np.diff(facts.tags_ptr))
        members = np.concatenate((items, items, tagged)).astype(np.int32)
        parts = (facts.artist, facts.album, facts.tags)
        shelf = np.concatenate([np.where(part >= 0, part + start, -1) for part, start in zip(parts, starts, strict=False)])
        shelf[~facts.playable[members]] = -1
        shelves = shelve(shelf, members, finishes[members], int(starts[-1]), self.shelf)
        filled = np.diff(shelves.ptr) > 0
        best = np.zeros(int(starts[-1]), np.float32)
        best[filled] = shelves.scores[shelves.ptr[:-1][filled]]
        quality = np.sqrt((1.0 + shelves.scores) / (1.0 + np.repeat(best, np.diff(shelves.ptr))))
        return Shelves(shelves.ptr, shelves.items, frozen(quality, np.float32))

    def retrieve(self, query: Query, limit: int) -> Scored:
        """Songs of the artists, albums and tags that pull, of any artist that does not push."""
        pulls = self.reading.pulls(query)
        artist, album = self._columns()
        known = (pulls.items >= 0) & (pulls.items < len(artist))
        items, weights = pulls.items[known], pulls.weights[known]
        liked, taste = self.taste_.of(query.user)
        seeds = query.seeds
        rows = (
            self._place(artist[items], 0),
            self._place(album[items], 1),
            self._place(liked, 0),
            self._place(seeds.artists, 0),
            self._place(seeds.tags, 2),
        )
        asked = np.full(len(seeds.artists) + len(seeds.tags), self.seed_weight, np.float32)
        strengths = (weights, self.album_weight * weights, self.long_term * taste, asked)
        where, weight = np.concatenate(rows), np.concatenate(strengths).astype(np.float32)
        shelves = self.shelves_
        return scored(pull(where, weight, shelves.ptr, shelves.items, shelves.scores, self.shelf, limit))

    def _columns(self) -> tuple[Int32, Int32]:
        """Artist and album of each item, as of now."""
        if self._facts is None:
            return self.item_artist_, self.item_album_
        facts = self._facts()
        return facts.artist, facts.album

    def _place(self, ids: Int32, kind: int) -> Int32:
        """Dense ids of a kind (0 artists, 1 albums, 2 tags) as shelves; -1 for ids that the fit did not know."""
        first, last = self.starts_[kind], self.starts_[kind + 1]
        return np.where((ids >= 0) & (ids < last - first), ids + first, -1).astype(np.int32)

    def arrays(self) -> Arrays:
        """Shelves (ptr, items, scores) with the starts of the three kinds, facts by item, taste by listener."""
        return {
            "ptr": self.shelves_.ptr,
            "items": self.shelves_.items,
            "scores": self.shelves_.scores,
            "starts": self.starts_,
            "item_artist": self.item_artist_,
            "item_album": self.item_album_,
            "taste_ptr": self.taste_.ptr,
            "taste_artist": self.taste_.shelves,
            "taste_weight": self.taste_.weights,
        }

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        shelves = Shelves(taken(arrays, "ptr", np.int64), taken(arrays, "items", np.int32), taken(arrays, "scores", np.float32))
        taste = Taste(
            taken(arrays, "taste_ptr", np.int64),
            taken(arrays, "taste_artist", np.int32),
            taken(arrays, "taste_weight", np.float32),
        )
        columns = taken(arrays, "item_artist", np.int32), taken(arrays, "item_album", np.int32)
        self._set(shelves, taken(arrays, "starts", np.int64), columns, taste)
        return self
