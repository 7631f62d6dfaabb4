"""How answers fare by arm: how many failed or were late, how long they took; the breaker, and guardrails of the ramp."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log, sqrt
from typing import Final

import msgspec

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


class Answers(msgspec.Struct):
    """What one arm of one step has answered; a mutable row of counts."""

    n: int = 0
    failed: int = 0
    late: int = 0
    times: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    def add(self, *, failed: bool, late: bool, seconds: float) -> None:
        """One more answer."""
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

    Wilson intervals at Z that lie apart by MORE. They take answers for independent, which answers to one listener are not:
    the wide Z is what pays for that.
    """
    control, new = joined(health)
    if new.n < LEAST:
        return ""
    for trouble, words in TROUBLES.items():
        bad_new, bad_old = getattr(new, trouble), getattr(control, trouble)
        low, high = _wilson(bad_new, new.n, -Z), _wilson(bad_old, control.n, Z) if control.n else 0.0
        if low > high + MORE:
            return f"{bad_new} of {new.n} {words} under new, {bad_old} of {control.n} under old"
    return ""


def watch(health: Health) -> tuple[Watched, ...]:
    """The troubles as guardrails of the way forward: harm is the share of answers under new less that under control.

    Their intervals say nothing certain (-1 to 1): certain harm is the breaker's.
    """
    control, new = joined(health)
    if min(control.n, new.n) < LEAST:
        return ()
    out = []
    for trouble in TROUBLES:
        p, q = getattr(new, trouble) / new.n, getattr(control, trouble) / control.n
        se = sqrt(p * (1 - p) / new.n + q * (1 - q) / control.n)
        out.append(Watched(f"share of answers {trouble}", p - q, -1.0, 1.0, se))
    return tuple(out)


def told(health: Health) -> dict[str, dict[str, float | None]]:
    """By arm, for the report: answers, shares of trouble, the median and the 95th and 99th percentile in ms."""
    out: dict[str, dict[str, float | None]] = {}
    for arm in ARMS:
        row = health.get(arm, Answers())
        times = {f"p{int(100 * q)}_ms": row.quantile_s(q) * 1000 for q in (0.5, 0.95, 0.99)}
        out[arm] = {"answers": row.n, "failed": row.failed / max(row.n, 1), "late": row.late / max(row.n, 1)}
        out[arm] |= {name: value if value < inf else None for name, value in times.items()}
    return out


def _wilson(k: int, n: int, z: float) -> float:
    """One end of the Wilson score interval."""
    p = k / n
    middle = p + z * z / (2 * n)
    return float((middle + z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n))
