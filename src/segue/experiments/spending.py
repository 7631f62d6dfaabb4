"""Deciding at planned looks: group sequential boundaries by alpha spending (Lan & DeMets 1983); fixed-width stopping."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Float64 = NDArray[np.float64]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
FAR = 8.5
"""Boundaries beyond so many standard errors are as good as none: the chance is below 1e-16."""


def obrien_fleming(fraction: float, alpha: float) -> float:
    """Two-sided alpha spent by a fraction of the information, O'Brien-Fleming-like: 4 (1 - Phi(z_{alpha/4} / sqrt(t)))."""
    if fraction <= 0:
        return 0.0
    return float(min(alpha, 4.0 * ndtr(-ndtri(1.0 - alpha / 4.0) / np.sqrt(min(fraction, 1.0)))))


def boundaries(fractions: Sequence[float], alpha: float) -> Float64:
    """The two-sided boundary of |z| at each look; fractions of the planned information, ascending, the last one usually 1.

    Armitage, McPherson & Rowe's recursion by Gauss-Legendre integration: the chance under no effect to cross for the first
    time at look k is what the spending function gives to it. Looks that have spent nothing yet get infinity. ValueError for
    fractions that do not ascend in (0, 1].
    """
    return _boundaries(tuple(float(f) for f in fractions), float(alpha)).copy()


@lru_cache(maxsize=1024)
def _boundaries(fractions: tuple[float, ...], alpha: float) -> Float64:
    """Looks that were taken are asked about again at every tick: their boundaries are the same."""
    t = np.asarray(fractions, np.float64)
    if len(t) == 0 or t[0] <= 0 or t[-1] > 1 + 1e-9 or np.any(np.diff(t) <= 0):
        raise ValueError(f"fractions of information must ascend in (0, 1], found {list(fractions)}")
    spent, out = 0.0, np.empty(len(t))
    nodes, density = np.zeros(1), np.ones(1)  # the score before any look is 0; density here includes the weights
    before = 0.0
    for k, now in enumerate(t):
        step = float(np.sqrt(now - before))
        wanted = obrien_fleming(float(now), alpha) - spent
        bound = _bound(nodes, density, step, wanted, FAR * float(np.sqrt(now)))
        out[k] = bound / np.sqrt(now) if bound < FAR * np.sqrt(now) else np.inf
        spent += wanted
        points = _NODES * bound
        kernel = np.exp(-0.5 * ((points[:, None] - nodes[None, :]) / step) ** 2) / (step * np.sqrt(2 * np.pi))
        density = (kernel @ density) * _WEIGHTS * bound
        nodes, before = points, float(now)
    return out


def _bound(nodes: Float64, density: Float64, step: float, wanted: float, far: float) -> float:
    """The score that is crossed, either side, with the wanted chance by those who have not crossed before."""

    def excess(bound: float) -> float:
        crossing = ndtr(-(bound - nodes) / step) + ndtr(-(bound + nodes) / step)
        return float(density @ crossing) - wanted

    if wanted <= 1e-15 or excess(far) >= 0:
        return far
    return float(brentq(excess, 0.0, far, xtol=1e-12, rtol=1e-12))


def crossing_chance(fractions: Sequence[float], bounds: Float64, drift: float) -> float:
    """The chance to cross at any look when z at full information has mean `drift`: its power; at 0, its level."""
    t = np.asarray(fractions, np.float64)
    nodes, density, before, crossed = np.zeros(1), np.ones(1), 0.0, 0.0
    for now, z in zip(t, bounds, strict=True):
        step, bound = np.sqrt(now - before), min(float(z), FAR + abs(drift)) * np.sqrt(now)
        mean = nodes + drift * (now - before)
        crossed += float(density @ (ndtr(-(bound - mean) / step) + ndtr(-(bound + mean) / step)))
        points = _NODES * bound
        kernel = np.exp(-0.5 * ((points[:, None] - mean[None, :]) / step) ** 2) / (step * np.sqrt(2 * np.pi))
        density = (kernel @ density) * _WEIGHTS * bound
        nodes, before = points, float(now)
    return crossed


def needed_drift(fractions: Sequence[float], bounds: Float64, power: float) -> float:
    """The drift at which the design has the wanted power: its square over (z_{alpha/2} + z_power)^2 is the price in users."""
    return float(brentq(lambda d: crossing_chance(fractions, bounds, d) - power, 0.0, 20.0, xtol=1e-9))


def precise_enough(
    se: Float64 | float, n: Float64 | float, half_width: float, alpha: float, *, least: int = 200
) -> NDArray[np.bool_]:
    """Fixed-width stopping (Chow & Robbins 1965): stop at the first look whose fixed interval is no wider than planned.

    The time to stop depends on the variance only, not on the estimate, so the plain interval at that look keeps its coverage
    (asymptotically); 1/n is added to the squared error so that a lucky start cannot stop it, and nothing stops before `least`.
    """
    users = np.asarray(n, np.float64)
    z = float(ndtri(1.0 - alpha / 2.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = np.asarray(se, np.float64) ** 2 * (1.0 + 1.0 / users)
        return (users >= least) & (z**2 * squared <= half_width**2)
