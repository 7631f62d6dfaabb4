"""How different two arms are: ratios of sums with a variance clustered by user, for every kind of split, and CUPED."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Int64

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """The users of one arm, each once: what the metric divides, summed over all that the arm served this user.

    user (n,) int64 distinct ascending; num and den (n,): the metric is sum(num) / sum(den). pre_num and pre_den: the same
    from before the experiment, or None. A split by session or request has users in both arms; they are told by `user`.
    """

    user: Int64
    num: Float64
    den: Float64
    pre_num: Float64 | None = None
    pre_den: Float64 | None = None

    def __len__(self) -> int:
        return len(self.user)

    def head(self, n: int) -> Sample:
        """The first n users."""
        pre = (None, None) if self.pre_num is None or self.pre_den is None else (self.pre_num[:n], self.pre_den[:n])
        return Sample(self.user[:n], self.num[:n], self.den[:n], *pre)


@dataclass(frozen=True)
class Totals:
    """Sums over users of k columns and of their products: n (...), first (..., k), second (..., k, k); they add up."""

    n: Float64
    first: Float64
    second: Float64

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.n + other.n, self.first + other.first, self.second + other.second)

    def mean(self) -> Float64:
        """(..., k)."""
        return self.first / self.n[..., None]

    def covariance(self) -> Float64:
        """(..., k, k), with n - 1."""
        mean = self.mean()
        centred = self.second - self.n[..., None, None] * mean[..., :, None] * mean[..., None, :]
        return centred / (self.n - 1.0)[..., None, None]


def totals(columns: Float64) -> Totals:
    """Totals of (..., n, k) columns: one table of users, or many at once."""
    n = np.full(columns.shape[:-2], float(columns.shape[-2]))
    return Totals(n, columns.sum(axis=-2), np.swapaxes(columns, -1, -2) @ columns)


@dataclass(frozen=True)
class Effect:
    """New against old; every field has the shape of the totals it came from (() for one comparison).

    old and new are the metric in each arm (adjusted by CUPED where that was asked), diff = new - old with standard error se;
    lift = new / old - 1, log_se the standard error of log(new / old). n is the users of both arms. theta is CUPED's.
    """

    old: Float64
    new: Float64
    diff: Float64
    se: Float64
    lift: Float64
    log_se: Float64
    n: Float64
    theta: Float64

    @property
    def z(self) -> Float64:
        """diff / se; 0 where there is no variance yet, which says nothing."""
        known = np.isfinite(self.se) & (self.se > 0)
        return np.where(known, self.diff / np.where(known, self.se, 1.0), 0.0)

    def lift_interval(self, width: Float64 | float) -> tuple[Float64, Float64]:
        """The lift's interval, `width` standard errors either way, on the log scale: never below -1."""
        ratio = 1.0 + self.lift
        spread = np.exp(width * self.log_se)
        return ratio / spread - 1.0, ratio * spread - 1.0


def _slopes(total: Totals) -> tuple[Float64, Float64]:
    """For columns (num, den): the ratio of means (...), and its gradient (..., 2)."""
    mean = total.mean()
    ratio = mean[..., 0] / mean[..., 1]
    return ratio, np.stack([np.ones_like(ratio), -ratio], axis=-1) / mean[..., 1][..., None]


def _parts(total: Totals) -> tuple[Float64, Float64, Float64, Float64, Float64]:
    """(ratio, its variance, ratio before, its variance, their covariance), per user: the delta method on (num, den, pre...)."""
    covariance = total.covariance()
    now, a = _slopes(Totals(total.n, total.first[..., :2], total.second[..., :2, :2]))
    before, b = _slopes(Totals(total.n, total.first[..., 2:], total.second[..., 2:, 2:]))
    variance = np.einsum("...i,...ij,...j", a, covariance[..., :2, :2], a)
    pre_variance = np.einsum("...i,...ij,...j", b, covariance[..., 2:, 2:], b)
    return now, variance, before, pre_variance, np.einsum("...i,...ij,...j", a, covariance[..., :2, 2:], b)


