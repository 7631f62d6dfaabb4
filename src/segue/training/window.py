"""Which days a night learns from: the last 90, or more while they hold too little to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segue.core.clock import DAY_MS, iso
from segue.core.ports import EventLog


@dataclass(frozen=True)
class Window:
    """[now - length_ms, now), and in words why it is not what was asked for, or None."""

    now: int
    length_ms: int
    note: str | None = None


def choose(log: EventLog, now: int, length_ms: int, enough: int) -> Window:
    """The window asked for when it holds `enough` events; else one twice as long, again and again, up to the whole log.

    A log that ends before the window begins (an imported history) is learned from as of its newest event. One pass over one
    column, and none when the first window is enough.
    """
    held = 0
    for chunk in log.scan(now - length_ms, now, ("at",)):
        held += len(chunk)
        if held >= enough:
            return Window(now, length_ms)
    days = _events_by_day(log, now)
    if not len(days):
        return Window(now, length_ms)
    newest = int(days[-1, 0])
    end = now if newest >= (now - length_ms) // DAY_MS else (newest + 1) * DAY_MS
    wide = length_ms
    while _held(days, end - wide) < min(enough, int(days[:, 1].sum())):
        wide *= 2
    if end == now and _held(days, end - wide) == held:
        return Window(now, length_ms)
    note = f"{held:,} events from {iso(now - length_ms)}: learned from {wide // DAY_MS:,} days up to {iso(end)} instead"
    return Window(end, wide, note)


def _events_by_day(log: EventLog, now: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(days, 2): day since 1970 and events of it, ascending."""
    counts: dict[int, int] = {}
    for chunk in log.scan(0, now, ("at",)):
        days, events = np.unique(chunk["at"] // DAY_MS, return_counts=True)
        for day, number in zip(days.tolist(), events.tolist(), strict=True):
            counts[day] = counts.get(day, 0) + number
    return np.array(sorted(counts.items()), np.int64).reshape(-1, 2)


def _held(days: np.ndarray[tuple[int, int], np.dtype[np.int64]], since: int) -> int:
    return int(days[days[:, 0] >= -(-since // DAY_MS), 1].sum())  # whole days: the first may begin before the window
