"""The desk at which a server asks who gets which arm: a few microseconds, nothing without experiments."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from segue.core.hashing import hash64
from segue.experiments.assignment import ARMS, NEW, place, unit_of
from segue.experiments.book import Experiment
from segue.experiments.metrics import code
from segue.experiments.plan import Plan, Treatment

SEEN = 1 << 18
"""Slots of the memory of who was written down already; one that is overwritten is sent again, and the log knows it."""


@dataclass(frozen=True)
class Told:
    """One experiment's word on one request."""

    name: str
    number: int
    step: int
    arm: str
    unit: str

    @property
    def event_id(self) -> str:
        """The same for the same unit, arm and step for ever: the log keeps the first, which is the first influence."""
        return f"assigned/{self.number}/{self.step}/{self.arm}/{self.unit}"

    @property
    def value(self) -> float:
        """What the ASSIGNED event carries."""
        return code(self.step, self.arm)


@dataclass(frozen=True)
class _Running:
    name: str
    number: int
    step: int
    plan: Plan


class Desk:
    """Knows the running experiments of a home as of the last `take`, which swaps one reference."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._running: tuple[_Running, ...] = ()
        self._seen = [0] * SEEN
        self._health: dict[tuple[int, int, str], list[int]] = {}
        self._lock = threading.Lock()

    def take(self, experiments: Sequence[Experiment]) -> None:
        """Serve these from the next request on."""
        running = (e for e in experiments if e.running and e.plan.ramp[e.state.step].new > 0)
        self._running = tuple(_Running(e.plan.name, e.number, e.state.step, e.plan) for e in running)

    def __bool__(self) -> bool:
        return bool(self._running)

    def ask(self, user: str, session: str | None, request: str) -> tuple[Told, ...]:
        """The arm of every running experiment, in order of their start."""
        out = []
        for one in self._running:
            unit = unit_of(one.plan.split, user, session, request)
            arm = one.plan.ramp[one.step].shares.arm(place(self._key, one.plan.layer, unit))
            out.append(Told(one.name, one.number, one.step, arm, unit))
        return tuple(out)

    def treatment(self, told: Sequence[Told]) -> tuple[Treatment, ...]:
        """What the new arms among them get."""
        by_number = {one.number: one.plan.new for one in self._running}
        return tuple(by_number[t.number] for t in told if t.arm == NEW and t.number in by_number)

    def first(self, told: Told) -> bool:
        """Whether this must be written down: not seen here yet. Sound with several processes: the log knows its event ids."""
        mark = hash64(told.event_id)
        slot = mark % SEEN
        if self._seen[slot] == mark:
            return False
        self._seen[slot] = mark
        return True

    def forget(self, told: Told) -> None:
        """It could not be written: the next request tries again."""
        self._seen[hash64(told.event_id) % SEEN] = 0

    def answered(self, told: Sequence[Told], *, failed: bool) -> None:
        """Count an answer, by arm: it was whole, or the ladder had to catch it."""
        with self._lock:
            for one in told:
                row = self._health.setdefault((one.number, one.step, one.arm), [0, 0])
                row[0] += 1
                row[1] += failed

    def health(self, number: int, step: int) -> dict[str, tuple[int, int]]:
        """(answers, failed ones) by arm since the step began in this process."""
        with self._lock:
            rows = {arm: self._health.get((number, step, arm), [0, 0]) for arm in ARMS}
        return {arm: (row[0], row[1]) for arm, row in rows.items()}


def broken(health: dict[str, tuple[int, int]], *, least: int = 50, more: float = 0.02) -> str:
    """Why the new arm certainly fails more often than control, or ""; a breaker, checked every few seconds.

    Wilson intervals at z = 4.5 (a chance of 7e-6 a look; a day has 8,640 looks of ten seconds) that lie apart by `more`.
    Control is old and rest together: both are served alike.
    """
    n_new, bad_new = health[NEW]
    n_old, bad_old = (sum(row[k] for arm, row in health.items() if arm != NEW) for k in (0, 1))
    if n_new < least:
        return ""
    low, high = _wilson(bad_new, n_new, -4.5), _wilson(bad_old, n_old, 4.5) if n_old else 0.0
    return f"{bad_new} of {n_new} answers failed under new, {bad_old} of {n_old} under old" if low > high + more else ""


def _wilson(k: int, n: int, z: float) -> float:
    """One end of the Wilson score interval."""
    p = k / n
    middle = p + z * z / (2 * n)
    return float((middle + z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n))
