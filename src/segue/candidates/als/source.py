"""The source `Als` (M2): taste as vectors, learned by night, followed by day through fold-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from segue.candidates._topk import best_k, top_k
from segue.candidates.als import index
from segue.candidates.als.foldin import Evidence, FoldIn, gather
from segue.candidates.als.matrix import Confidences, column_sums, confidence_curve, confidences
from segue.candidates.als.solver import Factorizer, lengths, readonly
from segue.core.types import MISSING, Arrays, Float32, History, Int32, Query, Scored

_USERS = 1 << 16
"""Users a chunk of the night's top-k: bounds what is copied."""


class Als:
    """Implicit matrix factorization with our own kernels (Hu et al. 2008; Rendle et al. 2021); see solver.Factorizer.

    A pair's net signal over the last `window_days` is the evidence: +n wanted with confidence 1 + repeat_weight * ln n, -n not
    wanted with confidence skip_weight * (1 + repeat_weight * ln n), 0 unknown. All unobserved pairs together weigh
    `unobserved_ratio` times the observed ones: unlike the weight of one pair (`unobserved_weight`, which overrides it), that
    number travels between catalogues of 2,000 and of a million items. The best `top_k` items of every user are stored, heard
    ones as well: what may be repeated is for the filters to say, and it changes by the hour.
    """

    name: ClassVar[str] = "als"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        embedding_size: int = 64,
        epochs: int = 8,
        warm_epochs: int = 3,
        unobserved_ratio: float = 16.0,
        unobserved_weight: float | None = None,
        reg: float = 0.01,
        reg_exponent: float = 1.0,
        repeat_weight: float = 0.5,
        skip_weight: float = 1.0,
        window_days: float = 90.0,
        top_k: int = 100,
        threads: int = 2,
        progress: Callable[[int, float], None] | None = None,
    ) -> None:
        self.embedding_size = embedding_size
        self.epochs = epochs
        self.warm_epochs = warm_epochs
        self.unobserved_ratio = unobserved_ratio
        self.unobserved_weight = unobserved_weight
        self.reg = reg
        self.reg_exponent = reg_exponent
        self.repeat_weight = repeat_weight
        self.skip_weight = skip_weight
        self.window_days = window_days
        self.top_k = top_k
        self.threads = threads
        self.progress = progress
        self.warm: Float32 | None = None
        self._only: Int32 | None = None
        self.items_ = np.zeros((0, embedding_size), np.float32)  # before the first fit nothing is known of anyone
        self.mass_ = np.zeros(0, np.float32)

    def only_for(self, users: Int32) -> Self:
        """The next fit stores top lists of these users only; the vectors do not depend on it. Returns self."""
        self._only = np.unique(users)
        return self

    def warm_start(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Begin the next fit from the user vectors of an earlier one; ids never change, so new users are new rows at the end.

        That fit takes `warm_epochs` instead of `epochs`. Ignored when the embedding size differs or nothing was learned.
        Returns self.
        """
        users = np.asarray(arrays["users"], np.float32)
        self.warm = users if users.size and users.shape[1] == self.embedding_size else None
        return self

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn vectors and the top lists. Memory beside the history: 16 bytes a pair and 4 * (d + top_k) a user, at most."""
        since = max(0, int(history.now / 1000 - self.window_days * 86_400))
        curve = confidence_curve(self.repeat_weight, self.skip_weight)
        by_user = confidences(history, since, curve)
        solver = self._solver(by_user, history.n_items)
        start = self._start(history.n_users, rng)
        self.warm = None
        factors = solver.fit(by_user, history.n_items, rng, start, self.progress)
        mass, norms = by_user.mass(), lengths(factors.items)
        outer = _mean_outer(factors.items, column_sums(by_user, history.n_items))
        del by_user  # the lists of everyone take its place in memory
        learned: Arrays = {
            "users": factors.users,
            "items": factors.items,
            "spectrum": factors.spectrum,
            "mass": mass,
            "outer": outer,
            "norms": norms,
            "fitted_at": np.array([history.now], np.int64),
            "rules": np.array([solver.unobserved_weight, self.reg, self.reg_exponent], np.float64),
            "curve": curve,
            "losses": np.array(factors.losses, np.float64),
            "top": self._top_lists(factors.users, factors.items, mass),
        }
        if history.n_items > index.EXACT:
            cells = index.build(factors.items, norms, rng, self.threads)
            learned |= {f"cells_{name}": array for name, array in cells._asdict().items()}
        return self.load(learned)

    def arrays(self) -> Arrays:
        """users (n_users, d), items (n_items, d), top (n_users, top_k) int32 and what fold-in needs."""
        return dict(self.arrays_)

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take arrays as they are, memory-mapped or not; nothing is read but the few small ones."""
        self.arrays_: Arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.users_ = readonly(np.asarray(arrays["users"], np.float32))
        self.items_ = readonly(np.asarray(arrays["items"], np.float32))
        self.norms_ = readonly(np.asarray(arrays["norms"], np.float32))
        self.mass_ = readonly(np.asarray(arrays["mass"], np.float32))
        self.spectrum_ = np.array(arrays["spectrum"], np.float32)
        self.outer_ = np.array(arrays["outer"], np.float32)
        self.top_ = np.asarray(arrays["top"], np.int32)
        self.losses_ = tuple(np.asarray(arrays["losses"], np.float64).tolist())
        self.fitted_at_ = int(np.asarray(arrays["fitted_at"], np.int64)[0])
        weight, reg, exponent = (float(x) for x in np.asarray(arrays["rules"], np.float64))
        self.folding_ = FoldIn(weight, reg, exponent, np.array(arrays["curve"], np.float32))
        self.cells_: index.Cells | None = None
        if "cells_ptr" in arrays:
            cells: dict[str, Any] = {name: readonly(np.asarray(arrays[f"cells_{name}"])) for name in index.Cells._fields}
            self.cells_ = index.Cells(**cells)
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The night's list of the listener, or the best for the vector that fresh signals and seeds make of it."""
        if not len(self.items_):
            return Scored.none()
        evidence, fresh = self._evidence(query)
        if not fresh:
            return self.for_user(query.user, limit)
        return self.nearest(self.fold_in(evidence, query.user), limit)

    def for_user(self, user: int, limit: int) -> Scored:
        """The stored list of a user, searched anew where more is asked than was stored; none for an unknown user."""
        if not self._knows(user):
            return Scored.none()
        if limit > self.top_.shape[1]:
            return self.nearest(self.users_[user], limit)
        ids, vector = self.top_[user], self.users_[user]
        ids = ids[(ids != MISSING) & (self.norms_[ids] > 0)]
        scores = self.items_[ids] @ vector  # not stored: computing them costs less than reading them from disk
        order = np.lexsort((ids, -scores))[: max(limit, 0)]
        return Scored(ids[order], scores[order])

    def vector(self, user: int) -> Float32 | None:
        """The night's vector of a user, (d,), None for one it does not know."""
        return self.users_[user] if self._knows(user) else None

    def fold_in(self, evidence: Evidence, user: int = MISSING) -> Float32:
        """The vector, (d,) float32, of a user after the evidence; of a newcomer when the night does not know the user."""
        known = self._knows(user)
        vector = self.users_[user] if known else np.zeros(self.items_.shape[1], np.float32)
        mass = float(self.mass_[user]) if known else 0.0
        return self.folding_.solve((vector, mass, self.outer_), evidence, self.items_, self.spectrum_)

    def nearest(self, vector: Float32, limit: int) -> Scored:
        """The items with the largest scores for any vector, (d,): exact up to index.EXACT items, nearly so above.

        Items that nobody wanted have no vector and are left out.
        """
        if self.cells_ is not None:
            return Scored(*index.search(self.cells_, vector, limit))
        return _best_known(self.items_ @ vector, self.norms_, limit)

    def similar(self, item: int, limit: int) -> Scored:
        """Items with the same listeners, by cosine of factors, the item itself left out; none for an item nobody wanted."""
        if not 0 <= item < len(self.items_) or self.norms_[item] == 0:
            return Scored.none()
        unit = self.items_[item] / self.norms_[item]
        if self.cells_ is not None:
            near = Scored(*index.search_cosine(self.cells_, unit, limit + 1))
        else:
            cosines = (self.items_ @ unit) / np.maximum(self.norms_, np.float32(1e-12))
            near = _best_known(cosines, self.norms_, limit + 1)
        other = np.flatnonzero(near.items != item)[: max(limit, 0)]
        return Scored(near.items[other], near.scores[other])

    def score_block(self, rows: sparse.csr_matrix) -> Float32:
        """Scores of all items for listeners known by their rows of net signals alone, (m, n_items) -> (m, n_items) float32.

        Each row is solved to convergence against the items of the night (fold-in of many at once); for evaluation.
        """
        net = rows.data.astype(np.float32)
        a, _ = self.folding_.confidence(net)
        entries = Confidences(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), np.where(net < 0, -a, a))
        return self.folding_.solver().rows(self.items_, self.spectrum_, entries) @ self.items_.T

    def _evidence(self, query: Query) -> tuple[Evidence, bool]:
        """What the query tells of the listener, and whether any of it is news to the night; a seed counts as one signal."""
        recent, seeds = query.recent, query.seeds.items
        items = np.concatenate([recent.items, seeds])
        signal = np.concatenate([recent.signal, np.ones(len(seeds), np.float32)])
        fresh = np.concatenate([recent.at > self.fitted_at_, np.ones(len(seeds), np.bool_)])
        if not self._knows(query.user):
            fresh[:] = True
        told = (signal != 0) & (items >= 0) & (items < len(self.items_))
        if not np.any(told & fresh):
            return Evidence(items[:0], signal[:0], signal[:0]), False
        return gather(items[told], signal[told], fresh[told]), True

    def _knows(self, user: int) -> bool:
        return 0 <= user < len(self.mass_) and self.mass_[user] > 0

    def _solver(self, by_user: Confidences, n_items: int) -> Factorizer:
        weight = self.unobserved_weight
        if weight is None:
            pairs = max(int(np.count_nonzero(np.diff(by_user.ptr))) * n_items, 1)
            weight = max(self.unobserved_ratio * float(np.abs(by_user.val).sum(dtype=np.float64)) / pairs, 1e-9)
        return Factorizer(
            embedding_size=self.embedding_size,
            epochs=self.epochs if self.warm is None else self.warm_epochs,
            unobserved_weight=weight,
            reg=self.reg,
            reg_exponent=self.reg_exponent,
            threads=self.threads,
        )

    def _start(self, n_users: int, rng: np.random.Generator) -> Float32 | None:
        """User vectors to begin with: the earlier ones, zero for users who are new since then."""
        if self.warm is None:
            return None
        start = np.zeros((n_users, self.embedding_size), np.float32)
        start[: len(self.warm)] = self.warm[:n_users]
        return start

    def _top_lists(self, users: Float32, items: Float32, mass: NDArray[np.generic]) -> Int32:
        """top_k of every user with evidence, a chunk at a time; MISSING for the others and where there are fewer items."""
        top = np.full((len(users), self.top_k), MISSING, np.int32)
        wanted = np.asarray(mass, np.float64) > 0
        if self._only is not None:
            wanted &= np.isin(np.arange(len(users), dtype=np.int32), self._only)
        for begin in range(0, len(users), _USERS):
            active = begin + np.flatnonzero(wanted[begin : begin + _USERS])
            top[active] = top_k(users[active], items, self.top_k, self.threads)[0]
        return top


def _best_known(scores: Float32, norms: Float32, limit: int) -> Scored:
    """The best of the items that have a vector."""
    ids, best = best_k(np.where(norms > 0, scores, np.float32(-np.inf)), limit)
    return Scored(ids[ids != MISSING], best[ids != MISSING])


def _mean_outer(items: Float32, weights: Float32) -> Float32:
    """Mean of y y' over observed pairs, (d, d) float32: what one unit of a user's forgotten history is worth."""
    total = np.zeros((items.shape[1], items.shape[1]))
    for a in range(0, len(items), _USERS):
        block = items[a : a + _USERS]
        total += block.T @ (block * weights[a : a + _USERS, None])
    return (total / max(float(weights.sum(dtype=np.float64)), 1e-12)).astype(np.float32)
