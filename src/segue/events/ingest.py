"""The one that writes: a thread that gathers what many callers bring into one transaction, then folds and acknowledges."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput, NotReady
from segue.core.ports import ACCEPTED, CONFLICT, DUPLICATE, Appended, Catalogue, EventLog, OnlineState
from segue.core.types import Events, Exposure, Int64
from segue.events.follow import Follower
from segue.events.rows import Rows, build, join, warm_up
from segue.events.schema import EventIn

_EXPOSURE_ROWS = 16
"""What an exposure weighs in the queue, in events: about 2 kB."""
_THEIR_OWN_FAULT = (BadInput, ValueError, TypeError, KeyError, OverflowError)
"""Errors that one caller's content can cause: the others of the transaction are tried again without it."""

logger = logging.getLogger("segue.ingest")


@dataclass(frozen=True)
class IngestResult:
    """What became of each event, in order: status (n,) uint8 (core.ports), seq (n,) int64, 0 where not accepted."""

    status: NDArray[np.uint8]
    seq: Int64

    @property
    def accepted(self) -> int:
        """How many are in the log now."""
        return int(np.count_nonzero(self.status == ACCEPTED))

    @property
    def duplicates(self) -> int:
        """How many were there before, or earlier in the batch."""
        return int(np.count_nonzero(self.status == DUPLICATE))

    @property
    def conflicts(self) -> NDArray[np.intp]:
        """Rows whose event id belongs to another event."""
        return np.flatnonzero(self.status == CONFLICT)


@dataclass(frozen=True)
class _Work:
    """One call: events to be built, or built ones, or an exposure; and who waits for it."""

    weight: int
    future: Future[Any]
    batch: Sequence[EventIn] = ()
    rows: Rows | None = None
    exposure: Exposure | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.batch) if self.rows is None else len(self.rows.events))


@dataclass(frozen=True)
class _Unfolded:
    """Calls whose events are durable, and the seq that the state must have reached before they hear of it."""

    last: int
    works: Sequence[_Work]
    status: NDArray[np.uint8]
    seq: Int64


