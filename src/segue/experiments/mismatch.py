"""Sample ratio mismatch, by a test that may be looked at after every user (Lindon & Malek 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Float64 = NDArray[np.float64]
WEIGHT = 1_000.0
"""Weight of the Dirichlet prior around the planned shares, in users: it looks for small deviations, the usual ones."""


def log_evidence(counts: NDArray[np.integer] | Float64, shares: Sequence[float], *, weight: float = WEIGHT) -> Float64:
    """Log Bayes factor of "some other shares" against the planned ones; counts (..., k), answer (...).

    Dirichlet-multinomial with prior weight * shares. A martingale under the plan, so it exceeds 1 / alpha at any time ever
    with a chance of at most alpha (Ville).
    """
    n = np.asarray(counts, np.float64)
    planned = np.asarray(shares, np.float64)
    planned = planned / planned.sum()
    prior = weight * planned
    gained = (gammaln(prior + n) - gammaln(prior)).sum(axis=-1)
    spread = gammaln(weight + n.sum(axis=-1)) - gammaln(weight)
    return np.asarray(gained - spread - (n * np.log(planned)).sum(axis=-1), np.float64)


def p_value(counts: NDArray[np.integer] | Float64, shares: Sequence[float]) -> float:
    """Anytime-valid p of one look, or of looks (L, k) in order: the smallest so far; 1 with no users."""
    evidence = float(np.max(log_evidence(counts, shares), initial=0.0))
    return float(np.exp(-max(evidence, 0.0)))
