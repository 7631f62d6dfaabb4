"""How many users and days an experiment needs, worked out before it starts; and Holm's procedure for several metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from segue.experiments.sequences import half_widths, tuned_rho
from segue.experiments.spending import boundaries, needed_drift

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Need:
    """Users in each arm, and the days until so many have come and their windows have closed; NaN days when none come."""

    users_old: int
    users_new: int
    days: float
    inflation: float
    """How many times the users of a single look at the end: the price of looking."""


def fixed_users(sd: float, effect: float, alpha: float, power: float, ratio: float = 1.0) -> float:
    """Users of the new arm for a two-sided z test of a difference: (z_{alpha/2} + z_power)^2 sd^2 (1 + ratio) / effect^2.

    sd: of one user's (linearized) value, `ratio` = users new / users old. As in statsmodels' NormalIndPower, whose two-sided
    power also counts the far side; that is below 1e-6 at any power worth planning for.
    """
    return float((ndtri(1 - alpha / 2) + ndtri(power)) ** 2 * sd**2 * (1.0 + ratio) / effect**2)


def fixed_power(sd: float, effect: float, users_new: float, alpha: float, ratio: float = 1.0) -> float:
    """Power of the same test, both sides counted."""
    shift = abs(effect) / (sd * np.sqrt((1.0 + ratio) / users_new))
    z = ndtri(1 - alpha / 2)
    return float(ndtr(shift - z) + ndtr(-shift - z))


def group_sequential_inflation(looks: int, alpha: float, power: float) -> float:
    """Users of the group sequential design over those of a single look, equally spaced looks."""
    fractions = [(k + 1) / looks for k in range(looks)]
    drift = needed_drift(fractions, boundaries(fractions, alpha), power)
    return float((drift / (ndtri(1 - alpha / 2) + ndtri(power))) ** 2)


def always_valid_inflation(alpha: float, power: float) -> float:
    """Users until a confidence sequence tuned to that many excludes zero with this power, over those of a single look."""
    users = 1e6  # tuned at its own size, the answer does not depend on it
    width = float(half_widths(users, alpha, rho=tuned_rho(users, alpha)))
    return float(((width + ndtri(power)) / (ndtri(1 - alpha / 2) + ndtri(power))) ** 2)


class Traffic(NamedTuple):
    """Who can be in an experiment."""

    shares: tuple[float, float]
    """Of the traffic, (old, new)."""
    daily_users: float
    """Users who come for the first time in the experiment, a day."""
    window_days: float
    """How long each of them is looked at."""


def need(
    mean: float, sd: float, lift: float, traffic: Traffic, *, alpha: float = 0.05, power: float = 0.8, looks: int = 1
) -> Need:
    """Users and days for a relative lift of a metric with this mean and this sd of a user's linearized value."""
    old, new = traffic.shares
    ratio = new / old
    inflation = group_sequential_inflation(looks, alpha, power) if looks > 1 else 1.0
    users_new = fixed_users(sd, mean * lift, alpha, power, ratio) * inflation
    days = users_new / (traffic.daily_users * new) + traffic.window_days if traffic.daily_users > 0 else float("nan")
    return Need(int(np.ceil(users_new / ratio)), int(np.ceil(users_new)), days, inflation)


def holm(p_values: Sequence[float], alpha: float) -> Bool:
    """Which hypotheses are rejected at family-wise level alpha (Holm 1979); ties in order."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    allowed = p[order] <= alpha / (len(p) - np.arange(len(p)))
    rejected = np.zeros(len(p), np.bool_)
    rejected[order] = np.logical_and.accumulate(allowed)
    return rejected


def holm_adjusted(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's adjusted p values, in the order given."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    out = np.empty(len(p))
    out[order] = adjusted
    return out
