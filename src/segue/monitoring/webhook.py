"""Alarms over HTTP to whoever wants them: in a thread of its own, tried again with longer pauses, never in the way."""

from __future__ import annotations

import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

import msgspec

FIRST_PAUSE_S, LONGEST_PAUSE_S, TRIES = 1.0, 60.0, 10
"""Pauses double: ten tries take about five minutes; what is not delivered then is tried again by the next server."""
TIMEOUT_S = 5.0
WAITING = 1000


class Webhook:
    """POSTs each alarm as JSON to one URL; an answer below 300 is delivery."""

    def __init__(self, url: str, delivered: Callable[[int], None], failed: Callable[[str], None]) -> None:
        """delivered(number) and failed(reason, after the last try) are called from the thread."""
        self.url, self._delivered, self._failed = url, delivered, failed
        self._queue: queue.Queue[tuple[int, bytes] | None] = queue.Queue(WAITING)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="webhook", daemon=True)
        self._thread.start()

    def send(self, number: int, body: object) -> bool:
        """Hand one over and go on at once; False when too many wait."""
        try:
            self._queue.put_nowait((number, msgspec.json.encode(body)))
        except queue.Full:
            return False
        return True

    def _loop(self) -> None:
        while (waiting := self._queue.get()) is not None and not self._end.is_set():
            number, body = waiting
            pause, reason = FIRST_PAUSE_S, ""
            for _ in range(TRIES):
                reason = self._post(body)
                if not reason:
                    self._delivered(number)
                    break
                if self._end.wait(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE_S)
            if reason:
                self._failed(f"alarm {number} could not be delivered: {reason}")

    def _post(self, body: bytes) -> str:
        """Why it was not delivered, "" when it was."""
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return ""
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
            return str(error) or type(error).__name__

    def close(self) -> None:
        """Stop trying; what was not delivered stays marked so in the record."""
        self._end.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(TIMEOUT_S + 1)
