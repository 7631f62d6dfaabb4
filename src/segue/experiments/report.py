"""An experiment in numbers and in words: per metric the arms, the lift with both intervals, the course day by day."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from segue.experiments.assignment import ARMS, NEW, OLD, REST
from segue.experiments.book import Experiment
from segue.experiments.interleaving import Preference
from segue.experiments.looking import Found, each_arm, found, mismatch, watched
from segue.experiments.metrics import METRICS, Table
from segue.experiments.plan import DAY_MS
from segue.experiments.runner import table_of
from segue.experiments.sequences import LEAST
from segue.experiments.votes import Log, Shared

Z = 1.959963984540054
Row = dict[str, Any]


def summary(experiment: Experiment) -> Row:
    """Where it stands, without reading the log."""
    plan, state = experiment.plan, experiment.state
    step = plan.ramp[state.step]
    return {
        "name": plan.name, "hypothesis": plan.hypothesis, "mode": plan.mode, "running": experiment.running, "step": state.step,
        "steps": len(plan.ramp), "share_new": step.new if experiment.running else 0.0, "share_old": step.old,
        "started": experiment.started, "since": state.since, "held": state.held, "ended": state.ended, "why": state.why,
        "verdict": verdict(experiment),
    }  # fmt: skip


def shared_report(experiment: Experiment, shared: Shared, now: int) -> Row:
    """What there is to say of two rankers in one slate; the same keys as `report`, no metric of arms, and `preference`."""
    plan, last = experiment.plan, len(experiment.plan.ramp) - 1
    now = min(now, _over(experiment, last, now) + int(plan.window_days * DAY_MS))
    told = shared.preference(experiment, now)
    votes = {name: getattr(told, name) for name in ("ours", "theirs", "ties", "listeners", "p", "margin")}
    ends = ("delta", "low", "high", "always_low", "always_high")
    return {
        **summary(experiment),
        "shown_step": last,
        "assigned": {NEW: len(shared.votes(experiment, now).user)},
        "mismatch_p": 1.0,
        "metrics": [],
        "a_a": None,
        "looks": [],
        "preference": {**votes, **{end: getattr(told, end) for end in ends}, "words": preferred(told)},
        "plan": msgspec.to_builtins(plan),
        "lock": experiment.trail[0].lock,
        "trail": [_entry(entry) for entry in experiment.trail],
    }


def preferred(told: Preference) -> str:
    """A preference in words, by the interval that holds at every look."""
    if told.always_low > 0:
        return f"new is preferred: by {0.5 + told.always_low:.1%} to {0.5 + told.always_high:.1%} of listeners, ties halved"
    if told.always_high < 0:
        return f"old is preferred: by {0.5 - told.always_high:.1%} to {0.5 - told.always_low:.1%} of listeners, ties halved"
    return "not told apart yet" if told.listeners >= LEAST else "too few listeners yet"


def verdict(experiment: Experiment) -> str:
    """The state in a sentence."""
    state, step = experiment.state, experiment.plan.ramp[experiment.state.step]
    if state.ended:
        said = {
            "rolled back": "Rolled back",
            "stopped": "Stopped",
            "finished": "Finished without shipping",
            "shipped": "Shipped",
        }
        became = f" {experiment.shipped}." if experiment.shipped else ""
        return f"{said[state.ended]}: {state.why}.{became}"
    if state.held:
        return f"Held: {state.held}."
    if experiment.plan.mode == "interleave" and step.new > 0:
        return f"Running: {step.new:.0%} of listeners get slates that old and new fill in turn; nothing ships from here."
    if step.new == 0:
        return "Shadow: the new arm is loaded and answers trial requests; no listener gets it yet."
    return f"Running: {step.new:.0%} of listeners get the new arm, {step.old:.0%} are control."


def report(experiment: Experiment, log: Log, now: int, shared: Shared | None = None) -> Row:
    """Everything that the page shows: metrics of the step that decides (or the current one), permanent A/A, looks, trail.

    `shared` remembers what was read of shared slates.
    """
    if experiment.plan.mode == "interleave":
        return shared_report(experiment, shared or Shared(log), now)
    plan = experiment.plan
    shown = min(experiment.state.step, next(k for k, s in enumerate(plan.ramp) if s.decides))
    now = min(now, _over(experiment, shown, now) + int(plan.window_days * DAY_MS))
    table = table_of(experiment, log, now, shown)
    rows = [_metric(experiment, table, metric, now) for metric in plan.watched]
    plain = found(plan, table, plan.primary[0], now, (REST, OLD))
    counts = np.bincount(table.who.arm, minlength=len(ARMS))
    return {
        **summary(experiment),
        "shown_step": shown,
        "assigned": {arm: int(counts[k]) for k, arm in enumerate(ARMS)},
        "mismatch_p": mismatch(table, plan.ramp[shown], experiment.state.resumed if shown == experiment.state.step else 0),
        "metrics": rows,
        "a_a": None if plain is None else {"lift": _number(plain.effect.lift), "z": _number(plain.effect.z)},
        "looks": msgspec.to_builtins(experiment.looks),
        "plan": msgspec.to_builtins(plan),
        "lock": experiment.trail[0].lock,
        "trail": [_entry(entry) for entry in experiment.trail],
    }


def _over(experiment: Experiment, step: int, now: int) -> int:
    """When a step was over, now where it is not: windows that it opened close after that, and nothing else changes."""
    if step + 1 < len(experiment.steps):
        return experiment.steps[step + 1]
    ends = (entry.at for entry in experiment.trail if entry.stop or (entry.move and entry.move.kind in ("back", "finish")))
    return now if experiment.running else next(ends, now)


def _metric(experiment: Experiment, table: Table, metric: str, now: int) -> Row:
    plan, told = experiment.plan, METRICS[metric]
    row: Row = {"metric": metric, "text": told.text, "good": told.good, "primary": metric in plan.primary, "course": []}
    one = found(plan, table, metric, now)
    if one is None:
        return row | {"words": "nothing to compare yet: no user's window has closed in both arms"}
    low, high = one.effect.lift_interval(Z)
    row |= {
        "old": _number(one.effect.old), "new": _number(one.effect.new), "lift": _number(one.effect.lift),
        "low": _number(low), "high": _number(high), "always_low": _number(one.low), "always_high": _number(one.high),
        "users_old": one.users[0], "users_new": one.users[1], "words": _words(one),
    }  # fmt: skip
    first = int(table.who.first.min())
    days = np.arange(first + DAY_MS, now + DAY_MS, max(DAY_MS, (now - first) // 60 // DAY_MS * DAY_MS))
    for at in np.minimum(days, now).tolist():
        then = found(plan, table, metric, at)
        if then is not None:
            arms = zip(("old", "new"), each_arm(plan, table, metric, at), strict=True)
            told_apart = {"at": at, "lift": _number(then.effect.lift), "low": _number(then.low), "high": _number(then.high)}
            parts = {f"{arm}{end}": _number(v) for arm, values in arms
                     for end, v in zip(("", "_low", "_high"), values, strict=True)}  # fmt: skip
            row["course"].append(told_apart | parts)
    return row


def _words(one: Found) -> str:
    harm = watched(one)
    if harm.least > 0:
        return f"certainly worse, by {harm.least:.1%} to {harm.most:.1%}"
    if harm.most < 0:
        return f"certainly better, by {-harm.most:.1%} to {-harm.least:.1%}"
    return (
        f"not told apart yet: between {-harm.most:+.1%} and {-harm.least:+.1%}"
        if np.isfinite(harm.least) and np.isfinite(harm.most)
        else "too few users yet"
    )


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return number if np.isfinite(number) else None


def _entry(entry: Any) -> Row:
    what = (
        entry.move.kind
        if entry.move
        else "look"
        if entry.look
        else "stop"
        if entry.stop
        else "resume"
        if entry.resume
        else "ship"
        if entry.shipped
        else "start"
    )
    why = entry.move.why if entry.move else entry.stop or entry.resume or entry.shipped
    if entry.look:
        why = ", ".join(f"{metric}: z = {z:+.2f}" for metric, z in entry.look.z.items())
    return {"at": entry.at, "by": entry.by, "what": what, "why": why}
