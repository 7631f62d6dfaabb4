"""The ranker of the night: the probability that this listener, here and now, listens to the end of this song."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import NotReady
from segue.core.types import Arrays, Candidates, Float32, Query

Float64 = NDArray[np.float64]
_CEILING = 30.0
_ROWS = 4096


class Logistic:
    """Logistic regression over the rows: standardized, L2, Newton's method (IRLS), then calibrated.

    `fit_rows` learns an order from all examples, songs that were offered and not played among them as weak negatives, and
    then how that order translates to finished or not among songs that were played (Platt 1999): a line on the logit that
    keeps the order. Scores are those calibrated probabilities. reg is the L2 penalty of a standardized coefficient in
    units of examples; the intercept is free.
    """

    name: ClassVar[str] = "logistic"

    def __init__(self, *, reg: float = 10.0, epochs: int = 50, tolerance: float = 1e-8) -> None:
        if not (reg > 0 and epochs >= 1 and tolerance > 0):
            raise ValueError(f"reg, epochs and tolerance must be positive; got {reg}, {epochs}, {tolerance}")
        self.reg = reg
        self.epochs = epochs
        self.tolerance = tolerance

    def fit_rows(self, rows: Float32, listened: NDArray[np.bool_], weights: Float32, played: NDArray[np.bool_]) -> Self:
        """Learn from m examples: rows (m, F), whether listened to the end, a weight each, and whether it was played at all.

        Returns self. ValueError if there is nothing to tell apart, or where shapes or values cannot be used.
        """
        if not (rows.ndim == 2 and len(rows) == len(listened) == len(weights) == len(played)):
            raise ValueError(f"{len(listened)} labels, {len(weights)} weights, {len(played)} marks for rows {rows.shape}")
        if not np.isfinite(rows).all() or not listened.any() or listened.all():
            raise ValueError("rows must be finite, and some but not all examples listened to")
        weight = weights.astype(np.float64)
        total = weight.sum()
        table = np.empty((len(rows), rows.shape[1] + 1))  # ones last, for the intercept; the only copy of the rows
        table[:, :-1] = rows
        table[:, -1] = 1.0
        x = table[:, :-1]
        self.mean_ = weight @ x / total
        x -= self.mean_
        spread = np.sqrt(np.einsum("i,ij,ij->j", weight, x, x) / total)
        self.scale_ = np.where(spread > 1e-9, spread, 1.0)
        x /= self.scale_
        x[:, spread <= 1e-9] = 0.0  # a constant says nothing: the penalty keeps its coefficient at 0
        self.coef_ = newton(table, listened, weight, (self.reg, self.epochs, self.tolerance))
        self.line_ = platt((table @ self.coef_)[played], listened[played], weight[played])
        return self

    def arrays(self) -> Arrays:
        """mean, scale (F,), coef (F + 1,) with the intercept last, line (2,): float64."""
        return {"mean": self.mean_, "scale": self.scale_, "coef": self.coef_, "line": self.line_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The inverse of arrays()."""
        self.mean_, self.scale_, self.coef_, self.line_ = (
            np.asarray(arrays[name], np.float64) for name in ("mean", "scale", "coef", "line")
        )
        return self

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        """P(listens to the end if played), (n,) float32 in (0, 1). NotReady before it has learned."""
        return self.probabilities(rows).astype(np.float32)

    def probabilities(self, rows: Float32) -> Float64:
        """P(listens to the end if played), (m,) float64 in (0, 1)."""
        if not hasattr(self, "coef_"):
            raise NotReady("the ranker 'logistic' has not learned yet: run `segue train`, or rank with 'blend'")
        if rows.shape[1] != len(self.mean_):
            raise ValueError(f"the ranker learned from {len(self.mean_)} features, these rows have {rows.shape[1]}")
        weights = self.coef_[:-1] / self.scale_  # the same as standardizing the rows, without a copy of them
        logit = rows.astype(np.float64) @ weights + (self.coef_[-1] - self.mean_ @ weights)
        return sigmoid(self.line_[0] + self.line_[1] * logit)

    def contributions(self, rows: Float32) -> tuple[float, Float64]:
        """(base, (m, F)): coefficient times distance from the mean of the examples, on calibrated log-odds.

        These are the Shapley values of a linear model whose left-out features take their mean (Strumbelj, Kononenko 2014).
        """
        self.probabilities(rows[:0])  # NotReady, and the width of the rows
        weights = self.line_[1] * self.coef_[:-1] / self.scale_
        base = self.line_[0] + self.line_[1] * self.coef_[-1]
        return float(base), (rows.astype(np.float64) - self.mean_) * weights


