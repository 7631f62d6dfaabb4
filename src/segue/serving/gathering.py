"""Asks the sources against a deadline: one that fails or is late is left out and counted, and skipped while it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from segue.core.evidence import union
from segue.core.stages import CandidateSource
from segue.core.types import Candidates, Query, Scored

Count = Callable[[str, str], None]
"""count(event, label): where serving reports what it left out; monitoring gives the counter."""
Timed = Callable[[str, float], None]
"""timed(source, seconds): what each source took."""


class Round:
    """What has come in for one request so far: a worker writes, whoever waits for `done` reads."""

    def __init__(self, sources: Sequence[CandidateSource]) -> None:
        self.sources = sources
        self.answers: list[Scored | None] = [None] * len(sources)
        self.asked = 0  # sources that have answered or failed
        self.given_up = False
        self.done: Future[None] = Future()

    def candidates(self) -> Candidates:
        """The union of what has come in."""
        answers = [Scored.none() if answer is None else answer for answer in self.answers]
        return union([source.name for source in self.sources], answers)


class Gatherer:
    """Runs the sources of a request in one worker thread, in order; whoever asked takes what has come in by the deadline.

    The hand-over buys a hard limit: a source that hangs cannot hold the request, and a server goes on
    reading and ranking other requests meanwhile. Until it returns, a hanging source is left out of further requests, so that
    at most one worker hangs for each. Hanging is remembered of the source itself: a new model's source of the same name is
    asked again.
    """

    def __init__(self, count: Count, timed: Timed, workers: int = 16) -> None:
        self._count, self._timed = count, timed
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sources")
        self._lock = threading.Lock()
        self._hanging: set[int] = set()

    def ask(self, sources: Sequence[CandidateSource], query: Query, limit: int) -> Round:
        """Begin; wait for `done` of what comes back, then `take` it."""
        awake = sources
        if self._hanging:
            awake = [source for source in sources if id(source) not in self._hanging]
            for source in sources:
                if id(source) in self._hanging:
                    self._count("source_hanging", source.name)
        this = Round(awake)
        self._pool.submit(self._run, this, query, limit)
        return this

    def take(self, this: Round) -> Candidates:
        """What has come in by now; sources that have not answered are given up and counted as late."""
        with self._lock:
            late = this.asked
            if late < len(this.sources):
                this.given_up = True
                self._hanging.add(id(this.sources[late]))
        for source in this.sources[late:]:
            self._count("source_late", source.name)
        return this.candidates()

    def _run(self, this: Round, query: Query, limit: int) -> None:
        for place, source in enumerate(this.sources):
            started = time.perf_counter()
            try:
                this.answers[place] = source.retrieve(query, limit)
            except Exception:
                self._count("source_failed", source.name)
            self._timed(source.name, time.perf_counter() - started)
            with self._lock:
                this.asked = place + 1
                self._hanging.discard(id(source))
                if this.given_up:  # the request went on without us: the rest is not wanted any more
                    break
        this.done.set_result(None)

    def close(self) -> None:
        """Let the workers go; one that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
