"""Always-valid intervals, to be looked at after every user: asymptotic confidence sequences (Waudby-Smith et al. 2021)."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
LEAST = 100
"""Users of both arms together below which nothing is said: the sequence is asymptotic."""


def tuned_rho(users: float, alpha: float) -> float:
    """The rho for which the sequence is narrowest when so many users have come in (their equation for rho_t*)."""
    twice_log = -2.0 * np.log(alpha)
    return float(np.sqrt((twice_log + np.log(twice_log + 1.0)) / users))


def half_widths(users: Float64 | float, alpha: float, *, rho: float, one_sided: bool = False) -> Float64:
    """Half-width of the sequence in standard errors of the estimate after `users` (any shape); infinite before LEAST users.

    Two-sided: sqrt(2 (t rho^2 + 1) / (t rho^2) * log(sqrt(t rho^2 + 1) / alpha)), Theorem 2.2; one-sided with
    log(1 + sqrt(t rho^2 + 1) / (2 alpha)). Valid at all t together for observations that arrive once each and never change:
    one a user, when the user's window has closed. A figure that is computed anew every day from the same users (a daily
    snapshot) has no growing t; plan.py refuses it.
    """
    t = np.asarray(users, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = t * rho**2
        log = np.log1p(np.sqrt(mixed + 1.0) / (2.0 * alpha)) if one_sided else np.log(np.sqrt(mixed + 1.0) / alpha)
        width = np.sqrt(2.0 * (mixed + 1.0) / mixed * log)
    return cast(Float64, np.where(t < LEAST, np.inf, width))


def interval(
    estimate: Float64 | float, se: Float64 | float, users: Float64 | float, alpha: float, *, rho: float
) -> tuple[Float64, Float64]:
    """The two-sided sequence around an estimate with standard error se after so many users; all may be arrays of looks."""
    reach = half_widths(users, alpha, rho=rho) * np.asarray(se, np.float64)
    reach = np.where(np.isnan(reach), np.inf, reach)
    middle = np.where(np.isfinite(reach), estimate, 0.0)
    return cast(Float64, middle - reach), cast(Float64, middle + reach)
