"""Whether probabilities mean what they say: log loss, area under the curve, and the slope and intercept of calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EDGE = 1e-7


@dataclass(frozen=True)
class Calibration:
    """How n probabilities fared. A slope of 1 and an intercept of 0 are perfect; a slope below 1 is too sure of itself."""

    n: int
    rate: float  # share of examples that came true
    logloss: float
    base_logloss: float  # of always saying `rate`
    auc: float  # NaN where only one kind of outcome is there
    slope: float  # of the logistic regression of the outcome on logit(p) (Cox 1958), NaN likewise
    intercept: float


def calibration(p: NDArray[np.floating], truth: NDArray[np.bool_]) -> Calibration:
    """Judge probabilities p (n,) against what happened, (n,) bool. Everything is NaN for n = 0."""
    if len(p) == 0:
        return Calibration(0, *[np.nan] * 6)
    q = np.clip(np.asarray(p, np.float64), _EDGE, 1 - _EDGE)
    rate = float(truth.mean())
    base = np.clip(rate, _EDGE, 1 - _EDGE)
    slope, intercept = (np.nan, np.nan) if rate in (0.0, 1.0) else _cox(np.log(q / (1 - q)), truth)
    return Calibration(
        n=len(p),
        rate=rate,
        logloss=_logloss(q, truth),
        base_logloss=_logloss(np.full(len(p), base), truth),
        auc=auc(q, truth),
        slope=slope,
        intercept=intercept,
    )


def auc(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Probability that a true example scores above a false one, ties half (Mann-Whitney); NaN if one kind is missing."""
    yes = int(truth.sum())
    no = len(truth) - yes
    if yes == 0 or no == 0:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0  # mean rank from 1 of each group of ties
    return float((middle[place][truth].sum() - yes * (yes + 1) / 2) / (yes * no))


def _logloss(p: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    return float(-np.mean(np.where(truth, np.log(p), np.log1p(-p))))


def _cox(logit: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept by Newton's method; a whiff of a penalty keeps separable data finite."""
    table = np.column_stack((logit, np.ones(len(logit))))
    line = np.zeros(2)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(table @ line, -30, 30)))
        gradient = table.T @ (p - truth) + 1e-6 * line
        curve = (table * (p * (1 - p))[:, None]).T @ table + 1e-6 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        line -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    return float(line[0]), float(line[1])
