"""The desk at which a server asks who gets which arm: a few microseconds, nothing without experiments."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from segue.core.hashing import hash64
from segue.experiments.assignment import ARMS, NEW, place, unit_of
from segue.experiments.book import Experiment
from segue.experiments.health import BUCKETS, GROUPS, Answers
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
    shared: bool = False  # the new arm is a slate that old and new fill in turn

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
        self._steps: tuple[str, ...] = ()  # keys of the steps that run, in shadow too
        self._seen = [0] * SEEN
        self._health: dict[str, Answers] = {}  # by number/step/arm
        self._lock = threading.Lock()

    def take(self, experiments: Sequence[Experiment]) -> None:
        """Serve these from the next request on."""
        self._steps = tuple(f"{e.number}/{e.state.step}/" for e in experiments if e.running)
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
            out.append(Told(one.name, one.number, one.step, arm, unit, one.plan.mode == "interleave"))
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

    def answered(
        self, told: Sequence[Told], *, failed: bool, late: bool = False, seconds: float = 0.0, group: int = 0
    ) -> None:  # fmt: skip
        """Count an answer, by arm; `group` is the listener's, 0 to health.GROUPS - 1."""
        with self._lock:
            for one in told:
                row = self._health.setdefault(f"{one.number}/{one.step}/{one.arm}", Answers())
                row.add(failed=failed, late=late, seconds=seconds, group=group)

    def health(self, number: int, step: int) -> dict[str, Answers]:
        """The answers of a step so far, by arm: copies."""
        with self._lock:
            rows = {arm: self._health.get(f"{number}/{step}/{arm}", Answers()) for arm in ARMS}
            return {
                arm: msgspec.structs.replace(row, times=list(row.times), groups=list(row.groups)) for arm, row in rows.items()
            }

    def kept(self) -> bytes:
        """The counts of the steps that run, as text to be given to `recall` after a restart."""
        with self._lock:
            return msgspec.json.encode({key: row for key, row in self._health.items() if key.startswith(self._steps)})

    def recall(self, kept: bytes) -> None:
        """Go on counting from there; what cannot be read counts as nothing."""
        with suppress(msgspec.MsgspecError):
            rows = msgspec.json.decode(kept, type=dict[str, Answers])
            with self._lock:
                whole = (4 * GROUPS, BUCKETS)
                self._health = {key: row for key, row in rows.items() if (len(row.groups), len(row.times)) == whole}
