"""What another policy would have been worth, from the log of this one: IPS, SNIPS and doubly robust, for slates by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from segue.core.types import Bool

Float64 = NDArray[np.float64]
Verdict = Literal["pass", "worse", "not informative"]


@dataclass(frozen=True)
class Logged:
    """Slates as logged and what the judged policy would have done: (n, k) each, NaN reward where a slate is shorter.

    weight: chance of the shown item under the judged policy over that under the logging one (see weights). before: the weight
    of the places above, which is what a doubly robust estimate multiplies its guess by; ones for single places. guess: the
    expected reward of the shown item by some model that has not seen this row, value: of the judged policy's choice by the
    same model; zeros make DR equal IPS. cluster (n,): who it is, since the slates of one listener depend on each other.
    """

    reward: Float64
    weight: Float64
    before: Float64
    guess: Float64
    value: Float64
    cluster: NDArray[np.int64]

    def only(self, rows: Bool) -> Logged:
        """Some of the slates."""
        columns = (self.reward, self.weight, self.before, self.guess, self.value)
        reward, weight, before, guess, value = (column[rows] for column in columns)
        return Logged(reward, weight, before, guess, value, self.cluster[rows])

    @property
    def there(self) -> Bool:
        """Which places hold an item, (n, k)."""
        return ~np.isnan(self.reward)

    @staticmethod
    def single(reward: Float64, weight: Float64, cluster: NDArray[np.int64], guess: Float64 | None = None,
               value: Float64 | None = None) -> Logged:  # fmt: skip
        """Rows of one item each: all arrays (n,)."""
        zero, one = np.zeros(len(reward)), np.ones(len(reward))

        def place(column: Float64) -> Float64:
            return np.asarray(column, np.float64)[:, None]

        guess, value = zero if guess is None else guess, zero if value is None else value
        return Logged(place(reward), place(weight), place(one), place(guess), place(value), np.asarray(cluster, np.int64))


class Weights(NamedTuple):
    """(n, k) importance weights up to and with each place, and of the places before it."""

    weight: Float64
    before: Float64


def weights(target: Float64, logged: Float64, *, by: Literal["cascade", "position"] = "cascade") -> Weights:
    """Weights from the chances of the shown items under the judged and the logging policy, (n, k), NaN where there is none.

    cascade: chances are conditional on the places above, as the radio logs them, and a song may be heard differently after
    other songs before it: the product of the ratios so far (RIPS, McInerney et al. 2020). position: chances are marginal and
    places do not matter to each other: the ratio of each place (IIPS, Li et al. 2018). ValueError where a logged chance is
    not in (0, 1]: such a log cannot judge anything.
    """
    there = ~np.isnan(logged)
    if not ((logged[there] > 0) & (logged[there] <= 1)).all():
        raise ValueError("logged propensities must be in (0, 1]")
    ratio = np.where(there, np.nan_to_num(target) / np.where(there, logged, 1.0), 1.0)
    if by == "position":
        return Weights(ratio, np.ones_like(ratio))
    product: Float64 = np.cumprod(ratio, axis=1, dtype=np.float64)
    return Weights(product, np.concatenate([np.ones((len(ratio), 1)), product[:, :-1]], axis=1))


@dataclass(frozen=True)
class Estimate:
    """The reward a shown item under the judged policy, its interval, and the influence of each slate, for comparisons."""

    mean: float
    se: float
    low: float
    high: float
    influence: Float64


def _clustered(influence: Float64, cluster: NDArray[np.int64]) -> tuple[float, int]:
    _, place = np.unique(cluster, return_inverse=True)
    sums = np.bincount(place, influence)
    n = len(sums)
    return float(np.sqrt((sums**2).sum() * n / (n - 1))) if n > 1 else float("nan"), n


def _estimate(mean: float, influence: Float64, cluster: NDArray[np.int64], level: float) -> Estimate:
    se, n = _clustered(influence, cluster)
    reach = float(stdtrit(max(n - 1, 1), 0.5 + level / 2)) * se
    return Estimate(mean, se, mean - reach, mean + reach, influence)


def ips(log: Logged, *, level: float = 0.95) -> Estimate:
    """Inverse propensity scoring (Horvitz & Thompson 1952): the mean of weight * reward; unbiased, widest."""
    return _mean_of(log, np.where(log.there, log.weight * np.nan_to_num(log.reward), 0.0), level)


def doubly_robust(log: Logged, *, level: float = 0.95) -> Estimate:
    """Doubly robust (Dudik et al. 2011; by place, Kiyohara et al. 2022): before * value + weight * (reward - guess)."""
    terms = log.before * log.value + log.weight * (np.nan_to_num(log.reward) - log.guess)
    return _mean_of(log, np.where(log.there, terms, 0.0), level)


def on_policy(log: Logged, *, level: float = 0.95) -> Estimate:
    """What the logging policy was worth."""
    return _mean_of(log, np.nan_to_num(log.reward), level)


def _mean_of(log: Logged, terms: Float64, level: float) -> Estimate:
    places = int(log.there.sum())
    mean = float(terms.sum() / places) if places else float("nan")
    influence = (terms - mean * log.there).sum(axis=1) / max(places, 1)
    return _estimate(mean, influence, log.cluster, level)


def snips(log: Logged, *, level: float = 0.95) -> Estimate:
    """Self-normalized IPS (Swaminathan & Joachims 2015), place by place: slightly biased, narrower, never out of range.

    The interval is the delta method's, clustered.
    """
    there = log.there
    share = there.sum(axis=0) / max(int(there.sum()), 1)
    weight = np.where(there, log.weight, 0.0)
    total = weight.sum(axis=0)
    scale = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    means = (weight * np.nan_to_num(log.reward)).sum(axis=0) / np.where(total > 0, total, 1.0)
    influence = (weight * (np.nan_to_num(log.reward) - means) * scale).sum(axis=1)
    return _estimate(float(means @ share), influence, log.cluster, level)


@dataclass(frozen=True)
class Overlap:
    """How much of the log speaks about the judged policy.

    effective: (sum w)^2 / sum w^2 over listeners' summed weights (Kish), the least over places: what the sample got.
    design: the number of slates over the second moment of the weights that the two policies imply (NaN where the chances of
    all items were not given): what the sample would get on average, which a lucky sample without its heavy weights hides.
    mean: of the weights, with its standard error; it must be 1. largest: the share of the heaviest listener.
    """

    effective: float
    design: float
    mean: float
    mean_se: float
    largest: float

    @property
    def averages_one(self) -> bool:
        """Whether the weights average 1 within 3 standard errors; else propensities are wrong or overlap is missing."""
        return bool(abs(self.mean - 1.0) <= 3.0 * self.mean_se + 1e-9)


def overlap(log: Logged, second_moment: float = float("nan")) -> Overlap:
    """The Overlap of a log; second_moment from design_second_moment."""
    _, place = np.unique(log.cluster, return_inverse=True)
    there = log.there
    worst, largest = np.inf, 0.0
    for column in range(there.shape[1]):
        sums = np.bincount(place, np.where(there[:, column], log.weight[:, column], 0.0))
        if sums.sum() > 0:
            worst = min(worst, float(sums.sum() ** 2 / (sums**2).sum()))
            largest = max(largest, float(sums.max() / sums.sum()))
    ones = Logged(np.where(there, 1.0, np.nan), log.weight, log.before, log.guess, log.value, log.cluster)
    average = ips(ones)
    design = len(log.reward) / second_moment
    return Overlap(worst if np.isfinite(worst) else 0.0, design, average.mean, average.se, largest)


def design_second_moment(target: Float64, logging: Float64) -> float:
    """E[w^2] under the logging policy, from the chances of all items in each context, (n, items): sum target^2 / logging.

    Infinite where the judged policy may do what the logging one never does.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(target > 0, target**2 / logging, 0.0)
    return float(terms.sum(axis=1).mean())


