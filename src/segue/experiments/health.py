"""How answers fare by arm and listener: failed, late, how long they took; the breaker, and guardrails of the ramp."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log, sqrt
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.experiments.assignment import ARMS, NEW
from segue.experiments.ramp import Watched

SHORTEST_S: Final = 0.0002
RATIO: Final = 1.2
BUCKETS: Final = 56
"""Times are kept in buckets a fifth apart, from 0.2 ms to 5 s; the last one holds everything longer."""
TROUBLES: Final = {"failed": "answers failed", "late": "answers came late"}
"""failed: empty, or below the rung "personal" though the listener is known. late: after the server's deadline."""
Z: Final = 4.5
"""A chance of 7e-6 a look; a day has 8,640 looks of ten seconds, but they look at the same answers again and again."""
LEAST: Final = 50
"""Answers of the new arm before anything is said."""
MORE: Final = 0.02
"""So much more trouble, as a share of answers, must be certain before the breaker opens."""
SLOWER: Final = 0.5
"""So much longer the mean answer of a new arm may take on its way forward, where a plan says nothing else."""
TIME: Final = "time"


GROUPS: Final = 256
"""Listeners are counted in so many groups, each listener always in the same one: groups do not depend on each other, so the
spread between them is a variance clustered by listener (random groups, Wolter 2007), at 8 kB an arm and no row a listener."""
LEAST_GROUPS: Final = 20
"""Groups with answers below which their spread is no estimate; answers then count as independent."""


class Answers(msgspec.Struct):
    """What one arm of one step has answered; a mutable row of counts."""

    n: int = 0
    failed: int = 0
    late: int = 0
    times: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    groups: list[int] = msgspec.field(default_factory=lambda: [0] * (4 * GROUPS))
    """(GROUPS, 4) row by row: answers, failed, late, microseconds."""

    def add(self, *, failed: bool, late: bool, seconds: float, group: int = 0) -> None:
        """One more answer, to a listener of a group."""
        at = 4 * group
        self.groups[at] += 1
        self.groups[at + 1] += failed
        self.groups[at + 2] += late
        self.groups[at + 3] += int(seconds * 1e6)
        self.n += 1
        self.failed += failed
        self.late += late
        place = int(log(max(seconds, SHORTEST_S) / SHORTEST_S) / log(RATIO))
        self.times[min(place, BUCKETS - 1)] += 1

    def quantile_s(self, q: float) -> float:
        """The time that a share q of the answers did not exceed: the upper end of its bucket, inf in the last; 0 of none."""
        wanted, so_far = q * self.n, 0
        for place, count in enumerate(self.times):
            so_far += count
            if count and so_far >= wanted:
                return SHORTEST_S * RATIO ** (place + 1) if place + 1 < BUCKETS else inf
        return 0.0


Health = Mapping[str, Answers]
"""By arm."""


def joined(health: Health) -> tuple[Answers, Answers]:
    """(control, new): old and rest are served alike."""
    control = Answers()
    for arm, row in health.items():
        if arm != NEW:
            control.n, control.failed, control.late = control.n + row.n, control.failed + row.failed, control.late + row.late
            control.times = [a + b for a, b in zip(control.times, row.times, strict=True)]
    return control, health.get(NEW, Answers())


def broken(health: Health) -> str:
    """Why the new arm certainly does worse than control, or "": the breaker, checked every few seconds.

    Wilson intervals at Z that lie apart by MORE, and so do the clustered ones: the first know that few answers are few, the
    second that answers to one listener are alike. Z is wide because somebody looks every few seconds.
    """
    control, new = joined(health)
    if new.n < LEAST:
        return ""
    for trouble, words in TROUBLES.items():
        bad_new, bad_old = getattr(new, trouble), getattr(control, trouble)
        low, high = _wilson(bad_new, new.n, -Z), _wilson(bad_old, control.n, Z) if control.n else 0.0
        if low > high + MORE and _surely(health, trouble):
            return f"{bad_new} of {new.n} {words} under new, {bad_old} of {control.n} under old"
    return ""


