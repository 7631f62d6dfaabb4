"""A look at a step: estimates, always-valid watches, planned looks and the decision, from the rows of metrics.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from scipy.special import ndtri

from segue.experiments.assignment import NEW, OLD, REST
from segue.experiments.clustered import Effect, Sample, alone, compare
from segue.experiments.metrics import METRICS, Table
from segue.experiments.mismatch import p_value
from segue.experiments.plan import DAY_MS, Plan, Step
from segue.experiments.ramp import Watched
from segue.experiments.sequences import half_widths, tuned_rho
from segue.experiments.spending import boundaries, precise_enough

Decided = Literal["", "better", "worse", "no difference"]


class Look(msgspec.Struct, frozen=True):
    """A planned look as it was taken and locked: users of both arms, and the z of each primary, + is better.

    lift_half_width is None where a lift has none (nothing in an arm): JSON, which the journal is written in, has no infinity.
    """

    at: int
    users: int
    z: dict[str, float]
    lift_half_width: float | None = None


@dataclass(frozen=True)
class Found:
    """One metric of one step: the effect, and the always-valid interval of the lift."""

    metric: str
    effect: Effect
    low: float
    high: float
    users: tuple[int, int]

    @property
    def good_z(self) -> float:
        """z with + for better."""
        return float(self.effect.z) * METRICS[self.metric].good


def samples(plan: Plan, table: Table, metric: str, now: int, arms: tuple[str, str] = (OLD, NEW)) -> tuple[Sample, Sample]:
    """Closed windows of two arms."""
    return table.samples(metric, arms, now, int(plan.window_days * DAY_MS))


def found(plan: Plan, table: Table, metric: str, now: int, arms: tuple[str, str] = (OLD, NEW)) -> Found | None:
    """The metric now; None while an arm has fewer than two closed windows or nothing to divide by."""
    old, new = samples(plan, table, metric, now, arms)
    if min(len(old), len(new)) < 2 or old.den.sum() <= 0 or new.den.sum() <= 0:
        return None
    cuped = plan.before_days > 0 and plan.split == "user" and METRICS[metric].cuped and old.pre_num is not None
    effect = compare(old, new, cuped=bool(cuped) and _history(old, new), apart=plan.split == "user")
    width = float(half_widths(float(effect.n), plan.guard_alpha, rho=tuned_rho(2.0 * plan.users, plan.guard_alpha)))
    known = np.isfinite(effect.log_se) and effect.log_se > 0 and effect.old > 0 and np.isfinite(width)
    low, high = effect.lift_interval(width) if known else (-1.0, float("inf"))
    return Found(metric, effect, float(low), float(high), (len(old), len(new)))


def each_arm(plan: Plan, table: Table, metric: str, now: int) -> list[tuple[float, float, float]]:
    """(value, low, high) of old and of new by themselves, as counted, each with its always-valid interval."""
    out = []
    for sample in samples(plan, table, metric, now):
        value, se = alone(sample)
        reach = (
            float(half_widths(float(len(sample)), plan.guard_alpha, rho=tuned_rho(float(plan.users), plan.guard_alpha))) * se
        )
        out.append((value, value - reach, value + reach))
    return out


def _history(old: Sample, new: Sample) -> bool:
    """Whether both arms have a past to adjust by."""
    return all(arm.pre_den is not None and arm.pre_den.sum() > 0 for arm in (old, new))


def watched(one: Found) -> Watched:
    """As relative harm, positive = worse: one-sided use of a two-sided interval, so half of its alpha."""
    lift = float(one.effect.lift) if np.isfinite(one.effect.lift) else 0.0
    se = float(one.effect.log_se) if np.isfinite(one.effect.log_se) else 0.0
    if METRICS[one.metric].good > 0:
        return Watched(one.metric, -lift, -one.high, -one.low, se)
    return Watched(one.metric, lift, one.low, one.high, se)


def mismatch(table: Table, step: Step, since: int = 0) -> float:
    """Anytime-valid p of the planned shares of the three arms, given the units drawn in the step from `since` (ms) on."""
    shares = [(arm, step.shares.share(arm)) for arm in (OLD, REST, NEW)]
    who = table.who
    arm, at = (who.drawn, who.drawn_at) if len(who.drawn) else (who.arm, who.first)
    arm = arm[at >= since]
    counts = np.bincount(arm, minlength=3)[: len(shares)]
    present = [k for k, (_, share) in enumerate(shares) if share > 0]
    if len(present) < 2 or not counts.sum():
        return 1.0
    looks = np.stack([np.cumsum(arm == k) for k in present], axis=1)
    every = max(1, len(looks) // 500)
    return p_value(looks[every - 1 :: every], [shares[k][1] for k in present])


def next_look(plan: Plan, looks: Sequence[Look], users: tuple[int, int]) -> bool:
    """Whether the users that have come make the next planned look due."""
    done = len(looks)
    most = plan.looks if plan.decision == "group-sequential" else 60
    return done < most and 2 * min(users) >= 2 * plan.users * (done + 1) / most


def take(plan: Plan, table: Table, now: int) -> Look | None:
    """The look at the primaries as of now."""
    all_found = [found(plan, table, metric, now) for metric in plan.primary]
    told = [one for one in all_found if one is not None]
    if len(told) < len(plan.primary):
        return None
    z = {one.metric: one.good_z for one in told}
    reach = float(ndtri(1 - plan.alpha / 2)) * float(np.max([one.effect.log_se for one in told]))
    return Look(now, 2 * min(told[0].users), z, reach if np.isfinite(reach) else None)


def decided(plan: Plan, looks: Sequence[Look]) -> Decided:
    """What the planned looks say, Holm over the primaries: one crosses at alpha / m, the next at alpha / (m - 1), ...

    Group sequential: each look against its boundary, with the information it really had (Maurer & Bretz 2013 for several
    primaries). Precision: once the interval of the lift is as narrow as planned (spending.precise_enough), the plain test at
    that look.
    Better: some primary is, none is worse. No difference: the planned users have come and nothing crossed.
    """
    if not looks:
        return ""
    signs = _precise(plan, looks) if plan.decision == "precision" else _sequential(plan, looks)
    if signs is None:
        return ""
    if -1 in signs:
        return "worse"
    if 1 in signs:
        return "better"
    complete = plan.decision == "precision" or len(looks) >= plan.looks
    return "no difference" if complete else ""


def _sequential(plan: Plan, looks: Sequence[Look]) -> list[int] | None:
    fractions: list[float] = []
    used: list[Look] = []
    for look in looks:
        fraction = min(look.users / (2.0 * plan.users), 1.0)
        if not fractions or fraction > fractions[-1]:
            fractions.append(fraction)
            used.append(look)
    if len(looks) >= plan.looks:
        fractions[-1] = 1.0  # the last planned look spends what is left
    z = np.array([[look.z[metric] for metric in plan.primary] for look in used])
    return holm(z, [boundaries(fractions, plan.alpha / (len(plan.primary) - k)) for k in range(len(plan.primary))])


def _precise(plan: Plan, looks: Sequence[Look]) -> list[int] | None:
    z = float(ndtri(1 - plan.alpha / 2))
    told = [(look, look.lift_half_width) for look in looks if look.lift_half_width is not None]
    narrow = [look for look, reach in told if precise_enough(reach / z, look.users, plan.half_width, plan.alpha)]
    if not narrow:
        return None
    first = np.array([[narrow[0].z[metric] for metric in plan.primary]])
    m = len(plan.primary)
    return holm(first, [np.array([float(ndtri(1 - plan.alpha / (m - k) / 2))]) for k in range(m)])


def holm(z: np.ndarray, bounds: Sequence[np.ndarray]) -> list[int]:
    """Holm (1979) over z (looks, primaries): the sign of each primary that crosses, 0 for the others.

    After each rejection the rest is tested at the next level.
    """
    signs = [0] * z.shape[1]
    for bound in bounds:
        crossed = (np.abs(z) > bound[:, None]) & np.array([s == 0 for s in signs])
        if not crossed.any():
            break
        excess = np.where(crossed, np.abs(z) - bound[:, None], -np.inf)
        look, metric = np.unravel_index(int(np.argmax(excess)), z.shape)
        signs[int(metric)] = 1 if z[look, metric] > 0 else -1
    return signs