@dataclass(frozen=True)
class Judgement:
    """May the judged policy go to a live test? `reasons` says why not, or what was found."""

    verdict: Verdict
    reasons: tuple[str, ...]
    overlap: Overlap
    ips: Estimate
    snips: Estimate
    dr: Estimate
    logging: Estimate
    difference: Estimate  # DR less the logging policy, paired
    segments: dict[str, Estimate]  # the difference by segment


def judge(
    log: Logged, segments: Mapping[str, Bool] | None = None, *, least_effective: float = 500.0, level: float = 0.95,
    second_moment: float = float("nan"),
) -> Judgement:  # fmt: skip
    """The gate before a live test: a pass only when the log can tell, and what it tells is not bad.

    "not informative": fewer than `least_effective` effective samples (sample or design), weights that do not average 1, or
    DR and SNIPS that differ by more than 3 standard errors of their difference. "worse": the whole, or any segment with
    enough effective samples of its own (Bonferroni over segments), clearly below the logging policy. Else "pass".
    """
    seen = overlap(log, second_moment)
    estimates = {"ips": ips(log, level=level), "snips": snips(log, level=level), "dr": doubly_robust(log, level=level)}
    logging = on_policy(log, level=level)
    difference = _less(estimates["dr"], logging, log, level)
    doubts = _doubts(seen, _less(estimates["dr"], estimates["snips"], log, level), least_effective)
    parts = dict(segments or {})
    strict = 1.0 - (1.0 - level) / max(len(parts), 1)
    by_segment = {name: _segment(log.only(rows), strict) for name, rows in parts.items() if rows.any()}
    bad = [
        f"clearly worse for {name}: {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
        for name, d in by_segment.items()
        if d.high < 0 and overlap(log.only(parts[name])).effective >= least_effective / 10
    ]
    if difference.high < 0:
        bad.insert(0, f"clearly worse: {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]")
    verdict: Verdict = "not informative" if doubts else "worse" if bad else "pass"
    found = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}] against the logging policy"
    reasons = tuple(doubts or bad or [found])
    return Judgement(verdict, reasons, seen, **estimates, logging=logging, difference=difference, segments=by_segment)


