"""Songs described as those a listener wanted: tags, artist and album by TF-IDF, and how well a song fits, from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.candidates._pull import Reading
from segue.candidates._shelves import Shelves, decayed_plays, shelve, tags_of, width
from segue.candidates._sparse import frozen, pull, taken
from segue.core.evidence import best
from segue.core.types import Arrays, Float32, History, Int32, Int64, Items, Query, Scored

POOL = 512
"""Songs whose fit is computed for an answer: what the strongest words of a taste lead to."""


class Content:
    """Content-based radio (Lops et al. 2011): a song is its words, a taste the sum of the songs that pull less those that push.

    A word is a tag, an artist or an album; idf = ln(1 + songs / songs with the word), the kinds weighing 1, artist_weight
    and album_weight; a song's vector has length 1 (Salton and Buckley 1988). Compatibility = the cosine of song and taste,
    below 0 counted as 0. score = compatibility * ((1 + decayed finishes) / (1 + the most))^popularity. The songs compared stand
    on the shelves of the `words` strongest words of the taste: `shelf` songs each, three quarters the most wanted, the others
    those that came in last, so that a song nobody has played is offered.
    """

    name: ClassVar[str] = "content"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        words: int = 24,
        shelf: int = 128,
        artist_weight: float = 0.7,
        album_weight: float = 0.3,
        popularity: float = 0.15,
        half_life_days: float = 180.0,
        reading: Reading | None = None,
    ) -> None:
        self.words = words
        self.shelf = shelf
        self.artist_weight = artist_weight
        self.album_weight = album_weight
        self.popularity = popularity
        self.half_life_days = half_life_days
        self.reading = reading or Reading(recency=0.95, long_term=0.7, depth=40)
        self._facts = Items.bare(0)
        empty = np.zeros(0, np.float32)
        none = Shelves(np.zeros(1, np.int64), np.zeros(0, np.int32), empty)
        self._set(self._facts, np.zeros(4, np.int64), empty, none, empty)

    def _set(self, facts: Items, starts: Int64, idf: Float32, shelves: Shelves, quality: Float32) -> None:
        self._facts = facts
        self.starts_ = frozen(starts, np.int64)
        self.idf_ = frozen(idf, np.float32)
        self.shelves_ = shelves
        self.quality_ = frozen(quality, np.float32)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Weigh the words and fill the shelves; deterministic, `rng` is not used."""
        facts = history.facts
        n = len(facts)
        starts = np.cumsum([0, width(facts.tags), width(facts.artist), width(facts.album)])
        self._set(facts, starts, np.ones(int(starts[-1]), np.float32), self.shelves_, self.quality_)
        items = np.arange(n, dtype=np.int32)
        place, word, _ = self._words(items)
        kind = np.repeat((1.0, self.artist_weight, self.album_weight), np.diff(starts))
        df = np.bincount(word, minlength=int(starts[-1]))
        idf = (np.log1p(n / np.maximum(df, 1)) * kind).astype(np.float32)
        finishes, _ = decayed_plays(history, self.half_life_days)
        quality = ((1 + finishes) / (1 + finishes.max(initial=0))) ** self.popularity
        stands = facts.playable[place]
        word, member = word[stands], place[stands].astype(np.int32)
        loved = shelve(word, member, finishes[member], len(df), self.shelf - self.shelf // 4)
        newest = shelve(word, member, member.astype(np.float32), len(df), self.shelf // 4)
        ptr = np.concatenate((loved.ptr, loved.ptr[-1] + newest.ptr[1:]))
        members = frozen(np.concatenate((loved.items, newest.items)), np.int32)
        weights = frozen(quality[members], np.float32)
        self._set(facts, starts, idf, Shelves(frozen(ptr, np.int64), members, weights), quality.astype(np.float32))
        return self

    def _words(self, items: Int32) -> tuple[Int64, Int64, Float32]:
        """(place into items, word, its idf), one row a word of a song; items that the fit did not know have none."""
        known = np.flatnonzero((items >= 0) & (items < len(self._facts)))
        inside = items[known]
        place, tag = tags_of(self._facts, inside)
        columns = (self._facts.artist[inside], self._facts.album[inside])
        own = [np.flatnonzero(column >= 0) for column in columns]
        word = [tag, *(column[rows] + self.starts_[k] for k, (column, rows) in enumerate(zip(columns, own, strict=True), 1))]
        joined = np.concatenate(word).astype(np.int64)
        return known[np.concatenate((place, *own))].astype(np.int64), joined, self.idf_[joined]

    def _taste(self, query: Query) -> tuple[Int64, Float32]:
        """The words of a taste, ascending, with weights; length 1."""
        pulls = self.reading.pulls(query)
        place, word, idf = self._words(pulls.items)
        length = np.sqrt(np.bincount(place, idf.astype(np.float64) ** 2, len(pulls)))
        weight = pulls.weights[place] * idf / np.maximum(length[place], 1e-9)
        asked = [self._known(query.seeds.tags, 0), self._known(query.seeds.artists, 1)]
        word = np.concatenate((word, *asked))
        weight = np.concatenate((weight, np.full(len(asked[0]) + len(asked[1]), 1.0)))
        words, where = np.unique(word, return_inverse=True)
        total = np.bincount(where, weight, len(words))
        return words, (total / max(float(np.sqrt(total @ total)), 1e-9)).astype(np.float32)

    def _known(self, ids: Int32, kind: int) -> Int64:
        first, last = int(self.starts_[kind]), int(self.starts_[kind + 1])
        return ids[(ids >= 0) & (ids < last - first)].astype(np.int64) + first

    def compatibility(self, query: Query, items: Int32) -> Float32:
        """How well each song fits what the query says of taste, (n,) float32 in [0, 1]; 0 where nothing is known."""
        return self._fit_of(self._taste(query), items)

    def _fit_of(self, taste: tuple[Int64, Float32], items: Int32) -> Float32:
        words, weights = taste
        out = np.zeros(len(items))
        place, word, idf = self._words(items)
        if len(words) and len(word):
            where = np.minimum(np.searchsorted(words, word), len(words) - 1)
            shared = np.where(words[where] == word, weights[where] * idf, np.float32(0))
            length = np.sqrt(np.bincount(place, idf.astype(np.float64) ** 2, len(items)))
            out = np.bincount(place, shared, len(items)) / np.maximum(length, 1e-9)
        return np.clip(out, 0, 1).astype(np.float32)

    def retrieve(self, query: Query, limit: int) -> Scored:
        """Songs of the strongest words, by how well they fit and how wanted they are."""
        words, weights = self._taste(query)
        order = np.lexsort((words, -weights))[: self.words]
        strong = order[weights[order] > 0]
        n_words = int(self.starts_[-1])
        where = np.concatenate((words[strong], words[strong] + n_words)).astype(np.int32)
        pulls = np.tile(weights[strong] * self.idf_[words[strong]], 2).astype(np.float32)
        shelves = self.shelves_
        pool, _ = pull(where, pulls, shelves.ptr, shelves.items, shelves.scores, self.shelf, POOL)
        score = self._fit_of((words, weights), pool) * self.quality_[pool]
        return best(pool[score > 0], score[score > 0].astype(np.float32), limit)

    def arrays(self) -> Arrays:
        """Words by kind (starts), idf, shelves, quality and the facts that make a song's words."""
        return {
            "starts": self.starts_,
            "idf": self.idf_,
            "ptr": self.shelves_.ptr,
            "items": self.shelves_.items,
            "scores": self.shelves_.scores,
            "quality": self.quality_,
            "artist": frozen(self._facts.artist, np.int32),
            "album": frozen(self._facts.album, np.int32),
            "tags_ptr": frozen(self._facts.tags_ptr, np.int64),
            "tags": frozen(self._facts.tags, np.int32),
        }

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        artist = taken(arrays, "artist", np.int32)
        bare = Items.bare(0)
        facts = Items(
            artist=artist,
            album=taken(arrays, "album", np.int32),
            work=bare.work,
            released=bare.released,
            added=bare.added,
            duration_s=bare.duration_s,
            playable=bare.playable,
            tags_ptr=taken(arrays, "tags_ptr", np.int64),
            tags=taken(arrays, "tags", np.int32),
            language=bare.language,
        )
        shelves = Shelves(taken(arrays, "ptr", np.int64), taken(arrays, "items", np.int32), taken(arrays, "scores", np.float32))
        quality = taken(arrays, "quality", np.float32)
        self._set(facts, taken(arrays, "starts", np.int64), taken(arrays, "idf", np.float32), shelves, quality)
        return self
