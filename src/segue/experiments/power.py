"""How many users and days an experiment needs, worked out before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from segue.experiments.spending import boundaries, needed_drift


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
