"""A weighted sum of what several models say, each user's scores standardized, with weights chosen on cuts of train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._topn import BLOCK, K, Split, mask
from segue.benchmarks._topn_models import Score
from segue.candidates._topk import best_rows
from segue.core.types import Float32, Int64

POOL = 100
"""Items of each model that the choice of weights looks at."""
STEPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""What a weight may be."""


def standardized(scores: Float32) -> Float32:
    """Each row less its mean, over its deviation, in place; a row without any becomes zeros."""
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.einsum("mn,mn->m", scores, scores) / max(scores.shape[1], 1))[:, None]
    scores /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    return scores


def blend(scores: Mapping[str, Score], weights: Mapping[str, float]) -> Score:
    """The weighted sum of standardized scores; a user of whom nothing is known gets what is popular."""

    def score(users: Int64) -> Float32:
        total = np.float32(1e-6) * standardized(scores["popularity"](users))
        for name, weight in weights.items():
            if weight:
                total += np.float32(weight) * standardized(scores[name](users))
        return total

    return score


@dataclass(frozen=True)
class Pool:
    """Items that some model ranks high: says (models, m, w) standardized scores, -inf beyond a row's end; hit (m, w)."""

    says: Float32
    hit: NDArray[np.bool_]
    held: Int64  # (m,) items held out of each user

    def quality(self, weights: NDArray[np.float64]) -> float:
        """Mean over users of (recall@20 + NDCG@20) / 2."""
        total = np.tensordot(weights.astype(np.float32), self.says, 1)
        total[np.isnan(total)] = -np.inf
        place, _ = best_rows(np.ascontiguousarray(total), K)
        hits = np.take_along_axis(self.hit, np.maximum(place, 0), axis=1) & (place >= 0)
        gain = 1 / np.log2(np.arange(2, K + 2))
        ideal = np.cumsum(gain)[np.minimum(self.held, K) - 1]
        return float((hits.sum(axis=1) / self.held + hits @ gain / ideal).mean() / 2)


def pool(scores: Sequence[Score], split: Split, users: Int64) -> Pool:
    """What the models say of the items that any of them ranks among its first POOL, for users with something held out."""
    parts = [_pool_block(scores, split, users[a : a + BLOCK]) for a in range(0, len(users), BLOCK)]
    width = max(part[1].shape[1] for part in parts)
    says = np.full((len(scores), len(users), width), np.nan, np.float32)
    hit = np.zeros((len(users), width), np.bool_)
    for k, (block, hits) in enumerate(parts):
        rows = slice(k * BLOCK, k * BLOCK + len(hits))
        says[:, rows, : hits.shape[1]], hit[rows, : hits.shape[1]] = block, hits
    return Pool(says, hit, np.diff(split.test.indptr)[users].astype(np.int64))


def _pool_block(scores: Sequence[Score], split: Split, users: Int64) -> tuple[Float32, NDArray[np.bool_]]:
    """(models, m, w) and (m, w) of one block; items ascend, so that ties go to the smaller one."""
    said, chosen = [], np.zeros((len(users), split.train.shape[1]), np.bool_)
    for score in scores:
        part = standardized(score(users))
        said.append(part)
        masked = part.copy()
        mask(masked, split.train[users])
        items = best_rows(masked, POOL)[0]
        rows, places = np.nonzero(items >= 0)
        chosen[rows, items[rows, places]] = True
    rows, columns = np.nonzero(chosen)
    places = np.arange(len(rows)) - np.searchsorted(rows, np.arange(len(users)))[rows]
    says = np.full((len(scores), len(users), int(places.max(initial=0)) + 1), np.nan, np.float32)
    for k, part in enumerate(said):
        says[k, rows, places] = part[rows, columns]
    hit = np.zeros(says.shape[1:], np.bool_)
    hit[rows, places] = split.test[users].toarray()[rows, columns] > 0
    return says, hit


def choose_weights(pools: Sequence[Pool], names: Sequence[str], rounds: int = 3) -> tuple[dict[str, float], float]:
    """Coordinate search over STEPS from the best single model and from all alike; the better end wins.

    A step must gain at least 1e-5, and ties go to the weight tried first. Returns weights, the largest 1, and the quality.
    """

    def quality(weights: NDArray[np.float64]) -> float:
        return float(np.mean([part.quality(weights) for part in pools]))

    alone = [quality(row) for row in np.eye(len(names))]
    ends = [_ascend(np.eye(len(names))[int(np.argmax(alone))], quality, rounds)]
    alike = np.array([float(value > 0.5 * max(alone)) for value in alone])
    ends.append(_ascend(alike, quality, rounds))
    weights, best = max(ends, key=lambda end: end[1])
    return dict(zip(names, (weights / weights.max()).tolist(), strict=True)), best


def _ascend(
    weights: NDArray[np.float64], quality: Callable[[NDArray[np.float64]], float], rounds: int
) -> tuple[NDArray[np.float64], float]:
    best = quality(weights)
    for _ in range(rounds):
        before = best
        for k in range(len(weights)):
            for step in STEPS:
                trial = weights.copy()
                trial[k] = step
                if trial.any() and (reached := quality(trial)) > best + 1e-5:
                    weights, best = trial, reached
        if best == before:
            break
    return weights, best
