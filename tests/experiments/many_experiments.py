"""Experiments by the thousand: users as arrays (runs, days, users a day), analysed by the production formulas at every look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segue.experiments.clustered import Effect, Totals, effect, totals

Float64 = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Float64]


def plays(rng: np.random.Generator, shape: tuple[int, ...], rate: float = 8.0) -> tuple[Float64, Float64]:
    """(finished, played): some listeners play ten times what others do, and each has a share of their own."""
    played = rng.poisson(rng.gamma(1.0, rate, shape)).astype(np.float64) + 1
    return rng.binomial(played.astype(np.int64), rng.beta(3, 2, shape)).astype(np.float64), played


def ratio(rng: np.random.Generator, shape: tuple[int, ...]) -> Float64:
    return np.stack(plays(rng, shape), axis=-1)


def per_user(draw: Draw) -> Draw:
    return lambda rng, shape: np.stack([draw(rng, shape), np.ones(shape)], axis=-1)


DISTRIBUTIONS: dict[str, Draw] = {
    "ratio of plays": ratio,
    "rare churn": per_user(lambda rng, shape: (rng.random(shape) < 0.04).astype(np.float64)),
    "heavy listening time": per_user(lambda rng, shape: rng.lognormal(3.0, 1.0, shape)),
    "normal": per_user(lambda rng, shape: rng.normal(1.0, 0.5, shape)),
}


def looks(daily: Float64) -> Totals:
    """Totals at the end of every day, (runs, days), of columns (runs, days, users, k): running sums."""
    by_day = totals(daily)
    return Totals(by_day.n.cumsum(axis=1), by_day.first.cumsum(axis=1), by_day.second.cumsum(axis=1))


def experiments(
    draw: Draw, rng: np.random.Generator, *, runs: int, days: int, users: int, lift: float = 0.0
) -> Effect:  # fmt: skip
    """New against old at the end of each day, fields (runs, days); `users` come to each arm a day. Batches bound the memory."""
    parts = []
    for start in range(0, runs, 250):
        shape = (min(250, runs - start), days, users)
        old, new = draw(rng, shape), draw(rng, shape)
        new[..., 0] *= 1.0 + lift
        parts.append(effect(looks(old), looks(new)))
    return Effect(*(np.concatenate([getattr(p, name) for p in parts]) for name in Effect.__dataclass_fields__))
