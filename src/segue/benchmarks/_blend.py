"""What the two listening benchmarks share: lists of sources, evidence as columns, a learned blend, bootstrap and search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from segue.core.stages import CandidateSource
from segue.core.types import MISSING, Float32, Int32, Int64, Query

Float64 = NDArray[np.float64]


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Lists:
    """The answers of one source: items (n, k) int32, MISSING where it offered fewer; scores (n, k) float32."""

    items: Int32
    scores: Float32


def ask(source: CandidateSource, queries: Iterable[Query], k: int) -> Lists:
    """The k best of the source for each query."""
    items, scores = [], []
    for query in queries:
        answer = source.retrieve(query, k)
        row = np.full(k, MISSING, np.int32)
        row[: len(answer)] = answer.items
        value = np.zeros(k, np.float32)
        value[: len(answer)] = answer.scores
        items.append(row)
        scores.append(value)
    return Lists(np.array(items).reshape(-1, k), np.array(scores).reshape(-1, k))


def ranks(items: Int32, targets: Int32) -> Int64:
    """Place of each target in its list from 0, the list's length where it is absent."""
    hit = items == targets[:, None]
    return np.asarray(np.where(hit.any(axis=1), hit.argmax(axis=1), items.shape[1]), np.int64)


@dataclass(frozen=True)
class Pairs:
    """All (query, item) pairs that some list holds, by query, then item: ptr (n + 1,), query and item (p,)."""

    ptr: Int64
    query: Int64
    item: Int32

    @staticmethod
    def of(lists: Sequence[Int32], n_items: int) -> Pairs:
        """The union of lists (n, k) of the same queries."""
        keys = []
        for items in lists:
            query, place = np.nonzero(items != MISSING)
            keys.append(query * np.int64(n_items) + items[query, place])
        every = np.unique(np.concatenate(keys))
        query = every // n_items
        return Pairs(np.searchsorted(query, np.arange(len(lists[0]) + 1)), query, (every % n_items).astype(np.int32))

    def columns(self, lists: Lists, n_items: int) -> Float32:
        """What one source says of each pair, (p, 4): is listed, score over the list's best, its log, 1 / log2(2 + rank)."""
        query, place = np.nonzero(lists.items != MISSING)
        keys = query * np.int64(n_items) + lists.items[query, place]
        every = self.query * np.int64(n_items) + self.item
        where = np.minimum(np.searchsorted(every, keys), len(every) - 1)
        inside = every[where] == keys  # a list may be read deeper than the union goes
        query, place, where = query[inside], place[inside], where[inside]
        best = np.maximum(lists.scores.max(axis=1, initial=0.0), 1e-30)
        share = np.maximum(lists.scores[query, place] / best[query], 1e-4)
        out = np.zeros((len(self.item), 4), np.float32)
        out[where] = np.stack((np.ones(len(where)), share, np.log(share) / 4, 1 / np.log2(2 + place)), axis=1)
        return out


class Choice:
    """Conditional logit (McFadden 1974): P(item | query) = softmax over the query's pairs of features @ weights.

    Trained on the pairs that were chosen, each query counting once; L2 on the weights of standardized features.
    """

    def __init__(self, *, reg: float = 1e-2) -> None:
        self.reg = reg

    def fit(self, features: Float32, ptr: Int64, chosen: NDArray[np.bool_]) -> Choice:
        """features (p, F); ptr (n + 1,) queries; chosen (p,): one or more a query, queries without any teach nothing."""
        x, ptr, target = self._teaching(features, ptr, chosen)
        self.scale_ = np.maximum(x.std(axis=0, dtype=np.float64), 1e-6).astype(np.float32)
        x = x / self.scale_
        query = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
        pulled = x.T @ target

        def loss(weights: Float64) -> tuple[float, Float64]:
            logits = (x @ weights.astype(np.float32)).astype(np.float64)
            top = np.maximum.reduceat(logits, ptr[:-1])
            raised = np.exp(logits - top[query])
            total = np.add.reduceat(raised, ptr[:-1])
            value = np.sum(top + np.log(total)) - weights @ pulled
            slope = x.T @ (raised / total[query]).astype(np.float32) - pulled
            n = len(ptr) - 1
            return value / n + self.reg * float(weights @ weights), slope / n + 2 * self.reg * weights

        found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        self.weights_ = (found.x / self.scale_).astype(np.float32)
        return self

    @staticmethod
    def _teaching(features: Float32, ptr: Int64, chosen: NDArray[np.bool_]) -> tuple[Float32, Int64, Float32]:
        """The queries with a chosen pair: features, ptr, and for each pair 1 / chosen of its query, or 0."""
        sizes = np.diff(ptr)
        query = np.repeat(np.arange(len(sizes)), sizes)
        hits = np.bincount(query[chosen], minlength=len(sizes))
        kept = hits > 0
        rows = kept[query]
        target = chosen[rows] / hits[query[rows]]
        return features[rows], np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes[kept]))), target.astype(np.float32)

    def score(self, features: Float32) -> Float32:
        """(p,) float32."""
        return np.asarray(features @ self.weights_, np.float32)


def best_of(pairs: Pairs, scores: Float32, k: int) -> Int32:
    """Lists (n, k) of the best pairs of each query, ties by smaller item, MISSING where there are fewer."""
    order = np.lexsort((pairs.item, -scores, pairs.query))
    place = np.arange(len(order)) - pairs.ptr[pairs.query]
    out = np.full((len(pairs.ptr) - 1, k), MISSING, np.int32)
    kept = place < k
    out[pairs.query[kept], place[kept]] = pairs.item[order][kept]
    return out


def interval(values: Float64, groups: Int64, draws: int = 2000) -> list[float]:
    """95 % bootstrap interval of the mean of values, groups (sessions, playlists) drawn with replacement; seeded."""
    ids, place = np.unique(groups, return_inverse=True)
    total = np.bincount(place, values)
    count = np.bincount(place).astype(np.float64)
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(ids), len(ids)) for _ in range(draws)]
    means = [total[pick].sum() / count[pick].sum() for pick in picks]
    return [round(float(q), 4) for q in np.quantile(means, (0.025, 0.975))]


def gain(ours: Mapping[str, Float64], theirs: Mapping[str, Float64], groups: Int64) -> dict[str, object]:
    """Ours less theirs, figure by figure, with 95 % paired bootstrap intervals: each draw takes both from the same groups.

    values (n,) of the same n queries, NaN where a query does not count.
    """
    out: dict[str, object] = {}
    for name in ours:
        difference = ours[name] - theirs[name]
        counts = ~np.isnan(difference)
        out[f"{name}_gain"] = round(float(difference[counts].mean()), 4) if counts.any() else None
        out[f"{name}_gain_interval"] = interval(difference[counts], groups[counts]) if counts.any() else None
    return out


def search(
    grid: Mapping[str, Sequence[Any]], quality: Callable[[dict[str, Any]], float], rounds: int = 1
) -> tuple[dict[str, Any], float]:
    """Coordinate search from the first value of each hyperparameter; a later value must be strictly better."""
    chosen = {name: values[0] for name, values in grid.items()}
    best = quality(chosen)
    for _ in range(rounds):
        for name, values in grid.items():
            for value in values:
                if value != chosen[name]:
                    trial = {**chosen, name: value}
                    reached = quality(trial)
                    if reached > best:
                        best, chosen = reached, trial
    return chosen, best
