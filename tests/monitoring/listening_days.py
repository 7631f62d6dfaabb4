"""Weeks of listening for the monitor to watch: an hour at a time, with faults that a test puts in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from segue.core.actions import Action
from segue.core.clock import HOUR_MS
from segue.core.types import MISSING, Events, Exposure, Slate, empty_events

MONDAY = 1_767_571_200_000
"""2026-01-05."""
SOURCES = ("als", "popular", "fresh")
Change = Callable[[Events, int], Events]


def hour_of_events(rng: np.random.Generator, hour: int, *, plays: int = 120, finished: float = 0.6) -> Events:
    """Plays of one hour, more in the evening; the share finished swings with the hour by a tenth."""
    n = int(plays * (1 + 0.5 * np.sin(2 * np.pi * hour / 24)))
    events = empty_events(n)
    events["at"] = MONDAY + hour * HOUR_MS + np.sort(rng.integers(0, HOUR_MS, n))
    events["user"] = rng.integers(0, 400, n)
    events["item"] = rng.integers(0, 1000, n)
    events["session"] = events["user"].astype(np.uint64) * np.uint64(100_000) + np.uint64(hour + 1)
    events["request"] = 7
    events["region"] = events["user"] % 2
    done = rng.random(n) < finished * (1 + 0.1 * np.cos(2 * np.pi * hour / 24))
    events["duration_s"] = 200
    events["played_s"] = np.where(done, 200, 10)
    events["action"] = np.where(done, int(Action.COMPLETED), int(Action.SKIPPED))
    return events


def slate(
    rng: np.random.Generator, at: int, number: int, *, sources: tuple[str, ...] = SOURCES, heard: bool = True
) -> Exposure:
    """A slate of ten songs, each offered by one of the sources, with two features."""
    k = 10
    features = np.column_stack([rng.normal(0, 1, k), rng.poisson(2.0, k) if heard else np.zeros(k)]).astype(np.float32)
    made = Slate(
        number, rng.choice(1000, k, replace=False).astype(np.int32), rng.random(k).astype(np.float32), np.ones(k, np.float32),
        tuple((sources[j],) for j in rng.integers(0, len(sources), k)), ("",) * k, np.zeros(k, np.bool_), "radio",
        {"bundle": "v1"}, "personal",
    )  # fmt: skip
    return Exposure(made, 1, at, 0, "radio", MISSING, features, ("taste", "times heard"))


@dataclass
class Days:
    """A log in memory with the three methods that the monitor reads."""

    events: list[Events] = field(default_factory=list)
    shown: list[Exposure] = field(default_factory=list)
    seq: int = 0

    @property
    def last(self) -> int:
        return self.seq

    def append(self, events: Events) -> None:
        events["seq"] = self.seq + 1 + np.arange(len(events))
        self.seq += len(events)
        self.events.append(events)

    def read(self, after: int, limit: int) -> Events:
        parts, n = [], 0
        for part in self.events:
            if len(part) and part["seq"][-1] > after and n < limit:
                parts.append(part[part["seq"] > after][: limit - n])
                n += len(parts[-1])
        return np.concatenate(parts) if parts else empty_events(0)

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        return (e for e in self.shown if at_from <= e.at < at_to)


class Record:
    """A journal in memory."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append(self, record: bytes, *, after: int | None = None) -> bool:
        self.lines.append(record)
        return True

    def read(self) -> tuple[list[bytes], int]:
        return list(self.lines), len(self.lines)
