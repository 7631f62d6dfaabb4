"""One tick for every running experiment: read the log, look, and move; what it decides is in the book before it is served."""

from __future__ import annotations

from collections.abc import Callable

from segue.experiments.book import Book, Experiment
from segue.experiments.looking import Found, decided, found, mismatch, next_look, take, watched
from segue.experiments.metrics import Log, Table, assigned, collect
from segue.experiments.plan import DAY_MS
from segue.experiments.ramp import Move, Seen, Watched, move
from segue.experiments.votes import Log as Slates
from segue.experiments.votes import Shared

Broken = Callable[[Experiment], str]
Health = Callable[[Experiment], tuple[Watched, ...]]


def table_of(experiment: Experiment, log: Log, now: int, step: int | None = None) -> Table:
    """The rows of a step, its current one unless told: everything since it began, and the weeks before for CUPED."""
    plan, at = experiment.plan, experiment.state.step if step is None else step
    start = experiment.steps[at]
    end = experiment.steps[at + 1] if at + 1 < len(experiment.steps) else now
    who = assigned(log, experiment.number, at, plan.split, start, min(now, end))
    window, before = int(plan.window_days * DAY_MS), int(plan.before_days * DAY_MS)
    served = next((k for k, one in enumerate(plan.ramp) if one.new > 0), at)
    untouched = experiment.steps[served] if at > served else None
    return collect(log, who, plan.split, now, window_ms=window, before_ms=before, untouched=untouched)


def metrics_of(experiment: Experiment, table: Table, now: int) -> list[Found]:
    """Every watched metric that can be told."""
    every = (found(experiment.plan, table, metric, now) for metric in experiment.plan.watched)
    return [one for one in every if one is not None]


def seen(experiment: Experiment, table: Table, now: int, newest: int, broken: str, health: tuple[Watched, ...] = ()) -> Seen:
    """What the ramp is to judge; health is what the server has seen of its own answers."""
    step = experiment.plan.ramp[experiment.state.step]
    told = metrics_of(experiment, table, now)
    primary = [one.users for one in told if one.metric in experiment.plan.primary]
    users = primary[0] if primary else (0, 0)
    verdict = decided(experiment.plan, experiment.looks) if step.decides else ""
    uneven = mismatch(table, step, experiment.state.resumed)
    return Seen(now, newest, users, uneven, (*(watched(one) for one in told), *health), broken, verdict)


def tick(
    book: Book, log: Slates, now: int, newest: int, broken: Broken = lambda experiment: "",
    health: Health = lambda experiment: (), shared: Shared | None = None,
) -> list[tuple[str, Move]]:  # fmt: skip
    """Look at every running experiment and take at most one move each; the moves that were taken and written.

    Idempotent: killed at any instruction, the next tick sees the same book and the same log and does what is left to do.
    `shared` remembers what was read of shared slates.
    """
    book.refresh()
    out = []
    running = [experiment for experiment in book.all() if experiment.running]
    if shared is not None:
        shared.only([experiment.plan.name for experiment in running])
    for experiment in running:
        if experiment.plan.mode == "interleave":
            sight = Seen(now, newest, (0, 0), watched=health(experiment), broken=broken(experiment))
            taken = pruned(experiment, sight, shared or Shared(log))
            if taken.kind != "stay" and book.moved(experiment.plan.name, taken, now):
                out.append((experiment.plan.name, taken))
            continue
        table = table_of(experiment, log, now)
        plan, step = experiment.plan, experiment.plan.ramp[experiment.state.step]
        if step.decides:
            closed = found(plan, table, plan.primary[0], now)
            look = take(plan, table, now) if closed and next_look(plan, experiment.looks, closed.users) else None
            if look is not None and not book.looked(plan.name, look):
                continue
            experiment = book.get(plan.name)
        sight = seen(experiment, table, now, newest, broken(experiment), health(experiment))
        taken = move(plan, experiment.state, sight)
        if taken.kind != "stay" and book.moved(plan.name, taken, now):
            out.append((plan.name, taken))
    return out


def pruned(experiment: Experiment, sight: Seen, shared: Shared) -> Move:
    """The move of an interleaved experiment: from the shadow on, back or held as on any ramp; over when listeners have decided.

    It ends as soon as the always-valid interval of the preference leaves zero, or when the planned listeners have voted.
    """
    plan, state = experiment.plan, experiment.state
    taken = move(plan, state, sight)
    if taken.kind != "stay" or state.held or not plan.ramp[state.step].new:
        return taken
    if sight.now - state.since < plan.ramp[state.step].days * DAY_MS:
        return taken
    told = shared.preference(experiment, sight.now)
    share = f"of {told.listeners:,} listeners {told.theirs:,} heard more of new, {told.ours:,} more of old"
    if told.always_low > 0:
        return Move("finish", f"new is preferred ({share}): worth an experiment with a ramp; this one never ships")
    if told.always_high < 0:
        return Move("finish", f"old is preferred ({share}): pruned")
    if told.listeners >= plan.users:
        return Move("finish", f"no preference was found ({share})")
    return Move("stay", f"undecided: {share}")
