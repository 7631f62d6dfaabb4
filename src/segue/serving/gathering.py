"""Asks the sources against a deadline: one that fails or is late is left out and counted, and skipped while it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from segue.core.evidence import union
from segue.core.stages import CandidateSource
from segue.core.types import MISSING, Candidates, Query, Scored

Count = Callable[[str, str], None]
"""count(event, label): where serving reports what it left out; monitoring gives the counter."""
Timed = Callable[[str, float], None]
"""timed(source, seconds): what each source took."""

UNPLAYED = "unplayed"
"""What offers songs where nobody has played anything yet: the catalogue itself, the newest first."""
IMPERSONAL = frozenset({"popular", "fresh", UNPLAYED})
"""Sources whose evidence alone does not make an answer personal."""


def rung_of(query: Query, offered: Sequence[Sequence[str]]) -> str:
    """The rung of an answer that went the whole way: personal where some source looked at the listener or the seeds."""
    if any(set(names) - IMPERSONAL for names in offered):
        return "personal"
    return "regional" if query.context.region != MISSING else "global"


class Round:
    """What has come in for one request so far: a worker writes, whoever waits for `done` reads."""

    def __init__(self, sources: Sequence[CandidateSource]) -> None:
        self.sources = sources
        self.answers: list[Scored | None] = [None] * len(sources)
        self.waiting: list[int] = []  # places of the sources that a worker asks, in order
        self.heard = 0  # how many of those have answered or failed
        self.given_up = False
        self.done: Future[None] | None = None  # None: everything was said at once

    def candidates(self) -> Candidates:
        """The union of what has come in."""
        answers = [Scored.none() if answer is None else answer for answer in self.answers]
        return union([source.name for source in self.sources], answers)


class Gatherer:
    """Asks the sources of a request; whoever asked takes what has come in by the deadline.

    A source that declares `at_once` only reads arrays of this process: it is asked where the request runs, in order, as long
    as the time for sources lasts. Handing it to a thread would cost as much as the source itself, and much more under
    load, when threads wait for each other at Python's lock. Every other source (a database, a network) is asked in one
    worker thread a request, beside those: a hard limit, since one that hangs cannot hold the request. Until it returns,
    a hanging source is left out of further requests, so that at most one worker hangs for each. Hanging is remembered of
    the source itself: a new model's source of the same name is asked again.
    """

    def __init__(self, count: Count, timed: Timed, workers: int = 16) -> None:
        self._count, self._timed = count, timed
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sources")
        self._lock = threading.Lock()
        self._hanging: set[int] = set()

    def ask(self, sources: Sequence[CandidateSource], query: Query, limit: int, budget_s: float) -> Round:
        """Ask; wait for `done` of what comes back, if it has one, then `take` it. Sources past the budget are not asked."""
        ends = time.perf_counter() + budget_s
        this = Round(self._awake(sources))
        this.waiting = [place for place, source in enumerate(this.sources) if not getattr(source, "at_once", False)]
        if this.waiting:
            this.done = Future()
            self._pool.submit(self._run, this, query, limit)
        apart = set(this.waiting)
        for place, source in enumerate(this.sources):
            if place in apart:
                continue
            if time.perf_counter() > ends:
                self._count("source_late", source.name)
            else:
                self._hear(this, place, query, limit)
        return this

    def take(self, this: Round) -> Candidates:
        """What has come in by now; sources that have not answered are given up and counted as late."""
        if this.waiting:
            with self._lock:
                late = this.waiting[this.heard :]
                if late:
                    this.given_up = True
                    self._hanging.add(id(this.sources[late[0]]))
            for place in late:
                self._count("source_late", this.sources[place].name)
        return this.candidates()

    def _awake(self, sources: Sequence[CandidateSource]) -> Sequence[CandidateSource]:
        if not self._hanging:
            return sources
        for source in sources:
            if id(source) in self._hanging:
                self._count("source_hanging", source.name)
        return [source for source in sources if id(source) not in self._hanging]

    def _hear(self, this: Round, place: int, query: Query, limit: int) -> None:
        source, started = this.sources[place], time.perf_counter()
        try:
            this.answers[place] = source.retrieve(query, limit)
        except Exception:
            self._count("source_failed", source.name)
        self._timed(source.name, time.perf_counter() - started)

    def _run(self, this: Round, query: Query, limit: int) -> None:
        for number, place in enumerate(this.waiting):
            self._hear(this, place, query, limit)
            with self._lock:
                this.heard = number + 1
                self._hanging.discard(id(this.sources[place]))
                if this.given_up:  # the request went on without us: the rest is not wanted any more
                    break
        assert this.done is not None
        this.done.set_result(None)

    def close(self) -> None:
        """Let the workers go; one that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
