"""What a night tells: progress while it runs, what each phase cost, and the report that it ends with."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec


class Progress(Protocol):
    """Who wants to see a night go by: a terminal, a log, a test. Called from the thread that runs the night."""

    def phase(self, name: str) -> None:
        """A phase begins; the one before it has ended."""
        ...

    def advance(self, done: int, total: int) -> None:
        """So much of the phase is done; not every phase counts."""
        ...


class Quiet:
    """A Progress that nobody watches."""

    def phase(self, name: str) -> None:
        """Say nothing."""

    def advance(self, done: int, total: int) -> None:
        """Say nothing."""


class PhaseCost(msgspec.Struct, frozen=True):
    """What one phase took."""

    name: str
    wall_s: float
    cpu_s: float  # of all threads of this process
    peak_rss_mb: float  # the highest the process stood at within the phase


class Figure(msgspec.Struct, frozen=True):
    """A mean over test users with its 95 % interval."""

    model: str
    metric: str
    mean: float
    low: float
    high: float
    users: int


class Spread(msgspec.Struct, frozen=True):
    """What all lists of a model together show of the catalogue: see evaluation.beyond."""

    model: str
    k: int
    lists: int
    coverage: float  # share of the playable songs that stand in any list; few lists cannot show many songs
    gini: float  # 0 = all playable songs alike often, towards 1 = a few in all lists


class Part(msgspec.Struct, frozen=True):
    """A figure of a part of the test: a group of listeners, or one day since training."""

    dimension: str  # "listening", "day", or one of the recipe's groups
    group: str  # for "day": how many whole days since training, from "0"
    model: str
    metric: str
    mean: float
    low: float
    high: float
    users: int
    enough: bool  # False: too few listeners for the interval to be trusted


class Quality(msgspec.Struct, frozen=True):
    """What a test says besides its overall figures."""

    spreads: list[Spread]
    segments: list[Part]
    days: list[Part]


class Judgement(msgspec.Struct, frozen=True):
    """A stored model judged on what came after its training."""

    version: str
    data: dict[str, int]  # trained_to_ms, to_ms, held_rows, test_users
    figures: list[Figure]
    quality: Quality
    notes: list[str]


class Comparison(msgspec.Struct, frozen=True):
    """Challenger minus champion over the same users: `low` to `high` is the paired 95 % interval."""

    metric: str
    challenger: float
    champion: float
    difference: float
    low: float
    high: float
    users: int
    worse: bool  # the whole interval lies below zero


class NightReport(msgspec.Struct, frozen=True):
    """How a night went: what was learned from, what it is worth, and what was decided and why."""

    version: str
    promoted: bool
    reason: str
    champion: str | None  # who was champion when the night began
    opponent: str  # how the champion was measured: "none", "as it is", "refit", "same recipe" or "not measured"
    seed: int
    data: dict[str, int]  # from_ms, to_ms, cut_ms, rows, held_rows, users, items, sessions, test_users
    ranker: str
    ranker_reason: str
    figures: list[Figure]
    comparisons: list[Comparison]
    quality: Quality
    hyperparameters: dict[str, dict[str, object]]
    phases: list[PhaseCost]
    notes: list[str]


class Meter:
    """Measures phases: wall, CPU and the peak of resident memory, where Linux lets a process reset its high-water mark."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.costs: list[PhaseCost] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """One phase; its cost is kept when it ends, however it ends."""
        self.progress.phase(name)
        _reset_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.costs.append(
                PhaseCost(
                    name,
                    round(time.perf_counter() - wall, 3),
                    round(time.process_time() - cpu, 3),
                    round(_peak_mb(), 1),
                )
            )


def _reset_peak() -> None:
    """Start the high-water mark again (5 in clear_refs); where that is refused, peaks are those since the process began."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float:
    """Peak resident memory in MiB since the last reset, else since the process began."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
