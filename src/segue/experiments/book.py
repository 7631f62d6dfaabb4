"""The book of experiments: a journal of everything that happened, and where each stands, which is nothing but its sum."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from segue.core.errors import BadInput, Corrupt, NotFound
from segue.experiments.looking import Look
from segue.experiments.plan import Plan, checked
from segue.experiments.ramp import Move, State, after


class Journal(Protocol):
    """Where the book is written: storage/journal.py."""

    def append(self, record: bytes, *, after: int | None = None) -> bool:
        """Durable when it returns; False when the journal has grown past `after`."""
        ...

    def read(self) -> tuple[list[bytes], int]:
        """Every record, and where the journal ends."""
        ...


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the audit trail: a start, a move, a look or a word from a person."""

    at: int
    name: str
    by: str = "ramp"  # or "person"
    plan: Plan | None = None
    lock: str = ""
    move: Move | None = None
    look: Look | None = None
    stop: str = ""  # why a person stopped it
    resume: str = ""  # why a person lets a held one go on
    shipped: str = ""  # what became of a new arm that shipped: the version that was promoted, or what a person must do


@dataclass(frozen=True)
class Experiment:
    """Where one stands; `number` is its place in the book and marks its events in the log."""

    number: int
    plan: Plan
    state: State
    started: int
    looks: tuple[Look, ...] = ()
    trail: tuple[Entry, ...] = ()
    steps: tuple[int, ...] = field(default=())  # ms at which each step began
    shipped: str = ""  # what became of the new arm; "" = nothing yet

    @property
    def running(self) -> bool:
        """Whether arms are served."""
        return not self.state.ended

    @property
    def to_ship(self) -> bool:
        """Whether it has ended well, and its new arm is not yet everybody's."""
        return self.state.ended == "shipped" and not self.shipped


class Book:
    """All experiments of a home. Reading folds the journal; writing appends to it, and fails when somebody wrote between."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._experiments: dict[str, Experiment] = {}
        self._end = -1
        self.refresh()

    def refresh(self) -> bool:
        """Take in what other processes wrote; whether there was anything."""
        records, end = self._journal.read()
        if end == self._end:
            return False
        experiments: dict[str, Experiment] = {}
        for record in records:
            entry = msgspec.json.decode(record, type=Entry)
            experiments[entry.name] = folded(experiments.get(entry.name), entry, len(experiments))
        self._experiments, self._end = experiments, end
        return True

    def all(self) -> list[Experiment]:
        """In order of start."""
        return list(self._experiments.values())

    def get(self, name: str) -> Experiment:
        """By name; NotFound lists the known ones."""
        if name not in self._experiments:
            known = ", ".join(self._experiments) or "none yet"
            raise NotFound(f"no experiment {name!r}; known: {known}")
        return self._experiments[name]

    def start(self, plan: Plan, now: int) -> Experiment:
        """Lock the plan and begin; BadInput where the name was used, or its layer is taken by a running one."""
        plan = checked(msgspec.convert(msgspec.to_builtins(plan), Plan))  # as it will be read: 7 days are 7.0
        while not self._write(Entry(now, plan.name, "person", plan=self._free(plan), lock=plan.lock())):
            continue  # somebody wrote between: is it free still?
        return self.get(plan.name)

    def _free(self, plan: Plan) -> Plan:
        if plan.name in self._experiments:
            raise BadInput(f"name: {plan.name!r} was used by an earlier experiment; choose another", "name")
        for other in self.all():
            if other.running and other.plan.layer == plan.layer:
                raise BadInput(
                    f"layer: {plan.layer!r} is taken by {other.plan.name!r}; stop it, or choose another layer", "layer"
                )
        return plan

    def stop(self, name: str, why: str, now: int) -> Experiment:
        """Everybody back to old; harmless when it has ended."""
        while self.get(name).running and not self._write(Entry(now, name, "person", stop=why or "stopped by a person")):
            continue  # somebody wrote between, a look perhaps: a person's word must not be lost to it
        return self.get(name)

    def resume(self, name: str, why: str, now: int) -> Experiment:
        """Let a held one go on; harmless when it is not held."""
        while self.get(name).state.held and not self._write(Entry(now, name, "person", resume=why or "resumed by a person")):
            continue
        return self.get(name)

    def moved(self, name: str, taken: Move, now: int) -> bool:
        """Write a move down; False when somebody else wrote first: look again."""
        return self._write(Entry(now, name, move=taken))

    def looked(self, name: str, look: Look) -> bool:
        """Lock a planned look; False as in moved."""
        return self._write(Entry(look.at, name, look=look))

    def shipped(self, name: str, what: str, now: int) -> bool:
        """Write down what became of a new arm that shipped; False as in moved."""
        return self._write(Entry(now, name, shipped=what))

    def versions(self) -> set[str]:
        """The models that experiments still need: of new arms that run, or that shipped and are not yet promoted."""
        return {e.plan.new.model for e in self.all() if e.running or e.to_ship}

    def _write(self, entry: Entry) -> bool:
        done = self._journal.append(msgspec.json.encode(entry), after=self._end)
        self.refresh()
        return done


def folded(before: Experiment | None, entry: Entry, number: int) -> Experiment:
    """The experiment after one more entry; Corrupt where a plan is not the one that was locked."""
    if before is None:
        if entry.plan is None or entry.plan.lock() != entry.lock:
            raise Corrupt(f"experiment {entry.name!r}: its plan is not the one that was locked when it started")
        state = State(since=entry.at)
        return Experiment(number, entry.plan, state, entry.at, trail=(entry,), steps=(entry.at,))
    state, steps, looks = before.state, before.steps, before.looks
    if entry.move is not None:
        state = after(before.plan, state, entry.move, entry.at)
        if state.step != before.state.step:
            steps = (*steps, entry.at)
    if entry.look is not None:
        looks = (*looks, entry.look)
    if entry.stop:
        state = msgspec.structs.replace(state, ended="stopped", why=entry.stop)
    if entry.resume:
        state = msgspec.structs.replace(state, held="", resumed=entry.at)
    shipped = entry.shipped or before.shipped
    return replace(before, state=state, looks=looks, trail=(*before.trail, entry), steps=steps, shipped=shipped)
