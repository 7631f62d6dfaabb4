"""Songs that sound like what was finished and unlike what was skipped: a song is found the moment it has a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from segue.candidates._pull import Pulls, Reading
from segue.candidates._sparse import frozen, taken
from segue.core.actions import NEWCOMER_PLAYS
from segue.core.evidence import best
from segue.core.types import MISSING, Arrays, Bool, Float32, History, Int32, Query, Scored

POOL = 300
"""Songs that the store is asked for: of them so many newcomers as their share allows come forward, whatever the limit."""
NEAR = 0.5
"""A newcomer comes forward only when its score is at least this share of the best one."""


class Neighbours(Protocol):
    """The part of the port Vectors that this source asks."""

    def __len__(self) -> int: ...

    def get(self, items: Int32) -> Float32:
        """(n, d) unit vectors, NaN where an item has none."""
        ...

    def search(self, queries: Float32, limit: int) -> tuple[Int32, Float32]:
        """The nearest items and their inner products with each query."""
        ...


class LiveCounts(Protocol):
    """The part of the port OnlineState that this source asks."""

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> Float32:
        """Per item (expected share heard, log decayed plays), (n, 2)."""
        ...


class Sound:
    """Neighbours by sound: score(x) = sum over finished s of w_s sim(x, s) - sum over skipped s of w_s sim(x, s).

    sim is the cosine of the vectors, w the weight of recency (Reading), so the sum is one inner product with one vector
    q = sum w_s v_s, and one search of the store finds the best. Only scores above zero are offered. Without a finish, a like or
    a seed it is silent: what is far from a skip is near nothing. So it is without vectors, at no cost.

    It carries newcomers: of the songs that are near, those with fewer than `few` plays (by the last night and by the live
    counts) come forward, so that they hold about `newcomers` of any head of the list, until listeners have spoken. Without a
    night nobody knows who is new, and nobody comes forward.

    vectors: the store. state: the live counts. The night's fit counts plays, O(plays); 4 bytes a song.
    """

    name: ClassVar[str] = "sound"

    def __init__(
        self,
        *,
        vectors: Neighbours | None = None,
        state: LiveCounts | None = None,
        newcomers: float = 0.2,
        few: float = NEWCOMER_PLAYS,
        reading: Reading | None = None,
    ) -> None:
        if not 0.0 <= newcomers <= 0.5:
            raise ValueError(f"newcomers: expected a share from 0 to 0.5, got {newcomers}")
        self.vectors = vectors
        self.state = state
        self.newcomers = newcomers
        self.few = few
        self.reading = reading or Reading()
        self.plays_: Float32 = np.zeros(0, np.float32)

    @property
    def at_once(self) -> bool:
        """Whether the store only reads memory of this process: then the request asks it where it runs (serving.gathering)."""
        return self.vectors is None or bool(getattr(self.vectors, "at_once", False)) or not len(self.vectors)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Count the plays of each song; deterministic, `rng` is not used. What songs sound like is no matter of the night."""
        self.plays_ = frozen(np.bincount(history.item, minlength=history.n_items), np.float32)
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The songs nearest to what was finished (and to seeds) and away from what was skipped."""
        store = self.vectors
        if store is None or not len(store):
            return Scored.none()
        pulls = self.reading.pulls(query)
        pulls, rows = self._heard(pulls)
        if not (pulls.weights > 0).any():
            return Scored.none()
        wanted = max(limit, POOL)
        items, scores = store.search((pulls.weights @ rows)[None, :], wanted + len(pulls))
        kept = (items[0] != MISSING) & (scores[0] > 0) & ~np.isin(items[0], pulls.items)
        found = Scored(items[0][kept][:wanted], scores[0][kept][:wanted])
        return self._forward(query, found, limit)

    def similar(self, item: int, limit: int) -> Scored:
        """The nearest songs of one song by cosine, nothing for a song without a vector."""
        store = self.vectors
        if store is None or not len(store):
            return Scored.none()
        row = store.get(np.array([item], np.int32))
        if not np.isfinite(row).all() or not row.any():
            return Scored.none()
        items, scores = store.search(row, limit + 1)
        kept = (items[0] != MISSING) & (scores[0] > 0) & (items[0] != item)
        return Scored(items[0][kept][:limit], scores[0][kept][:limit])

    def because(self, query: Query, items: Int32) -> Int32:
        """Per item (k,) the song of the query that it sounds like most, by weight times cosine; MISSING where like none."""
        items = np.asarray(items, np.int32)
        out = np.full(len(items), MISSING, np.int32)
        if self.vectors is None or not len(self.vectors):
            return out
        pulls, rows = self._heard(self.reading.pulls(query), positive=True)
        mine = self.vectors.get(items)
        if not len(pulls) or mine.shape[1] != rows.shape[1]:
            return out
        near = (mine @ rows.T) * pulls.weights
        near[~np.isfinite(near) | (items[:, None] == pulls.items)] = 0
        strongest = near.argmax(axis=1)
        said = near[np.arange(len(items)), strongest] > 0
        out[said] = pulls.items[strongest[said]]
        return out

    def _heard(self, pulls: Pulls, *, positive: bool = False) -> tuple[Pulls, Float32]:
        """The pulls of songs that have a vector, and these vectors (n, d)."""
        assert self.vectors is not None
        rows = self.vectors.get(pulls.items)
        known = np.isfinite(rows).all(axis=1) if rows.shape[1] else np.zeros(len(rows), np.bool_)
        if positive:
            known &= pulls.weights > 0
        return Pulls(pulls.items[known], pulls.weights[known]), rows[known]

    def _forward(self, query: Query, found: Scored, limit: int) -> Scored:
        """The head of what was found, with newcomers in every 1 / share-th place at the latest.

        One that comes forward takes the score of the song whose place it takes.
        """
        items, scores = found.items, found.scores.copy()
        near = int((scores[:POOL] >= NEAR * scores[0]).sum()) if len(items) else 0
        if self.newcomers and len(self.plays_) and near:
            new = np.zeros(len(items), np.bool_)
            new[:near] = self._is_new(query, items[:near])
            others, place = scores[~new], np.flatnonzero(new)
            turn = np.arange(len(place))
            at = np.ceil((turn + 1) / self.newcomers).astype(np.int64) - 1 - turn  # others that stand before it
            kept = at < len(others)
            scores[place[kept]] = np.maximum(scores[place[kept]], others[at[kept]])
        return best(items, scores, limit)

    def _is_new(self, query: Query, items: Int32) -> Bool:
        """Whether each song has fewer than `few` plays."""
        plays = np.zeros(len(items), np.float32)
        fitted = items < len(self.plays_)
        plays[fitted] = self.plays_[items[fitted]]
        if self.state is not None:
            plays += np.expm1(self.state.popularity(items, MISSING, query.context.hour_of_week)[:, 1])
        return np.asarray(plays < self.few, np.bool_)

    def arrays(self) -> Arrays:
        """Plays by song (n_items,)."""
        return {"plays": self.plays_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        self.plays_ = taken(arrays, "plays", np.float32)
        return self
