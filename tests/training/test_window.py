"""Which days a night learns from: what was asked for where it holds enough, else more, and a note that is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from segue.core.clock import DAY_MS
from segue.core.types import Events, empty_events
from segue.training.window import Window, choose

NOW = 20_000 * DAY_MS + DAY_MS // 2
ASKED = 90 * DAY_MS


class Log:
    """Events at some moments."""

    def __init__(self, *at: int) -> None:
        self.events = empty_events(len(at))
        self.events["at"] = at

    def scan(self, at_from: int, at_to: int, columns: Any = None) -> Iterator[Events]:
        yield self.events[(self.events["at"] >= at_from) & (self.events["at"] < at_to)]


@pytest.mark.parametrize(
    ("at", "days", "end"),
    [
        ([NOW - ASKED] * 10, 90, NOW),  # enough
        ([NOW - ASKED] * 4, 90, NOW),  # little, and all there is
        ([NOW - ASKED - 1] * 10, 180, NOW),  # on the first day, before the window begins
        ([NOW - 1] * 9 + [NOW - ASKED - 1], 180, NOW),
        ([NOW - 1] * 9 + [NOW - 300 * DAY_MS], 360, NOW),
        ([NOW - 400 * DAY_MS] * 10, 90, NOW - 400 * DAY_MS + DAY_MS // 2),  # an imported history ends with its last day
        ([], 90, NOW),
    ],
)
def test_a_window_holds_enough_or_all_and_says_what_it_did(at: list[int], days: int, end: int) -> None:
    got = choose(Log(*at), NOW, ASKED, 10)  # type: ignore[arg-type]
    assert (got.now, got.length_ms) == (end, days * DAY_MS)
    assert (got.note is None) == (got == Window(NOW, ASKED)), "a note only where it is not what was asked for"
