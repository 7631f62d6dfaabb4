"""One tick for every running experiment: read the log, look, and move; what it decides is in the book before it is served."""

from __future__ import annotations

from collections.abc import Callable

from segue.experiments.book import Book, Experiment
from segue.experiments.looking import Found, decided, found, mismatch, next_look, take, watched
from segue.experiments.metrics import Log, Table, assigned, collect
from segue.experiments.plan import DAY_MS
from segue.experiments.ramp import Move, Seen, Watched, move

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
    return Seen(now, newest, users, mismatch(table, step), (*(watched(one) for one in told), *health), broken, verdict)


def tick(
    book: Book, log: Log, now: int, newest: int, broken: Broken = lambda experiment: "", health: Health = lambda experiment: (),
) -> list[tuple[str, Move]]:  # fmt: skip
    """Look at every running experiment and take at most one move each; the moves that were taken and written.

    Idempotent: killed at any instruction, the next tick sees the same book and the same log and does what is left to do.
    """
    book.refresh()
    out = []
    for experiment in [e for e in book.all() if e.running]:
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
