"""Listeners like this one, and what they finished lately: user-based nearest neighbours over capped histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.candidates._neighbours import MAX_PLACE, Groups, build_groups, nearest, offers
from segue.candidates._pull import Pulls, Reading
from segue.candidates._sparse import frozen, scored, slot_of, table_for, taken
from segue.core.types import MISSING, Arrays, Float32, History, Int8, Int32, Int64, Query, Scored


class UserKnn:
    """User-kNN (Resnick et al. 1994; idf after Breese et al. 1998) that answers from what the listener did just now.

    A listener is the last `history` distinct songs they finished or turned away. The query is the listener's recent plays,
    filled up with their stored ones; similarity = sum of weight * idf over shared finished songs / (songs known)^length_norm;
    the `neighbours` nearest, never the listener, vote for what they finished, a song `decay` times less for each later one.
    The inverted index holds the latest `sample` listeners of a song.
    """

    name: ClassVar[str] = "user_knn"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        neighbours: int = 100,
        sample: int = 200,
        history: int = 200,
        length_norm: float = 0.5,
        decay: float = 0.995,
        popularity_exponent: float = 0.0,
        skip_weight: float = 0.5,
        reading: Reading | None = None,
    ) -> None:
        if not 0 < history <= MAX_PLACE:
            raise ValueError(f"history must be between 1 and {MAX_PLACE}, the places that an index can name; got {history}")
        self.neighbours = neighbours
        self.sample = sample
        self.history = history
        self.length_norm = length_norm
        self.decay = decay
        self.popularity_exponent = popularity_exponent
        self.skip_weight = skip_weight
        self.reading = reading or Reading(recency=0.97, long_term=1.0, depth=40)
        empty = np.zeros(0, np.float32)
        self._set(Groups.empty(), empty, empty)

    def _set(self, groups: Groups, weight: Float32, item_weight: Float32) -> None:
        self.groups_ = groups.frozen()
        self.weight_ = frozen(weight, np.float32)
        self.item_weight_ = frozen(item_weight, np.float32)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Keep the last songs of each listener and index them; deterministic, `rng` is not used."""
        kept = _last_distinct(history.user_ptr(), history.item, history.signal, self.history)
        user, item, at = history.user[kept], history.item[kept], history.at[kept]
        liked = history.signal[kept] > 0
        groups = build_groups(user, item, liked, at, (history.n_users, history.n_items), self.sample)
        length = np.maximum(np.diff(groups.ptr), 1)
        plays = np.bincount(item[liked], minlength=history.n_items)
        weight = (length**-self.length_norm).astype(np.float32)
        self._set(groups, weight, (np.maximum(plays, 1.0) ** -self.popularity_exponent).astype(np.float32))
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """What the nearest listeners finished; nothing for a listener of whom nothing is known."""
        asked = self._asked(query)
        if not len(asked) or not len(self.item_weight_):
            return Scored.none()
        g = self.groups_
        index = (g.index_ptr, g.index_group, g.index_place, g.idf)
        own = (query.user, query.user + 1, 0.0)
        best, similarity, _ = nearest((asked.items, asked.weights), index, self.weight_, own, self.neighbours)
        newest = g.ptr[best + 1] - g.ptr[best] - 1
        found = (best, similarity, newest.astype(np.uint16))
        settings = (self.history, self.decay, self.skip_weight)
        return scored(offers(found, (g.ptr, g.items), self.item_weight_, settings, limit))

    def _asked(self, query: Query) -> Pulls:
        """Recent plays, and below `depth` of them the stored ones, newest first, as older plays."""
        pulls = self.reading.pulls(query)
        room = self.reading.depth - len(pulls)
        if query.user == MISSING or not 0 <= query.user < len(self.groups_.ptr) - 1 or room <= 0:
            return pulls
        first, last = self.groups_.ptr[query.user], self.groups_.ptr[query.user + 1]
        stored = self.groups_.items[first:last][::-1]
        fresh = stored[(stored >= 0) & ~(stored[:, None] == pulls.items).any(axis=1)][:room]
        decay = self.reading.long_term * self.reading.recency ** np.arange(len(pulls), len(pulls) + len(fresh))
        items = np.concatenate((pulls.items, fresh)).astype(np.int32)
        return Pulls(items, np.concatenate((pulls.weights, decay)).astype(np.float32))

    def arrays(self) -> Arrays:
        """The listeners and their index (see Groups), weight (n_users,), item_weight (n_items,)."""
        return {
            **self.groups_.arrays(),
            "weight": self.weight_,
            "item_weight": self.item_weight_,
        }

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        self._set(Groups.of(arrays), taken(arrays, "weight", np.float32), taken(arrays, "item_weight", np.float32))
        return self


@njit(cache=True, nogil=True)
def _last_distinct(user_ptr: Int64, item: Int32, signal: Int8, cap: int) -> NDArray[np.bool_]:
    """Rows to keep: of each listener the last row of each of their last `cap` distinct items that says something."""
    kept = np.zeros(len(item), np.bool_)
    for u in range(len(user_ptr) - 1):
        table = table_for(min(cap, user_ptr[u + 1] - user_ptr[u]))
        n = 0
        for row in range(user_ptr[u + 1] - 1, user_ptr[u] - 1, -1):
            if n == cap:
                break
            if signal[row] != 0:
                place = slot_of(table, item[row])
                if table[place] != item[row]:
                    table[place] = item[row]
                    kept[row] = True
                    n += 1
    return kept
