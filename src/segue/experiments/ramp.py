"""The ramp: what is seen, and the one move that follows from it. Forward on evidence only, back on certain harm at once."""

from __future__ import annotations

from typing import Literal

import msgspec

from segue.experiments.plan import DAY_MS, HOUR_MS, Plan

Kind = Literal["stay", "forward", "back", "hold", "release", "finish"]
MISMATCH = 0.001
"""Below this anytime-valid p of the planned shares an experiment is held: its users are not the ones that were drawn."""


class Watched(msgspec.Struct, frozen=True):
    """A metric in the step so far; harm is relative to old, positive = worse, whatever the direction of the metric.

    worst..best is its always-valid interval: with certainty 1 - guard_alpha the harm is at most `most` and at least `least`.
    """

    metric: str
    harm: float
    least: float
    most: float
    se: float = 0.0
    margin: float | None = None  # of its own; None: the plan's


class Seen(msgspec.Struct, frozen=True):
    """What a tick of the ramp knows."""

    now: int
    newest: int  # ms of the newest event in the log
    users: tuple[int, int]  # closed windows, (old, new)
    mismatch_p: float = 1.0
    watched: tuple[Watched, ...] = ()
    broken: str = ""  # requests that certainly fail more under new; "" = none
    decided: Literal["", "better", "worse", "no difference"] = ""


class State(msgspec.Struct, frozen=True):
    """Where an experiment stands."""

    step: int = 0
    since: int = 0  # ms, when this step began
    held: str = ""  # why, "" = not held
    ended: str = ""  # "rolled back", "stopped", "finished", "shipped"; "" = running
    why: str = ""
    resumed: int = 0  # ms, when a person let this step go on: a mismatch of those who came before is known


class Move(msgspec.Struct, frozen=True):
    """What follows, and why in words."""

    kind: Kind
    why: str


def move(plan: Plan, state: State, seen: Seen) -> Move:
    """The one move from here. Harm and errors come before everything, then doubts that hold, then the way forward."""
    if state.ended:
        return Move("stay", state.why)
    harm = _harm(seen)
    if harm:
        return Move("back", harm)
    doubt = _doubt(plan, seen)
    if doubt:
        return Move("stay" if state.held == doubt else "hold", doubt)
    if state.held.startswith(STALE):
        return Move("release", "events arrive again")
    if state.held:
        return Move("stay", state.held)
    return _forward(plan, state, seen)


STALE = "stale data"
PATIENCE_DAYS = 28
"""So long beyond its days a step waits for a guardrail that looks worse and is not certain to be; then old stays."""


def _harm(seen: Seen) -> str:
    """Why it must go back now; "" when nothing is certain."""
    if seen.broken:
        return seen.broken
    for one in seen.watched:
        if one.least > 0:
            return f"{one.metric} is certainly worse, by {one.least:.1%} to {one.most:.1%}"
    return "the planned decision found it worse" if seen.decided == "worse" else ""


def _doubt(plan: Plan, seen: Seen) -> str:
    if seen.mismatch_p < MISMATCH:
        return "sample ratio mismatch: the arms do not have the shares that were drawn"
    if seen.now - seen.newest > plan.stale_hours * HOUR_MS:
        return f"{STALE}: no event for more than {plan.stale_hours:g} hours"
    return ""


def _forward(plan: Plan, state: State, seen: Seen) -> Move:
    """Time, users, guardrails, the decision. While an arm is small a guardrail has a standard error to err by: 1 % of the
    traffic cannot tell 2 % of harm from none, and what it cannot tell must not stop the step that can."""
    step = plan.ramp[state.step]
    if seen.now - state.since < step.days * DAY_MS:
        return Move("stay", f"less than {step.days:g} days in this step")
    if step.new > 0 and min(seen.users) < step.users:
        return Move("stay", f"{min(seen.users)} of {step.users} users have closed their windows")
    if step.decides and seen.decided == "no difference":
        return Move("finish", "the planned sample found no improvement: old stays")
    early = not any(s.decides for s in plan.ramp[: state.step + 1])
    for one in seen.watched:
        margin = plan.margin if one.margin is None else one.margin
        if one.harm - (one.se if early else 0.0) > margin and step.new > 0:
            last = state.step + 1 == len(plan.ramp)
            if not last and seen.now - state.since >= (step.days + PATIENCE_DAYS) * DAY_MS:
                return Move("finish", f"{one.metric} has looked worse for {PATIENCE_DAYS} days, if not certainly: old stays")
            return Move("stay", f"{one.metric} looks {one.harm:.1%} worse, more than the margin of {margin:.1%}")
    if step.decides and not seen.decided:
        return Move("stay", "the planned looks have not decided yet")
    if state.step + 1 == len(plan.ramp):
        return Move("finish", "the last step is done: ship it")
    return Move("forward", f"enough time and users, no mismatch, no guardrail beyond {plan.margin:.1%}")


def after(plan: Plan, state: State, taken: Move, now: int) -> State:
    """The state that a move leads to; the arms that it serves follow from plan.ramp[state.step], nothing once it has ended."""
    if taken.kind == "forward":
        return State(step=state.step + 1, since=now)
    if taken.kind == "back":
        return msgspec.structs.replace(state, ended="rolled back", why=taken.why)
    if taken.kind == "finish":
        shipped = state.step + 1 == len(plan.ramp) and plan.mode == "ramp"  # what is interleaved never ships
        return msgspec.structs.replace(state, ended="shipped" if shipped else "finished", why=taken.why)
    if taken.kind == "hold":
        return msgspec.structs.replace(state, held=taken.why)
    if taken.kind == "release":
        return msgspec.structs.replace(state, held="")
    return state
