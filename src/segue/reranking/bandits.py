"""Bandits over segments of listeners and songs, for shelves of thousands: epsilon-greedy, Thompson sampling, LinUCB."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, exp, pi, sqrt
from typing import ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import polygamma, psi

from segue.core.ports import OnlineState
from segue.core.types import Bool, Candidates, Float32, Int32, Int64, Items, Query

Float64 = NDArray[np.float64]
Picked = tuple[NDArray[np.intp], Float32, Bool]
POINTS, WIDE = 129, 7.0
"""Points of the trapezoid rule for the chance of a Thompson draw to be the largest, and how many deviations it spans."""


def segment_of(query: Query) -> int:
    """Region and age band as one number: the segment that a query belongs to unless told otherwise."""
    return (query.context.region + 1) * 64 + query.context.age_band + 1


class _Counts:
    """What every policy of segments learns: shown and taken, by segment and song; dense float64, 16 bytes a pair."""

    def __init__(self, prior: tuple[float, float], segment: Callable[[Query], int]) -> None:
        if min(prior) <= 0:
            raise ValueError(f"a prior needs a positive number of takes and of refusals; got {prior}")
        self.prior = prior
        self.segment = segment
        self.segments_: Int64 = np.zeros(0, np.int64)
        self.taken_: Float64 = np.zeros((0, 0))
        self.shown_: Float64 = np.zeros((0, 0))

    def learn(self, segments: Int64, items: Int32, taken: Bool) -> Self:
        """Count m songs that were seen, (m,) each, in one batch: by whom, which, and whether it was taken. Returns self."""
        known = np.union1d(self.segments_, segments).astype(np.int64)
        width = max(int(items.max(initial=-1)) + 1, self.taken_.shape[1])
        if len(known) > len(self.segments_) or width > self.taken_.shape[1]:
            rows = np.searchsorted(known, self.segments_)
            for name in ("taken_", "shown_"):
                old, new = getattr(self, name), np.zeros((len(known), width))
                new[rows, : old.shape[1]] = old
                setattr(self, name, new)
            self.segments_ = known
        row = np.searchsorted(self.segments_, segments)
        np.add.at(self.shown_, (row, items), 1.0)
        np.add.at(self.taken_, (row, items), taken.astype(np.float64))
        return self

    def posterior(self, segment: int, items: Int32) -> tuple[Float64, Float64]:
        """(takes, refusals) of each item in a segment, the prior in it: the Beta posterior, (n,) both."""
        taken, shown = np.zeros(len(items)), np.zeros(len(items))
        row = int(np.searchsorted(self.segments_, segment))
        if row < len(self.segments_) and self.segments_[row] == segment:
            known = items < self.taken_.shape[1]
            taken[known], shown[known] = self.taken_[row, items[known]], self.shown_[row, items[known]]
        return taken + self.prior[0], shown - taken + self.prior[1]


class EpsilonGreedy(_Counts):
    """A place goes to the song with the best posterior mean, or with probability `explore` to any of those left, all alike.

    Propensity given those before: (1 - explore) [best] + explore / left. The ranker's scores are not looked at. Ties to
    the smaller item.
    """

    name: ClassVar[str] = "epsilon_greedy"

    def __init__(
        self,
        facts: Callable[[], Items],
        state: OnlineState,
        *,
        explore: float = 0.1,
        prior: tuple[float, float] = (1.0, 99.0),
        segment: Callable[[Query], int] = segment_of,
    ) -> None:
        super().__init__(prior, segment)
        self.explore = explore

    def select(self, query: Query, candidates: Candidates, scores: Float32, rng: np.random.Generator) -> Picked:
        """See core.stages.Reranker."""
        yes, no = self.posterior(self.segment(query), candidates.items)
        left = np.lexsort((candidates.items, -yes / (yes + no))).tolist()
        picks, chances, drawn = [], [], []
        for dice, which in rng.random((min(query.limit, len(left)), 2)):
            at = int(which * len(left)) if dice < self.explore else 0
            chances.append(self.explore / len(left) + (1.0 - self.explore if at == 0 else 0.0))
            picks.append(left.pop(at))
            drawn.append(dice < self.explore)
        return np.array(picks, np.intp), np.array(chances, np.float32), np.array(drawn, np.bool_)

    def slates(self, segments: Int64, n_items: int, k: int, rng: np.random.Generator) -> Int32:
        """The slates of m listeners at once, (m, k), as Bendada et al. 2020 have it: with chance `explore` all random."""
        keys = np.stack([np.divide(*_mean(self, int(s), n_items)) for s in np.unique(segments)])
        keys = keys[np.searchsorted(np.unique(segments), segments)]
        keys[rng.random(len(segments)) < self.explore] = 0.0
        return top(keys, k, rng)


def _mean(policy: _Counts, segment: int, n_items: int) -> tuple[Float64, Float64]:
    """(takes, of how many) of every item."""
    yes, no = policy.posterior(segment, np.arange(n_items, dtype=np.int32))
    return yes, yes + no


class Thompson(_Counts):
    """Each place goes to the song whose posterior draw is the largest; a new draw for every place (Thompson 1933).

    Draws are of the log-odds, normal with the exact moments of the log of a Beta's odds, since then the chance to be the
    largest, the propensity, is one integral of a density times distribution functions: a trapezoid rule of POINTS points.
    Of many candidates the `pool` with the best mean plus deviation draw. The ranker's scores are not looked at.
    """

    name: ClassVar[str] = "thompson"

    def __init__(
        self,
        facts: Callable[[], Items],
        state: OnlineState,
        *,
        prior: tuple[float, float] = (1.0, 99.0),
        pool: int = 100,
        segment: Callable[[Query], int] = segment_of,
    ) -> None:
        super().__init__(prior, segment)
        self.pool = pool

    def select(self, query: Query, candidates: Candidates, scores: Float32, rng: np.random.Generator) -> Picked:
        """See core.stages.Reranker; explored: not the song with the best mean of those left."""
        yes, no = self.posterior(self.segment(query), candidates.items)
        mean, deviation = psi(yes) - psi(no), np.sqrt(polygamma(1, yes) + polygamma(1, no))
        size = max(self.pool, query.limit)
        pool = np.lexsort((candidates.items, -mean - deviation))[:size]
        draws = rng.standard_normal((min(query.limit, len(pool)), len(pool)))
        picks, chances, drawn = _thompson(mean[pool], deviation[pool], draws)
        return pool[picks], chances, drawn

    def slates(self, segments: Int64, n_items: int, k: int, rng: np.random.Generator) -> Int32:
        """The slates of m listeners at once, (m, k): one Beta draw an item, the k largest, as Bendada et al. 2020 have it."""
        out = np.zeros((len(segments), k), np.int32)
        for segment in np.unique(segments).tolist():
            rows = segments == segment
            yes, no = self.posterior(segment, np.arange(n_items, dtype=np.int32))
            out[rows] = top(rng.beta(yes, no, (int(rows.sum()), n_items)), k, rng)
        return out


class LinUcb:
    """Each place goes to the largest upper bound x . theta + alpha sqrt(x' A^-1 x), disjoint models (Li et al. 2010).

    x: what `context` says of the query, (d,). Nothing is drawn: propensities are 1, so logs of this policy alone can judge
    no other. A song keeps d (d + 1) numbers: for shelves, not catalogues. The ranker's scores are not looked at.
    """

    name: ClassVar[str] = "linucb"

    def __init__(
        self,
        facts: Callable[[], Items],
        state: OnlineState,
        *,
        alpha: float = 0.1,
        reg: float = 1.0,
        context: Callable[[Query], Float64] | None = None,
    ) -> None:
        self.alpha, self.reg = alpha, reg
        self.context = context or (lambda query: np.ones(1))
        self.precision_: Float64 = np.zeros((0, 1, 1))  # A of each item
        self.moved_: Float64 = np.zeros((0, 1))  # b of each item

    def _room(self, n: int, d: int) -> None:
        have = len(self.moved_)
        if n > have:
            fresh = np.tile(self.reg * np.eye(d), (n - have, 1, 1))
            self.precision_ = np.concatenate((self.precision_.reshape(-1, d, d) if have else fresh[:0], fresh))
            self.moved_ = np.concatenate((self.moved_ if have else np.zeros((0, d)), np.zeros((n - have, d))))
            self.inverse_ = np.linalg.inv(self.precision_)

    def learn(self, contexts: Float64, items: Int32, taken: Bool) -> Self:
        """Take in m songs that were seen: contexts (m, d), items and whether taken (m,). Returns self."""
        self._room(int(items.max(initial=-1)) + 1, contexts.shape[1])
        for item in np.unique(items).tolist():
            x = contexts[items == item]
            self.precision_[item] += x.T @ x
            self.moved_[item] += taken[items == item].astype(np.float64) @ x
            self.inverse_[item] = np.linalg.inv(self.precision_[item])
        return self

    def bounds(self, contexts: Float64, items: Int32) -> Float64:
        """Upper bounds (m, n) of items (n,) in contexts (m, d)."""
        self._room(int(items.max(initial=-1)) + 1, contexts.shape[1])
        inverse = self.inverse_[items]
        theta = np.einsum("nij,nj->ni", inverse, self.moved_[items])
        spread = np.stack([np.einsum("mi,mi->m", contexts @ one, contexts) for one in inverse], axis=1)
        return np.asarray(contexts @ theta.T + self.alpha * np.sqrt(np.maximum(spread, 0.0)))

    def select(self, query: Query, candidates: Candidates, scores: Float32, rng: np.random.Generator) -> Picked:
        """See core.stages.Reranker."""
        if not len(candidates):
            return np.zeros(0, np.intp), np.zeros(0, np.float32), np.zeros(0, np.bool_)
        bound = self.bounds(self.context(query)[None], candidates.items)[0]
        picks = np.lexsort((candidates.items, -bound))[: query.limit]
        return picks, np.ones(len(picks), np.float32), np.zeros(len(picks), np.bool_)


def top(keys: Float64, k: int, rng: np.random.Generator) -> Int32:
    """The k largest of each row, largest first, equal keys in random order, (m, k)."""
    noisy = keys + 1e-12 * rng.random(keys.shape)
    some = np.argpartition(-noisy, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(noisy, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1).astype(np.int32)


@njit(cache=True, nogil=True)
def _thompson(mean, deviation, draws):  # type: ignore[no-untyped-def]
    """Places by the largest draw of those left; their chances, and whether another had the larger mean."""
    k, n = draws.shape
    picks, chances, drawn = np.empty(k, np.int64), np.empty(k, np.float32), np.zeros(k, np.bool_)
    left = np.ones(n, np.bool_)
    for place in range(k):
        best, favourite, largest = -1, -1, -np.inf
        for i in range(n):
            if not left[i]:
                continue
            if favourite < 0 or mean[i] > mean[favourite]:
                favourite = i
            value = mean[i] + deviation[i] * draws[place, i]
            if value > largest:
                best, largest = i, value
        picks[place], drawn[place] = best, best != favourite
        chances[place] = max(_largest(best, mean, deviation, left), 1e-9)
        left[best] = False
    return picks, chances, drawn


@njit(cache=True, nogil=True)
def _largest(i, mean, deviation, left):  # type: ignore[no-untyped-def]
    """P(the draw of i is the largest of those left)."""
    step, total = 2 * WIDE / (POINTS - 1), 0.0
    for p in range(POINTS):
        z = -WIDE + p * step
        x, density = mean[i] + deviation[i] * z, exp(-z * z / 2) / sqrt(2 * pi)
        for j in range(len(mean)):
            if left[j] and j != i:
                density *= 0.5 * (1 + erf((x - mean[j]) / (deviation[j] * sqrt(2.0))))
                if density < 1e-15:
                    break
        total += density * step
    return min(total, 1.0)