class Ingest:
    """Group commit over the ports: a future resolves when its events are durable in the log and folded into the state.

    While one transaction waits for the disk, the next one gathers: up to `commit_rows` events. A queue of `queue_rows`
    events is full: NotReady, try again later. Everything public may be called from any thread.

    Slates wait `linger_s` for more of them, since one transaction costs as much as writing ten; an event does not wait, and
    takes the slates before it along: an event that is acknowledged never refers to a slate that a crash could still lose.

    What other processes appended is folded whenever `idle_s` seconds have passed since the last look, busy or not. Events
    behind a long backlog of theirs wait until it is folded, in steps; meanwhile the writing goes on, and slates, which
    need no fold, are acknowledged as soon as they are durable.
    """

    def __init__(
        self,
        log: EventLog,
        state: OnlineState,
        catalogue: Catalogue,
        *,
        commit_rows: int = 20_000,
        queue_rows: int = 200_000,
        idle_s: float = 0.5,
        linger_s: float = 0.05,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._follower = Follower(log, state, idle_s=idle_s, clock=clock)
        self._catalogue = catalogue
        self._commit_rows = commit_rows
        self._queue_rows = queue_rows
        self._idle_s, self._linger_s = idle_s, linger_s
        self._entropy = entropy
        self._queue: deque[_Work] = deque()
        self._queued = 0
        self._urgent = 0  # calls in the queue that are no slates
        self._closed = False
        self._wake = threading.Condition()
        self._unfolded: deque[_Unfolded] = deque()
        self._unfolded_rows = 0
        self._behind = False
        self.catch_up()
        warm_up()
        self._thread = threading.Thread(target=self._run, name="segue-ingest", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[EventIn]) -> Future[IngestResult]:
        """Checked events from outside; names are interned on the way."""
        return self._enqueue(_Work(len(batch), Future(), batch=batch))

    def submit_columns(self, events: Events, texts: Mapping[int, str] | None = None) -> Future[IngestResult]:
        """Rows that are built already, keys and bodies included; 50,000 and more at once take the log's bulk path."""
        return self._enqueue(_Work(len(events), Future(), rows=Rows(events, dict(texts or {}))))

    def submit_exposure(self, exposure: Exposure) -> Future[None]:
        """A slate as shown; durable after at most `linger_s` and a transaction."""
        return self._enqueue(_Work(_EXPOSURE_ROWS, Future(), exposure=exposure))

    def catch_up(self) -> None:
        """Fold what is in the log and not in the state yet: what other processes appended, or a crash left unfolded."""
        self._follower.catch_up()

    def close(self) -> None:
        """Write what is queued, acknowledge it, and stop; submits are refused from now on."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _enqueue(self, work: _Work) -> Future[Any]:
        with self._wake:
            if self._closed:
                raise NotReady("the server is stopping and takes no more events")
            waiting = self._queued + self._unfolded_rows
            if waiting and waiting + work.weight > self._queue_rows:
                raise NotReady(f"{waiting} events wait to be written: try again in a second")
            self._queue.append(work)
            self._queued += work.weight
            self._urgent += work.exposure is None
            if work.exposure is None or len(self._queue) == 1:
                self._wake.notify()
        return work.future

    def _run(self) -> None:
        while True:
            with self._wake:
                if not (self._queue or self._unfolded or self._behind or self._closed):
                    self._wake.wait(self._idle_s)
                if self._queue and not (self._urgent or self._unfolded or self._behind or self._closed):
                    self._wake.wait(self._linger_s)
                if self._closed and not self._queue and not self._unfolded:
                    return
                works = self._take()
            try:
                if works:
                    self._write(works)
                if self._unfolded or self._behind or not works or self._follower.due:
                    self._look()
            except Exception as error:  # the thread outlives whatever goes wrong; callers get the error
                logger.exception("ingest")
                _fail(works, error)

    def _look(self) -> None:
        """One step towards the end of the log, then the good news to those whose events are in the state by now."""
        try:
            self._behind = self._follower.step()
        except Exception as error:
            self._could_not_follow(error)
        while self._unfolded and self._unfolded[0].last <= self._follower.applied:
            done = self._unfolded.popleft()
            self._unfolded_rows -= len(done.seq)
            _acknowledge(done.works, done.status, done.seq)

    def _could_not_follow(self, error: Exception) -> None:
        """Tell everyone who waits for the state; the next look comes with the next write, or when idle."""
        logger.error("durable, but the state could not follow", exc_info=error)
        self._behind, self._unfolded_rows = False, 0
        while self._unfolded:
            _fail(self._unfolded.popleft().works, error)

    def _take(self) -> list[_Work]:
        """The next works, up to commit_rows but at least one; those whose caller has given up are dropped."""
        works: list[_Work] = []
        weight = 0
        while self._queue and (not works or weight + self._queue[0].weight <= self._commit_rows):
            work = self._queue.popleft()
            self._queued -= work.weight
            self._urgent -= work.exposure is None
            if work.future.set_running_or_notify_cancel():
                works.append(work)
                weight += work.weight
        return works

    def _write(self, works: list[_Work]) -> None:
        """One transaction for all; when the content of one is at fault, one transaction each."""
        try:
            rows = self._rows(works)
            exposures = [work.exposure for work in works if work.exposure is not None]
            appended = self._log.append(rows.events, rows.texts, exposures)
        except _THEIR_OWN_FAULT as error:
            if len(works) == 1:
                _fail(works, error)
            for work in works if len(works) > 1 else []:
                self._write([work])
            return
        except Exception as error:
            logger.exception("nothing of %d calls was written", len(works))
            _fail(works, error)
            return
        _acknowledge_slates(works)
        self._fold(works, rows.events, appended)

    def _rows(self, works: list[_Work]) -> Rows:
        """The rows of all works in order; neighbouring batches are built together."""
        parts: list[Rows] = []
        for built, group in groupby((work for work in works if work.exposure is None), lambda work: work.rows is not None):
            if built:
                parts.extend(work.rows for work in group if work.rows is not None)
            else:
                parts.append(build([event for work in group for event in work.batch], self._catalogue, self._entropy))
        return join(parts)

    def _fold(self, works: list[_Work], events: Events, appended: Appended) -> None:
        """Fold the accepted events and acknowledge; when others have appended in between, leave both to the next looks."""
        accepted = appended.seq > 0
        if accepted.any():
            fresh = events[accepted]
            fresh["seq"] = appended.seq[accepted]
            try:
                folded = self._follower.take(fresh)
            except Exception as error:
                _fail(works, error)
                self._could_not_follow(error)
                return
            if not folded:
                self._unfolded.append(_Unfolded(int(fresh["seq"][-1]), works, appended.status, appended.seq))
                self._unfolded_rows += len(appended.seq)
                return
        _acknowledge(works, appended.status, appended.seq)


def _acknowledge_slates(works: Sequence[_Work]) -> None:
    for work in works:
        if work.exposure is not None:
            work.future.set_result(None)


def _acknowledge(works: Sequence[_Work], status: NDArray[np.uint8], seq: Int64) -> None:
    """Tell each call about its events; slates have heard already."""
    start = 0
    for work in works:
        if work.exposure is None:
            end = start + work.size
            work.future.set_result(IngestResult(status[start:end], seq[start:end]))
            start = end


def _fail(works: Sequence[_Work], error: Exception) -> None:
    for work in works:
        if not work.future.done():
            work.future.set_exception(error)
