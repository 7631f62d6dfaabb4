"""Keeps the online state at the end of the log, in the order of the log, a bounded step at a time."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

from segue.core.errors import Corrupt
from segue.core.ports import EventLog, OnlineState
from segue.core.types import Events

FOLD_ROWS: Final = 131_072
REBUILD_EVERY_S: Final = 60.0
"""A state that breaks again and again costs one rebuild a minute, not all of the processor."""

logger = logging.getLogger("segue.ingest")


@runtime_checkable
class Restartable(Protocol):
    """A state that can forget everything, so that the log tells it again."""

    def start_over(self) -> None:
        """Back to `applied` 0."""
        ...


class Follower:
    """Folds what is in the log and not in the state: our own events, other processes' and what a crash left unfolded.

    A fold that was cut short leaves a state that refuses every other (Corrupt): it then starts over from the log, and the
    steps that follow fold it anew. May be called from any thread; `clock` is in seconds, monotonic.
    """

    def __init__(self, log: EventLog, state: OnlineState, *, idle_s: float, clock: Callable[[], float]) -> None:
        self._log = log
        self._state = state
        self._idle_s = idle_s
        self._clock = clock
        self._folding = threading.Lock()
        self._looked = self._started_over = -math.inf

    @property
    def applied(self) -> int:
        """seq of the last event in the state."""
        return self._state.applied

    @property
    def due(self) -> bool:
        """Whether nobody has looked for other processes' events for `idle_s` seconds."""
        return self._clock() - self._looked >= self._idle_s

    def take(self, events: Events) -> bool:
        """Fold events (n > 0, in order of seq) that were just appended if they come next in the log; False: steps must."""
        with self._folding:
            if int(events["seq"][0]) != self._state.applied + 1:
                return False
            return all(self._fold(events[start : start + FOLD_ROWS]) for start in range(0, len(events), FOLD_ROWS))

    def step(self) -> bool:
        """Fold the next 131,072 events of the log at most; whether more wait."""
        with self._folding:
            self._looked = self._clock()
            if self._log.last <= self._state.applied:
                return False
            events = self._log.read(self._state.applied, FOLD_ROWS)
            if len(events):
                self._fold(events)
            return len(events) > 0 and self._log.last > self._state.applied

    def catch_up(self) -> None:
        """Fold all that is in the log by now."""
        while self.step():
            pass

    def _fold(self, events: Events) -> bool:
        """True when folded; False when the state had to start over instead. Its error where that was tried just now."""
        try:
            self._state.fold(events)
            return True
        except Corrupt:
            now = self._clock()
            if not isinstance(self._state, Restartable) or now - self._started_over < REBUILD_EVERY_S:
                raise
            logger.exception("the state was left half-folded: it is folded anew from the log")
            self._started_over = now
            self._state.start_over()
            return False
