"""Asks the sources against a deadline: one that fails or is late is left out and counted, and skipped while it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from segue.core.evidence import union
from segue.core.stages import CandidateSource
from segue.core.types import Candidates, Query, Scored

Count = Callable[[str, str], None]
"""count(event, label): where serving reports what it left out; monitoring gives the counter."""
Timed = Callable[[str, float], None]
"""timed(source, seconds): what each source took."""


@dataclass
class _Round:
    """What has come in for one request so far; the asking thread writes, the waiting thread reads."""

    answers: list[Scored | None]
    done: threading.Event = field(default_factory=threading.Event)
    asked: int = 0  # sources that have answered or failed


class Gatherer:
    """Runs the sources of a request in one worker thread, in order, and takes what has come in by the deadline.

    The hand-over costs some 50 us and buys a hard limit: a source that hangs cannot hold the request. Until it returns it
    is left out of further requests, so that at most one worker hangs for each source.
    """

    def __init__(self, count: Count, timed: Timed, workers: int = 16) -> None:
        self._count, self._timed = count, timed
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sources")
        self._lock = threading.Lock()
        self._hanging: set[str] = set()

    def gather(self, sources: Sequence[CandidateSource], query: Query, limit: int, budget_s: float) -> Candidates:
        """The union of what the sources offer within budget_s seconds."""
        awake = [source for source in sources if source.name not in self._hanging]
        for source in sources:
            if source.name in self._hanging:
                self._count("source_hanging", source.name)
        this = _Round([None] * len(awake))
        self._pool.submit(self._ask, this, awake, query, limit)
        if not this.done.wait(budget_s):
            self._give_up(this, awake)
        return union(
            [source.name for source in awake], [Scored.none() if answer is None else answer for answer in this.answers]
        )

    def _ask(self, this: _Round, sources: Sequence[CandidateSource], query: Query, limit: int) -> None:
        for place, source in enumerate(sources):
            started = time.perf_counter()
            try:
                this.answers[place] = source.retrieve(query, limit)
            except Exception:
                self._count("source_failed", source.name)
            self._timed(source.name, time.perf_counter() - started)
            with self._lock:
                this.asked = place + 1
                self._hanging.discard(source.name)
            if this.done.is_set():  # the request went on without us: the rest is not wanted any more
                return
        this.done.set()

    def _give_up(self, this: _Round, sources: Sequence[CandidateSource]) -> None:
        with self._lock:
            late = this.asked
            if late < len(sources):
                self._hanging.add(sources[late].name)
            this.done.set()
        for source in sources[late:]:
            self._count("source_late", source.name)

    def close(self) -> None:
        """Let the workers go; one that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
