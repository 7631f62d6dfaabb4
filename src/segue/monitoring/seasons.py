"""Seasonal baseline by hour of the week, and a one-sided CUSUM on what is left: slow drops are found, noise is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Float64 = NDArray[np.float64]
WEEK, DAY = 168, 24
SEASON_WEEKS, LEVEL_WEEKS, LEAST_WEEKS = 8, 4, 2
"""Weeks that the shape of the week, and its level, are learned from; and the least that anything is said after."""
OVERSHOOT = 0.5826
"""Siegmund (1985): a random walk overshoots its boundary by about so many standard deviations of a step."""
CAP, HOLD = 1.25, 0.5
"""How far above its boundary a CUSUM may stand, in boundaries, and how low it must fall to be no longer
raised: what lets an alarm end soon after its cause, and not flicker before."""


@dataclass(frozen=True)
class Residuals:
    """How far each hour lay from what was expected, and the spread of a day's sum of it; every field (..., hours).

    residual is (seen - expected) / expected of its day, so that a day 4 % below adds up to -0.04; 0 where nothing is expected
    yet. expected is in the metric's unit for sums, in numerators for ratios; NaN before LEAST_WEEKS, and so is sigma. steps is
    how many independent parts a day's noise has: 24 where each hour errs for itself, 1 where a whole day errs together.
    """

    residual: Float64
    expected: Float64
    sigma: Float64
    steps: Float64


def residuals(num: Float64, den: Float64) -> Residuals:
    """num and den (..., hours) from a Monday 00:00 on, whole weeks; den 0 = not over yet or not watched; 1 for plain sums.

    For each week: the shape of the week is a ratio of sums over up to 8 weeks before it, the level one over up to 4; what
    happens in a week never enters its own baseline. The spread is that of daily sums in those weeks, outliers cut at three
    robust deviations, widened for what the fit took and for being estimated.
    """
    weeks = num.shape[-1] // WEEK
    shape = (*num.shape[:-1], weeks, WEEK)
    n, d = num.reshape(shape).astype(np.float64), den.reshape(shape).astype(np.float64)
    residual, expected = np.zeros(shape), np.full(shape, np.nan)
    sigma, steps = np.full(shape, np.nan), np.full(shape, np.nan)
    for week in range(LEAST_WEEKS, weeks):
        back = slice(max(0, week - SEASON_WEEKS), week)
        season = _season(n[..., back, :], d[..., back, :])
        before, seen = season[..., None, :] * d[..., back, :], n[..., back, :]
        recent = slice(-min(LEVEL_WEEKS, week), None)
        level = _ratio(seen[..., recent, :].sum((-2, -1)), before[..., recent, :].sum((-2, -1)))[..., None]
        expect = season * level * d[..., week, :]
        typical = (before.sum(-2) / np.maximum((d[..., back, :] > 0).sum(-2), 1)) * level
        whole = np.maximum(_by_day(expect), _by_day(typical))
        residual[..., week, :] = _ratio(n[..., week, :] - expect, np.repeat(whole, DAY, axis=-1))
        enough = (_by_day(d[..., back, :]) > 0).sum(
            (-2, -1)
        ) >= 7 * LEAST_WEEKS  # each weekday more than once, or it fits itself
        expected[..., week, :] = np.where(enough[..., None], expect, np.nan)
        spread, parts = _spread(seen, before)
        sigma[..., week, :] = np.where(enough, spread, np.nan)[..., None]
        steps[..., week, :] = parts[..., None]
    told = np.isfinite(expected)
    return Residuals(*(x.reshape(num.shape) for x in (np.where(told, residual, 0.0), expected, sigma, steps)))


def _season(num: Float64, den: Float64) -> Float64:
    """What an hour of the week holds, (..., 168): a ratio of sums, hours with little to divide by drawn to the mean of all."""
    top, bottom = num.sum(-2), den.sum(-2)
    plain = np.all(den <= 1, axis=(-2, -1), keepdims=False)[..., None]  # sums have no thin hours: each week counts once
    weight = np.where(plain, 0.0, 0.02 * bottom.mean(-1, keepdims=True))
    mean = _ratio(top.sum(-1, keepdims=True), bottom.sum(-1, keepdims=True))
    return _ratio(top + weight * mean, bottom + weight)


def _by_day(hours: Float64) -> Float64:
    """(..., 168) to (..., 7)."""
    return np.asarray(hours.reshape(*hours.shape[:-1], 7, DAY).sum(-1), np.float64)


def _spread(seen: Float64, before: Float64) -> tuple[Float64, Float64]:
    """Standard deviation of a day's relative residual, and Residuals.steps, (...) each, from the weeks of the baseline."""
    weeks = max(seen.shape[-2], 2)
    level = _ratio(seen.sum((-2, -1)), before.sum((-2, -1)))[..., None, None]
    ahead = _by_day(before * level)
    off = _ratio(seen - before * level, np.repeat(ahead, DAY, axis=-1))
    there = (ahead > 0).reshape(*ahead.shape[:-2], -1)
    days = np.where(there, _by_day(off).reshape(there.shape), 0.0)
    n = np.maximum(there.sum(-1), 1)
    robust = 1.4826 * np.median(np.abs(days), axis=-1, keepdims=True)
    plain = np.sqrt((np.clip(days, -3 * robust, 3 * robust) ** 2).sum(-1) / n)
    whole = np.maximum((days**2).sum(-1), 1e-12)
    steps = np.clip(DAY * (off**2).sum((-2, -1)) / whole, 1.0, DAY)
    wider = np.sqrt((1 + 1 / weeks) / (1 - 1 / weeks)) * (1 + 1 / np.sqrt(2 * n))
    return np.maximum(plain * wider, 1e-4), steps


