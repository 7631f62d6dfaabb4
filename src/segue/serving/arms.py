"""Which model answers a request under the running experiments, and the tick that moves them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from segue.core.types import Exposure
from segue.experiments import report
from segue.experiments.assignment import NEW
from segue.experiments.book import Book, Experiment
from segue.experiments.desk import Desk, Told, broken
from segue.experiments.metrics import Log
from segue.experiments.plan import Plan, Treatment
from segue.experiments.ramp import Move
from segue.experiments.runner import tick
from segue.serving.recommender import Model

Make = Callable[[Treatment], Model]


class Arms:
    """The experiments of a server: the book, the desk, and a loaded model for every running treatment."""

    def __init__(self, book: Book, desk: Desk, log: Log, make: Make, newest: Callable[[], int],
                 resolved: Callable[[Plan], Plan]) -> None:  # fmt: skip
        self.book, self._desk, self._log, self._make, self._newest = book, desk, log, make, newest
        self._resolved = resolved
        self._models: dict[str, Model] = {}
        self._unready: dict[str, str] = {}
        self._lock = threading.Lock()
        self._taken: tuple[object, ...] = ()
        self._version: str | None = None

    def __bool__(self) -> bool:
        return bool(self._desk)

    def refresh(self, version: str | None = None) -> None:
        """Take in what other processes wrote in the book; load the models of what runs, in shadow too, before they serve."""
        with self._lock:
            self.book.refresh()
            running = [e for e in self.book.all() if e.running]
            if version is not None and version != self._version:
                self._version, self._models = version, {}  # a new champion: settings are tried on that one
            version = self._version
            state = (version, *((e.plan.name, e.state) for e in running))
            if state == self._taken:
                return
            for e in running:
                if e.plan.name not in self._models:
                    self._load(e)
            names = {e.plan.name for e in running}
            self._models = {name: model for name, model in self._models.items() if name in names}
            self._desk.take([e for e in running if e.plan.name in self._models])
            self._taken = state

    def _load(self, experiment: Experiment) -> None:
        name = experiment.plan.name
        try:
            self._models[name] = self._make(experiment.plan.new)
            self._unready.pop(name, None)
        except Exception as error:  # a model that cannot be loaded must not stop the server: it is never served
            self._unready[name] = f"the new arm cannot be loaded: {error}"

    def told(self, user: str, session: str | None, request: str) -> tuple[Told, ...]:
        """The arm of every experiment that serves."""
        return self._desk.ask(user, session, request)

    def model(self, told: Sequence[Told], champion: Model) -> Model:
        """The model of the first new arm among them, else the champion; versions name every arm, so the exposure keeps them."""
        names = {f"experiment:{one.name}": one.arm for one in told}
        chosen = next((self._models[one.name] for one in told if one.arm == NEW and one.name in self._models), champion)
        return replace(chosen, versions={**chosen.versions, **names})

    def first(self, told: Sequence[Told]) -> list[Told]:
        """Those that must be written down as first influences."""
        return [one for one in told if self._desk.first(one)]

    def forget(self, told: Sequence[Told]) -> None:
        """They could not be written: try again with the next request."""
        for one in told:
            self._desk.forget(one)

    def answered(self, told: Sequence[Told], exposure: Exposure) -> None:
        """Count the answer for the breaker: it failed where the ladder had to catch a model that raised or was late."""
        if told:
            self._desk.answered(told, failed=exposure.slate.rung == "cached" or not len(exposure.slate.items))

    def tick(self, now: int) -> list[tuple[str, Move]]:
        """Look at everything that runs and move; what moved is served from the next request on."""
        self.book.refresh()
        # without an experiment the end of the log is nobody's business: reading it can be a whole segment
        newest = self._newest() if any(experiment.running for experiment in self.book.all()) else 0
        moves = tick(self.book, self._log, now, newest, self._broken)
        self.refresh()
        return moves

    def _broken(self, experiment: Experiment) -> str:
        unready = self._unready.get(experiment.plan.name, "")
        return unready or broken(self._desk.health(experiment.number, experiment.state.step))

    def start(self, plan: Plan, now: int) -> dict[str, object]:
        """Lock a plan and begin."""
        experiment = self.book.start(self._resolved(plan), now)
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
        return report.report(self.book.get(name), self._log, now)
