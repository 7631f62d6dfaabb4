"""Figures of probabilities of plays: area under the curve, overall and within listeners, log loss, calibration, intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Bool, Int64
from segue.evaluation.calibration import auc, calibration

Float64 = NDArray[np.float64]
ROUNDS = 1000


def judge(p: Float64, truth: Bool, user: Int64, *, gauc: bool) -> dict[str, object]:
    """AUC, log loss, slope and intercept of calibration of p (m,); GAUC too where it means something. 95 % intervals are
    percentile bootstraps over users, with the plays of a user together."""
    got = calibration(p, truth)
    drawn = draws(user)
    aucs, losses = weighted_auc(p, truth, drawn), drawn @ loss(p, truth) / drawn.sum(axis=1)
    out: dict[str, object] = {"auc": round(got.auc, 4), "auc_interval": interval(aucs)}
    if gauc:
        means, weights, rows = within_users(p, truth, user)
        by_user = drawn[:, rows] * weights
        out["gauc"] = round(float(means @ weights / weights.sum()), 4)
        out["gauc_interval"] = interval(by_user @ means / by_user.sum(axis=1))
        out["gauc_users"] = len(means)
    out |= {"logloss": round(got.logloss, 4), "logloss_interval": interval(losses)}
    return out | {"calibration_slope": round(got.slope, 3), "calibration_intercept": round(got.intercept, 3)}


def versus(ours: Float64, theirs: Float64, truth: Bool, user: Int64) -> dict[str, object]:
    """Ours less theirs by a paired bootstrap over users: the same draws for both."""
    drawn = draws(user)
    auc_gain = weighted_auc(ours, truth, drawn) - weighted_auc(theirs, truth, drawn)
    loss_gain = drawn @ (loss(ours, truth) - loss(theirs, truth)) / drawn.sum(axis=1)
    return {
        "auc_gain": round(auc(ours, truth) - auc(theirs, truth), 4),
        "auc_gain_interval": interval(auc_gain),
        "logloss_gain": round(float((loss(ours, truth) - loss(theirs, truth)).mean()), 4),
        "logloss_gain_interval": interval(loss_gain),
    }


def draws(user: Int64) -> Float64:
    """How often each of m plays is drawn in each of ROUNDS bootstraps over users, (ROUNDS, m)."""
    known, place = np.unique(user, return_inverse=True)
    rng = np.random.default_rng(0)
    n = len(known)
    times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(ROUNDS)])
    return times[:, place].astype(np.float64)


def weighted_auc(p: Float64, truth: Bool, weights: Float64) -> Float64:
    """AUC under each row of weights (rounds, m), ties half; NaN where a draw has one kind only."""
    order = np.argsort(p, kind="stable")
    first = np.flatnonzero(np.concatenate(([True], np.diff(p[order]) > 0)))
    yes = np.add.reduceat((weights * truth)[:, order], first, axis=1)
    no = np.add.reduceat((weights * ~truth)[:, order], first, axis=1)
    below = np.cumsum(no, axis=1) - no / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((yes * below).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1)))


def within_users(p: Float64, truth: Bool, user: Int64) -> tuple[Float64, Float64, NDArray[np.intp]]:
    """(AUC of each user with both kinds, its plays, the place of one of its plays)."""
    order = np.argsort(user, kind="stable")
    means, weights, rows = [], [], []
    for part in np.split(order, np.flatnonzero(np.diff(user[order])) + 1):
        if truth[part].any() and not truth[part].all():
            means.append(auc(p[part], truth[part]))
            weights.append(len(part))
            rows.append(int(part[0]))
    return np.array(means), np.array(weights, np.float64), np.array(rows, np.intp)


def loss(p: Float64, truth: Bool) -> Float64:
    """The logistic loss of each play."""
    q = np.clip(p, 1e-7, 1 - 1e-7)
    return np.asarray(-np.where(truth, np.log(q), np.log1p(-q)))


def interval(values: Float64) -> list[float]:
    """95 % of the draws."""
    low, high = np.nanquantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return [round(float(low), 4), round(float(high), 4)]