def _less(a: Estimate, b: Estimate, log: Logged, level: float) -> Estimate:
    return _estimate(a.mean - b.mean, a.influence - b.influence, log.cluster, level)


def _segment(log: Logged, level: float) -> Estimate:
    return _less(doubly_robust(log, level=level), on_policy(log, level=level), log, level)


def _doubts(seen: Overlap, apart: Estimate, least: float) -> list[str]:
    doubts = []
    if not seen.effective >= least:
        doubts.append(f"{seen.effective:.0f} effective samples, expected at least {least:.0f}: the policies differ too much")
    if seen.design < least:
        doubts.append(f"the design promises {seen.design:.0f} effective samples, expected at least {least:.0f}")
    if not seen.averages_one:
        doubts.append(
            f"the weights average {seen.mean:.3f} +- {seen.mean_se:.3f}, not 1: a propensity is wrong or overlap missing"
        )
    if not abs(apart.mean) <= 3.0 * apart.se + 1e-12:
        doubts.append(f"DR and SNIPS differ by {apart.mean:+.4f} +- {apart.se:.4f}: the reward model or the weights are off")
    return doubts


def crossfit_means(
    reward: Float64, cell: NDArray[np.integer], fold: NDArray[np.integer], *, shrink: float = 20.0
) -> tuple[Float64, Float64]:
    """A plain reward model for DR that has not seen its own fold: the mean reward of a cell (an item, an item at a place).

    reward, cell, fold (n,). Shrunk to the mean of all by `shrink` rows. Returns (guess of each row (n,), table (folds,
    cells) for the value of other choices: row i may use table[fold[i]]).
    """
    folds, cells = int(fold.max()) + 1, int(cell.max()) + 1
    table = np.empty((folds, cells))
    for f in range(folds):
        train = fold != f
        mean = reward[train].mean() if train.any() else 0.0
        count = np.bincount(cell[train], minlength=cells)
        table[f] = (np.bincount(cell[train], reward[train], minlength=cells) + shrink * mean) / (count + shrink)
    return cast(Float64, table[fold, cell]), table