def watch(health: Health, slower: float = SLOWER) -> tuple[Watched, ...]:
    """The troubles and the time as guardrails of the way forward, each with a standard error clustered by listener.

    Of a trouble harm is the share of answers under new less that under control; of the time the mean under new over that
    under control, less 1, and `slower` is its margin. Their intervals say nothing (-1 to 1): certain harm is the breaker's.
    """
    control, new = joined(health)
    if min(control.n, new.n) < LEAST:
        return ()
    out = [Watched(f"share of answers {trouble}", *_between(health, trouble)) for trouble in TROUBLES]
    if all(table[:, 3].any() for table in _tables(health)):
        out.append(Watched("mean time of an answer", *_between(health, TIME), margin=slower))
    return tuple(out)


def _surely(health: Health, trouble: str) -> bool:
    """Whether the clustered intervals lie apart by MORE too."""
    apart, se = _apart(health, trouble)
    return apart - Z * se > MORE


def compared(health: Health) -> dict[str, dict[str, float]]:
    """For the report: harm of new against control, with a 95 % interval clustered by listener; empty below LEAST answers."""
    return {
        one.metric: {"harm": one.harm, "low": one.harm - 1.96 * one.se, "high": one.harm + 1.96 * one.se}
        for one in watch(health)
    }


def _between(health: Health, what: str) -> tuple[float, float, float, float]:
    """The fields of Watched that follow its name."""
    apart, se = _apart(health, what)
    return apart, -1.0, 1.0, se


def _tables(health: Health) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(GROUPS, 4) each: control, new."""
    of = {arm: np.array(row.groups, np.float64).reshape(GROUPS, 4) for arm, row in health.items()}
    none = np.zeros((GROUPS, 4))
    return sum((table for arm, table in of.items() if arm != NEW), none), of.get(NEW, none)


def _apart(health: Health, what: str) -> tuple[float, float]:
    """How much worse new is, and the standard error of that: from groups of listeners where there are enough of them.

    Ratios of sums r = sum x / sum n by the delta method, d_g = (x_g - r n_g) / sum n: the error is sum (d_new - d_old)^2 over
    groups, which holds for listeners of both arms too; in the time each d is divided by its r, since it is compared as a ratio.
    """
    tables, (control, new) = _tables(health), joined(health)
    place = {"failed": 1, "late": 2, TIME: 3}[what]
    counted = all(table[:, 0].sum() == row.n > 0 for table, row in zip(tables, (control, new), strict=True))
    used = (tables[0][:, 0] + tables[1][:, 0]) > 0
    if not counted or used.sum() < LEAST_GROUPS:
        if what == TIME:
            return 0.0, 0.0
        p, q = (getattr(row, what) / max(row.n, 1) for row in (new, control))
        return p - q, sqrt(p * (1 - p) / max(new.n, 1) + q * (1 - q) / max(control.n, 1))
    ratios = [float(table[:, place].sum() / table[:, 0].sum()) for table in tables]
    parts = [(t[:, place] - r * t[:, 0]) / t[:, 0].sum() for t, r in zip(tables, ratios, strict=True)]
    if what == TIME:
        parts = [part / max(r, 1e-9) for part, r in zip(parts, ratios, strict=True)]
    groups = int(used.sum())
    se = sqrt(float(((parts[1] - parts[0]) ** 2).sum()) * groups / (groups - 1))
    return (ratios[1] / max(ratios[0], 1e-9) - 1.0 if what == TIME else ratios[1] - ratios[0]), se


def told(health: Health) -> dict[str, dict[str, float | None]]:
    """By arm, for the report: answers, shares of trouble, the median and the 95th and 99th percentile in ms."""
    out: dict[str, dict[str, float | None]] = {}
    for arm in ARMS:
        row = health.get(arm, Answers())
        times = {f"p{int(100 * q)}_ms": row.quantile_s(q) * 1000 for q in (0.5, 0.95, 0.99)}
        out[arm] = {
            "answers": row.n,
            "mean_ms": sum(row.groups[3::4]) / 1000 / max(row.n, 1),
            "failed": row.failed / max(row.n, 1),
            "late": row.late / max(row.n, 1),
        }
        out[arm] |= {name: value if value < inf else None for name, value in times.items()}
    return out


def _wilson(k: int, n: int, z: float) -> float:
    """One end of the Wilson score interval."""
    p = k / n
    middle = p + z * z / (2 * n)
    return float((middle + z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n))
