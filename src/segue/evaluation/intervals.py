"""How sure a mean is, and a difference of means: the bootstrap over users, plain and paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Int64

Float64 = NDArray[np.float64]
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Interval:
    """A mean with the percentile interval around it; n is how many values it is the mean of."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(values: NDArray[np.floating], rng: np.random.Generator, *, level: float = 0.95, rounds: int = 1000) -> Interval:
    """Percentile bootstrap of the mean (Efron 1979), NaN left out: same rng, same interval. n = 0 gives NaN all through.

    values (n,): one a user, since the plays of one user depend on each other. Memory is bounded by a block of draws.
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    means = np.empty(rounds)
    step = max(1, _BLOCK // n)
    for start in range(0, rounds, step):
        stop = min(start + step, rounds)
        means[start:stop] = known[rng.integers(0, n, (stop - start, n))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(known.mean()), float(low), float(high), n)


def bootstrap_all(
    table: NDArray[np.floating], rng: np.random.Generator, *, level: float = 0.95, rounds: int = 1000
) -> list[Interval]:
    """bootstrap of every column of (n, c) values over the same draws of the n users: one product of matrices for all.

    NaN is left out column by column; a draw in which a column has no value at all is left out of its quantiles.
    """
    values = np.asarray(table, np.float64)
    known = ~np.isnan(values)
    return ratios(np.where(known, values, 0.0), known.astype(np.float64), rng, level=level, rounds=rounds)


def ratios(
    sums: NDArray[np.floating] | Int64,
    counts: NDArray[np.floating] | Int64,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    rounds: int = 1000,
) -> list[Interval]:
    """Column by column, sum of sums over sum of counts, (n, c) both, with the bootstrap over the n users.

    For means over things that users have different numbers of, such as ratings: a user is drawn with all of hers. n of an
    Interval is how many users have a count.
    """
    total: Float64 = np.asarray(sums, np.float64)
    weight: Float64 = np.asarray(counts, np.float64)
    n, columns = total.shape
    if n == 0:
        return [Interval(np.nan, np.nan, np.nan, 0)] * columns
    both = np.concatenate((total, weight), axis=1)
    means = np.empty((rounds, columns))
    step = max(1, _BLOCK // n)
    for start in range(0, rounds, step):
        stop = min(start + step, rounds)
        drawn = rng.integers(0, n, (stop - start, n)) + n * np.arange(stop - start)[:, None]
        times = np.bincount(drawn.ravel(), minlength=n * (stop - start)).reshape(-1, n).astype(np.float64)
        drawn_sums = times @ both
        with np.errstate(invalid="ignore"):
            means[start:stop] = drawn_sums[:, :columns] / drawn_sums[:, columns:]
    return [_interval(total[:, c], weight[:, c], means[:, c], level) for c in range(columns)]


def _interval(sums: Float64, counts: Float64, means: Float64, level: float) -> Interval:
    """The ratio of the sums and the quantiles of those of the draws."""
    users = int((counts > 0).sum())
    if users == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    low, high = np.quantile(means[~np.isnan(means)], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), users)


def paired(
    ours: NDArray[np.floating],
    theirs: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    rounds: int = 1000,
) -> Interval:
    """Bootstrap of the mean of ours - theirs over the same users in the same order, pairs with a NaN left out.

    Pairing removes what users differ by among themselves, so far fewer of them tell two models apart.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"pairs need as many values on both sides; got {len(ours)} and {len(theirs)}")
    return bootstrap(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64), rng, level=level, rounds=rounds)