def _ratio(a: Float64, b: Float64) -> Float64:
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(np.shape(a), np.shape(b))), where=np.asarray(b) > 0)


def boundary(drop: float, sigma: float, steps: float, days: float) -> float:
    """The height, in relative units, at which a CUSUM for a drop of `drop` a day raises a false alarm every `days` on average.

    Siegmund's approximation for a walk of `steps` steps a day, mean -drop/2 and deviation `sigma` a day:
    ARL = (exp(2 a b) - 1 - 2 a b) / (2 a^2) days with a = drop / (2 sigma), b = h / sigma + 2 * OVERSHOOT / sqrt(steps).
    """
    a = drop / (2.0 * sigma)

    def excess(b: float) -> float:
        return float(np.log(np.expm1(2 * a * b) - 2 * a * b) - np.log(2 * a * a * days))

    top = 1.0
    while 2 * a * top < 600 and excess(top) < 0:
        top *= 2.0
    b = brentq(excess, 1e-6, min(top, 300.0 / a)) if excess(1e-6) < 0 else 1e-6
    return float(max((b - 2 * OVERSHOOT / np.sqrt(steps)) * sigma, 0.5 * sigma))


@dataclass(frozen=True)
class Course:
    """A CUSUM over hours, (..., hours): its height in boundaries, the hour since which it stands above 0, and whether it is
    raised: from the hour that it reaches 1 until it falls below HOLD, so that one cause is one alarm."""

    height: Float64
    onset: NDArray[np.int64]
    raised: NDArray[np.bool_]


def cusum(found: Residuals, *, drop: float, days: float, good: float = 1.0) -> Course:
    """The one-sided CUSUM for a drop (or a rise, for good = -1) of `drop` a day, one false alarm in `days` on average.

    Each hour adds (-good * residual - drop / 2 of a day's 24th); Page (1954), with k = drop / 2, best for that drop.
    """
    total = found.residual.shape[-1]
    weekly = found.sigma[..., ::WEEK], found.steps[..., ::WEEK]
    told = [boundary(drop, s, n, days) if np.isfinite(s) else np.inf
            for s, n in zip(*(part.ravel().tolist() for part in weekly), strict=True)]  # fmt: skip
    limit = np.repeat(np.reshape(told, weekly[0].shape), WEEK, axis=-1)
    score = np.zeros(found.residual.shape[:-1])
    since = np.zeros(score.shape, np.int64)
    out, onset = np.zeros(found.residual.shape), np.zeros(found.residual.shape, np.int64)
    on, raised = np.zeros(score.shape, np.bool_), np.zeros(found.residual.shape, np.bool_)
    step = np.where(np.isfinite(found.expected), -good * found.residual - drop / 2 / DAY, 0.0)
    for hour in range(total):
        score = np.minimum(np.maximum(score + step[..., hour], 0.0), CAP * limit[..., hour])
        since = np.where(score > 0, since, hour + 1)
        height = score / limit[..., hour]
        on = (height >= 1.0) | (on & (height >= HOLD))
        out[..., hour], onset[..., hour], raised[..., hour] = height, since, on
    return Course(out, onset, raised)