def effect(old: Totals, new: Totals, shared: Float64 | float = 0.0) -> Effect:
    """Compare the totals of two arms: columns (num, den) or (num, den, pre_num, pre_den), the latter with CUPED.

    Delta method (Deng, Knoblich & Lu 2018); CUPED for ratios (Deng et al. 2013) with one theta from both arms together.
    `shared` is the covariance of the two ratios that users in both arms cause, 0 when every user is in one arm only.
    Where an arm has fewer than two users or an empty denominator, the fields are NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if old.first.shape[-1] == 2:
            theta = np.zeros_like(old.n)
            ratios, variances = zip(*(_plain(arm) for arm in (old, new)), strict=True)
        else:
            _, _, centre, pre_variance, pre_covariance = _parts(old + new)
            theta = np.where(pre_variance > 0, pre_covariance / np.where(pre_variance > 0, pre_variance, 1.0), 0.0)
            centre = np.where(np.isfinite(centre), centre, 0.0)
            ratios, variances = zip(*(_adjusted(arm, theta, centre) for arm in (old, new)), strict=True)
        squared = variances[0] / old.n + variances[1] / new.n - 2.0 * shared
        log_squared = (
            variances[0] / old.n / ratios[0] ** 2
            + variances[1] / new.n / ratios[1] ** 2
            - 2.0 * shared / (ratios[0] * ratios[1])
        )
        return Effect(
            old=ratios[0],
            new=ratios[1],
            diff=ratios[1] - ratios[0],
            se=np.sqrt(np.maximum(squared, 0.0)),
            lift=ratios[1] / ratios[0] - 1.0,
            log_se=np.sqrt(np.maximum(log_squared, 0.0)),
            n=old.n + new.n,
            theta=theta,
        )


def _plain(arm: Totals) -> tuple[Float64, Float64]:
    ratio, slope = _slopes(arm)
    return ratio, np.einsum("...i,...ij,...j", slope, arm.covariance(), slope)


def _adjusted(arm: Totals, theta: Float64, centre: Float64) -> tuple[Float64, Float64]:
    now, variance, before, pre_variance, covariance = _parts(arm)
    useful = theta != 0
    shift = np.where(useful, theta * (before - centre), 0.0)
    return now - shift, variance + np.where(useful, theta**2 * pre_variance - 2.0 * theta * covariance, 0.0)


def alone(sample: Sample) -> tuple[float, float]:
    """The ratio of one arm as it was counted, and its standard error by the same delta method."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio, variance = _plain(totals(columns_of(sample, cuped=False)))
        return float(ratio), float(np.sqrt(np.maximum(variance, 0.0) / len(sample)))


def columns_of(sample: Sample, cuped: bool) -> Float64:
    """(n, 2) or (n, 4) columns of a sample."""
    if cuped and sample.pre_num is not None and sample.pre_den is not None:
        return np.stack([sample.num, sample.den, sample.pre_num, sample.pre_den], axis=1)
    return np.stack([sample.num, sample.den], axis=1)


def compare(old: Sample, new: Sample, *, cuped: bool = False, apart: bool = False) -> Effect:
    """New against old, clustered by user whatever the split: one formula.

    The ratio of an arm is a sum over users of influences psi_u = (num_u - R den_u) / sum(den); the variance of the difference
    is sum psi^2 of each arm (times n / (n - 1)) less twice the sum of products over users that are in both. For a split by
    user the last is zero and this is Welch's. Without it, users of both arms count as strangers; without the clustering,
    requests of one user do: the naive test of a split by user then finds something in nothing one time in three.
    apart: nobody is in both, as in a split by user; it need not be looked for.
    CUPED is for splits by user: where users are in both arms it is refused (ValueError), they are their own control there.
    """
    mine = np.zeros(len(new), np.bool_) if apart else np.isin(new.user, old.user)
    both = bool(mine.any())
    if both and cuped:
        raise ValueError("CUPED is for splits by user; here some users are in both arms and are their own control")
    shared = 0.0
    if both:
        influences = []
        for arm, inside in ((old, np.isin(old.user, new.user)), (new, mine)):
            n = len(arm)
            ratio = arm.num.sum() / arm.den.sum()
            influences.append((arm.num - ratio * arm.den)[inside] / arm.den.sum() * np.sqrt(n / (n - 1)))
        shared = float(influences[0] @ influences[1])
    use = cuped and old.pre_num is not None and new.pre_num is not None
    return effect(totals(columns_of(old, use)), totals(columns_of(new, use)), shared)
