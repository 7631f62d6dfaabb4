"""Sessions like this one, and what they played near the place where they meet it: session-based nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.candidates._neighbours import Groups, build_groups, nearest, offers
from segue.candidates._pull import Reading
from segue.candidates._sparse import frozen, scored, taken
from segue.core.types import MISSING, Arrays, Float32, History, Int64, Query, Scored

DAY_S = 86_400.0


class SessionKnn:
    """V-SkNN and STAN in one (Ludewig and Jannach 2018, arXiv:1803.09587; Garg et al. 2019, arXiv:1905.12188).

    similarity(q, s) = sum over shared finished items of  recency weight * idf
                       * length(s)^-length_norm * 2^(-age(s) / half_life_days) * (own_boost where s is the listener's own)
    score(j) = sum over the `neighbours` nearest sessions of similarity * place_decay^|place of j - place matched|
               * popularity(j)^-popularity_exponent
    and an item that the neighbour skipped counts -skip_weight. Skipped songs of the query push sessions away (Reading.skip).
    The inverted index holds the latest `sample` sessions of an item, so a request reads at most depth * sample entries.
    """

    name: ClassVar[str] = "session_knn"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        neighbours: int = 200,
        sample: int = 200,
        reach: int = 40,
        place_decay: float = 0.97,
        half_life_days: float = 365.0,
        length_norm: float = 0.5,
        own_boost: float = 2.0,
        popularity_exponent: float = 0.0,
        skip_weight: float = 0.5,
        reading: Reading | None = None,
    ) -> None:
        self.neighbours = neighbours
        self.sample = sample
        self.reach = reach
        self.place_decay = place_decay
        self.half_life_days = half_life_days
        self.length_norm = length_norm
        self.own_boost = own_boost
        self.popularity_exponent = popularity_exponent
        self.skip_weight = skip_weight
        self.reading = reading or Reading()
        empty = np.zeros(0, np.float32)
        self._set(Groups.empty(), empty, empty, np.zeros(1, np.int64))

    def _set(self, groups: Groups, weight: Float32, item_weight: Float32, user_ptr: Int64) -> None:
        self.groups_ = groups.frozen()
        self.weight_ = frozen(weight, np.float32)
        self.item_weight_ = frozen(item_weight, np.float32)
        self.user_ptr_ = frozen(user_ptr, np.int64)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Index the sessions; deterministic, `rng` is not used. About 14 bytes a play beside the history."""
        said = history.signal != 0
        group, item, at = history.session, history.item, history.at
        liked = history.signal > 0
        if not said.all():  # rows that say nothing would only lengthen the sessions
            group, item, at, liked = group[said], item[said], at[said], liked[said]
        shape = (history.n_sessions, history.n_items)
        groups = build_groups(group, item, liked, at, shape, self.sample)
        length = np.diff(groups.ptr)
        newest = np.zeros(shape[0])
        newest[length > 0] = at[groups.ptr[1:][length > 0] - 1]
        age_days = (history.now / 1000.0 - newest) / DAY_S
        with np.errstate(under="ignore"):
            weight = np.exp2(-age_days / self.half_life_days) / np.maximum(length, 1) ** self.length_norm
        plays = np.bincount(item[liked], minlength=shape[1])
        item_weight = (np.maximum(plays, 1.0) ** -self.popularity_exponent).astype(np.float32)
        first_row = np.searchsorted(history.user, np.arange(history.n_users + 1))
        ends = np.append(history.session, shape[0])
        self._set(groups, np.maximum(weight, 1e-30).astype(np.float32), item_weight, ends[first_row])
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """Songs of the sessions nearest to this one; nothing for a listener who has finished nothing."""
        pulls = self.reading.pulls(query)
        if not len(pulls) or not len(self.item_weight_):
            return Scored.none()
        g = self.groups_
        index = (g.index_ptr, g.index_group, g.index_place, g.idf)
        asked = (pulls.items, pulls.weights)
        found = nearest(asked, index, self.weight_, self._own(query.user), self.neighbours)
        settings = (self.reach, self.place_decay, self.skip_weight)
        return scored(offers(found, (g.ptr, g.items), self.item_weight_, settings, limit))

    def _own(self, user: int) -> tuple[int, int, float]:
        """The listener's own sessions are contiguous: from, to, how much more they count."""
        if user == MISSING or not 0 <= user < len(self.user_ptr_) - 1:
            return 0, 0, 1.0
        return int(self.user_ptr_[user]), int(self.user_ptr_[user + 1]), self.own_boost

    def arrays(self) -> Arrays:
        """The sessions and their index (see Groups), weight (sessions,), item_weight (n_items,), user_ptr (n_users + 1,)."""
        return {
            **self.groups_.arrays(),
            "weight": self.weight_,
            "item_weight": self.item_weight_,
            "user_ptr": self.user_ptr_,
        }

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        weight, item_weight = taken(arrays, "weight", np.float32), taken(arrays, "item_weight", np.float32)
        self._set(Groups.of(arrays), weight, item_weight, taken(arrays, "user_ptr", np.int64))
        return self
