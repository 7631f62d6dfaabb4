"""Which model answers a request under the running experiments, and the tick that moves them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from segue.core.hashing import spread_one
from segue.core.types import Exposure, Float32, Int32, Query
from segue.experiments import report
from segue.experiments.assignment import NEW, OLD
from segue.experiments.book import Book, Experiment
from segue.experiments.desk import Desk, Told
from segue.experiments.health import GROUPS, Answers, broken, compared, watch
from segue.experiments.health import told as described
from segue.experiments.plan import Plan, Treatment
from segue.experiments.ramp import Move, Watched
from segue.experiments.runner import tick
from segue.experiments.votes import Log, Shared
from segue.serving.recommender import Model

GOLDEN = 2_654_435_769
"""Spreads request ids over 32 bits (Knuth's multiplicative hash): which requests are judged is not up to the clock."""


@dataclass(frozen=True)
class House:
    """What experiments need of the rest of the house."""

    make: Callable[[Treatment], Model]  # a model that is ready to serve
    newest: Callable[[], int]  # ms of the newest event in the log
    resolved: Callable[[Plan], Plan]  # with the version that an alias means now
    ship: Callable[[Treatment], str]  # make it everybody's; says what was done, harmless when it was done before
    mirror: Callable[[Query, Model, Int32], tuple[Float32, Int32]]  # chances that a model would have shown each item, its slate
    judged: float = 0.05  # share of requests for which the new arms that do not answer are asked what they would have done
    deadline_s: float = 0.08  # an answer after that is late
    keep: Callable[[bytes], None] = lambda counts: None  # counts of answers, to go on from after a restart
    recall: Callable[[], bytes] = lambda: b""


class Arms:
    """The experiments of a server: the book, the desk, and a loaded model for every running treatment."""

    def __init__(self, book: Book, desk: Desk, log: Log, house: House) -> None:
        self.book, self._desk, self._log, self._house = book, desk, log, house
        self._shared = Shared(log)
        self._desk.recall(house.recall())
        self._models: dict[str, Model] = {}
        self._unready: dict[str, str] = {}
        self._lock = threading.Lock()
        self._taken: tuple[object, ...] = ()
        self._trying: tuple[Experiment, ...] = ()
        self._judge = ThreadPoolExecutor(1, "judge")
        self._judging = threading.Lock()
        self._version: str | None = None

    def __bool__(self) -> bool:
        return bool(self._desk)

    def refresh(self, version: str | None = None) -> None:
        """Take in what other processes wrote in the book; load the models of what runs, in shadow too, before they serve."""
        with self._lock:
            self.book.refresh()
            running = [e for e in self.book.all() if e.running]
            changed = version is not None and version != self._version
            version = self._version = version if changed else self._version
            state = (version, *((e.plan.name, e.state) for e in running))
            if state == self._taken:
                return
            # a new champion: settings are tried on that one; meanwhile requests go on with what was loaded before
            loaded = {e.plan.name: (None if changed else self._models.get(e.plan.name)) or self._load(e) for e in running}
            self._models = {name: model for name, model in loaded.items() if model is not None}
            self._trying = tuple(e for e in running if e.plan.name in self._models)
            self._desk.take(self._trying)
            self._taken = state

    def _load(self, experiment: Experiment) -> Model | None:
        name = experiment.plan.name
        try:
            model = self._house.make(experiment.plan.new)
        except Exception as error:  # a model that cannot be loaded must not stop the server: it is never served
            self._unready[name] = f"the new arm cannot be loaded: {error}"
            return None
        self._unready.pop(name, None)
        return model

    def told(self, user: str, session: str | None, request: str) -> tuple[Told, ...]:
        """The arm of every experiment that serves."""
        return self._desk.ask(user, session, request)

    def model(self, told: Sequence[Told], champion: Model) -> Model:
        """The model of the first new arm among them, else the champion; versions name every arm, so the exposure keeps them.

        Of an interleaved experiment the champion, which shares its slates with the new arm's.
        """
        names = {f"experiment:{one.name}": one.arm for one in told}
        chosen = champion
        first = next((one for one in told if one.arm == NEW and one.name in self._models), None)
        if first is not None:
            tried = self._models[first.name]
            chosen = replace(champion, rival=(first.name, tried)) if first.shared else tried
        return replace(chosen, versions={**chosen.versions, **names})

    def first(self, told: Sequence[Told]) -> list[Told]:
        """Those that must be written down as first influences."""
        return [one for one in told if self._desk.first(one)]

    def forget(self, told: Sequence[Told]) -> None:
        """They could not be written: try again with the next request."""
        for one in told:
            self._desk.forget(one)

    def answered(self, told: Sequence[Told], exposure: Exposure, *, known: bool, seconds: float) -> None:
        """Count the answer by arm: how long it took, and whether it failed a listener of whom something is known.

        A slate that was to be shared and was not has failed too: the new arm had nothing for it in time.
        """
        rung, empty = exposure.slate.rung, not len(exposure.slate.items)
        failed = empty or rung == "cached" or (known and rung != "personal")
        late, group = seconds > self._house.deadline_s, _group(exposure)
        for one in told:
            alone = one.shared and one.arm == NEW and known and one.name not in exposure.teams
            self._desk.answered([one], failed=failed or alone, late=late, seconds=seconds, group=group)

    def judged(self, query: Query, told: Sequence[Told], exposure: Exposure) -> Future[Exposure] | None:
        """Mirror the request to the new arms that did not answer: the exposure with their slates and their chances.

        For a share of the requests, in a thread of its own: None where this is none of them, or where the one before is
        still at it. Chances of what was shown are what off-policy estimates are made of; what an arm costs and whether it
        fails counts for the breaker, in the shadow step too, where no listener gets it.
        """
        if not self._trying or exposure.slate.request_id * GOLDEN % 2**32 >= self._house.judged * 2**32:
            return None
        serving = {one.name for one in told if one.arm == NEW}
        models = self._models
        asked = [(e, models[e.plan.name]) for e in self._trying if e.plan.name not in serving and e.plan.name in models]
        if not asked or not self._judging.acquire(blocking=False):
            return None
        return self._judge.submit(self._told_chances, query, asked, exposure)

    def _told_chances(self, query: Query, asked: Sequence[tuple[Experiment, Model]], exposure: Exposure) -> Exposure:
        try:
            chances: dict[str, Float32] = {}
            instead: dict[str, Int32] = {}
            for e, model in asked:
                began, failed = time.perf_counter(), False
                try:
                    chances[e.plan.name], instead[e.plan.name] = self._house.mirror(query, model, exposure.slate.items)
                except Exception:  # what a new arm raises is counted, and must not cost the listener the answer
                    failed = True
                if not e.plan.ramp[e.state.step].new:
                    self._tried(e, exposure, failed, time.perf_counter() - began)
            return replace(exposure, chances=chances, instead=instead)
        finally:
            self._judging.release()

    def _tried(self, experiment: Experiment, exposure: Exposure, failed: bool, seconds: float) -> None:
        """A trial in the shadow step, for the breaker: beside it, the champion's answer, which was given."""
        name, number, step = experiment.plan.name, experiment.number, experiment.state.step
        late, group = seconds > self._house.deadline_s, _group(exposure)
        new, old = (Told(name, number, step, arm, "") for arm in (NEW, OLD))
        self._desk.answered([new], failed=failed, late=late, seconds=seconds, group=group)
        self._desk.answered([old], failed=exposure.slate.rung == "cached" or not len(exposure.slate.items), group=group)

    def tick(self, now: int) -> list[tuple[str, Move]]:
        """Look at everything that runs and move; what moved is served from the next request on, what shipped is promoted."""
        if self._trying:
            self._house.keep(self._desk.kept())
        self.book.refresh()
        # without an experiment the end of the log is nobody's business: reading it can be a whole segment
        newest = self._house.newest() if any(experiment.running for experiment in self.book.all()) else 0
        moves = tick(self.book, self._log, now, newest, self._broken, self._watched, self._shared)
        self.refresh()
        for experiment in [e for e in self.book.all() if e.to_ship]:
            # what a kill leaves undone between the two lines is done again by the next tick, to the same effect
            what = self._house.ship(experiment.plan.new)
            self.book.shipped(experiment.plan.name, what, now)
        return moves

    def _health(self, experiment: Experiment) -> dict[str, Answers]:
        return self._desk.health(experiment.number, experiment.state.step)

    def _watched(self, experiment: Experiment) -> tuple[Watched, ...]:
        return watch(self._health(experiment), experiment.plan.slower)

    def _broken(self, experiment: Experiment) -> str:
        return self._unready.get(experiment.plan.name, "") or broken(self._health(experiment))

    def start(self, plan: Plan, now: int) -> dict[str, object]:
        """Lock a plan and begin."""
        experiment = self.book.start(self._house.resolved(plan), now)
        self.refresh()
        return report.summary(experiment)

    def stop(self, name: str, why: str, now: int) -> dict[str, object]:
        """Everybody back to old, from the next request on."""
        experiment = self.book.stop(name, why, now)
        self.refresh()
        return report.summary(experiment)

    def summaries(self) -> list[dict[str, object]]:
        """Every experiment, newest first."""
        return [report.summary(e) for e in reversed(self.book.all())]

    def report(self, name: str, now: int) -> dict[str, object]:
        """One in numbers and words; NotFound."""
        experiment = self.book.get(name)
        return {**report.report(experiment, self._log, now, self._shared), "health": described(self._health(experiment)),
                "answers": compared(self._health(experiment))}  # fmt: skip


def _group(exposure: Exposure) -> int:
    """The group that a listener's answers are counted in; one whom nobody knows is a listener of their own."""
    return int(spread_one(exposure.user if exposure.user >= 0 else exposure.slate.request_id) * GROUPS)