def sigmoid(logit: Float64) -> Float64:
    """1 / (1 + exp(-logit)), clipped at 30 where float32 has no more to tell."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -_CEILING, _CEILING))))


def platt(logit: Float64, truth: NDArray[np.bool_], weights: NDArray[np.floating] | None = None) -> Float64:
    """(intercept, slope) from logit to logit of the truth (Platt 1999), (m,) both; the identity where there is nothing to
    learn or where that would turn the order over. Targets are pulled in from 0 and 1 as by one example of each kind, which
    keeps the line finite. Weights (m,) count an example so many times (1): where some stand for others left out."""
    identity = np.array([0.0, 1.0])
    if len(truth) == 0 or not truth.any() or truth.all():
        return identity
    weight = np.ones(len(truth)) if weights is None else weights.astype(np.float64)
    yes, no = float(weight[truth].sum()), float(weight[~truth].sum())
    target = np.where(truth, (yes + 1) / (yes + 2), 1 / (no + 2))
    table = np.column_stack((logit, np.ones(len(logit))))
    line = newton(table, target, weight, (1e-6, 50, 1e-8))[::-1]
    return line.copy() if line[1] > 0 else identity


def newton(table: Float64, target: NDArray[np.generic], weights: Float64, settings: tuple[float, int, float]) -> Float64:
    """Weighted L2 logistic regression by Newton's method with step halving; the last column is not penalized.

    settings: (reg, most steps, relative improvement to stop at). target in [0, 1], (m,). Returns (columns,) float64.
    """
    reg, steps, tolerance = settings
    truth = target.astype(np.float64)
    penalty = np.full(table.shape[1], reg)
    penalty[-1] = 1e-9  # keeps the system solvable where every label is the same
    coef = np.zeros(table.shape[1])

    def loss(at: Float64) -> float:
        logit = table @ at
        # log(1 + e^x) without overflow; np.logaddexp takes ten times as long
        soft = np.maximum(logit, 0) + np.log1p(np.exp(-np.abs(logit)))
        return float(weights @ (soft - truth * logit) + 0.5 * penalty @ (at * at))

    best = loss(coef)
    for _ in range(steps):
        gradient, curve = _slopes(table, truth, weights, coef)
        curve[np.diag_indices_from(curve)] += penalty
        step = np.linalg.solve(curve, gradient + penalty * coef)
        shrink, now = 1.0, loss(coef - step)
        while now > best and shrink > 1e-6:
            shrink /= 2
            now = loss(coef - shrink * step)
        if now > best:
            break
        coef, gain, best = coef - shrink * step, best - now, now
        if gain <= tolerance * max(abs(best), 1.0):
            break
    return coef


def _slopes(table: Float64, truth: Float64, weights: Float64, coef: Float64) -> tuple[Float64, Float64]:
    """Gradient and curvature of the unpenalized loss, a block of rows at a time: a block stays in the cache."""
    gradient = np.zeros(len(coef))
    curve = np.zeros((len(coef), len(coef)))
    for start in range(0, len(table), _ROWS):
        block = table[start : start + _ROWS]
        weight = weights[start : start + _ROWS]
        p = sigmoid(block @ coef)
        gradient += block.T @ (weight * (p - truth[start : start + _ROWS]))
        curve += (block * (weight * np.maximum(p * (1 - p), 1e-12))[:, None]).T @ block
    return gradient, curve
