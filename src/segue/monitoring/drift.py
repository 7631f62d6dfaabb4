"""Drift of what goes in and comes out: the population stability index against a null band that the days themselves give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

Float64 = NDArray[np.float64]
BINS = 10
REFERENCE_DAYS = 14
LEAST_DAYS, LEAST_ROWS = 7, 200
"""Days that a band needs, a whole week since Saturdays are not Fridays; rows that a day needs to be judged or referred to."""
FIRST_ROWS = 500
"""Rows that the edges of bins are learned from."""


@dataclass
class Shape:
    """The distribution of one quantity by day: counts in fixed bins, NaN in the last one."""

    edges: Float64 | None = None  # inner edges, ascending; None for kinds, whose bins are their names
    names: list[str] = field(default_factory=list)
    days: dict[int, Float64] = field(default_factory=dict)
    early: list[tuple[int, Float64]] = field(default_factory=list)  # values that wait until edges can be learned

    @property
    def newest(self) -> int:
        """The last day that anything was added for, -1 before."""
        return max((*self.days, *(day for day, _ in self.early)), default=-1)

    def add(self, day: int, values: Float64) -> None:
        """More values, NaN allowed."""
        if not len(values):
            return
        if self.edges is None:
            self.early.append((day, values))
            if sum(len(part) for _, part in self.early) < FIRST_ROWS:
                return
            every = np.concatenate([part for _, part in self.early])
            known = every[np.isfinite(every)]
            cuts = np.quantile(known, np.arange(1, BINS) / BINS) if len(known) else np.zeros(0)
            self.edges = np.unique(cuts)
            waiting, self.early = self.early, []
            for then, part in waiting:
                self._count(then, part)
            return
        self._count(day, values)

    def _count(self, day: int, values: Float64) -> None:
        assert self.edges is not None
        known = np.isfinite(values)
        # a value that equals an edge has bins of its own to both sides, so that a lump (all zeros) is told from its neighbours
        place = np.searchsorted(self.edges, values[known], "left") + np.searchsorted(self.edges, values[known], "right")
        counts = np.bincount(place, minlength=2 * len(self.edges) + 2).astype(np.float64)
        counts[-1] = (~known).sum()
        self._put(day, counts)

    def add_kinds(self, day: int, counts: Mapping[str, float]) -> None:
        """More of each kind."""
        for name in counts:
            if name not in self.names:
                self.names.append(name)
        self._put(day, np.array([counts.get(name, 0.0) for name in self.names]))

    def _put(self, day: int, counts: Float64) -> None:
        before = self.days.get(day, np.zeros(0))
        width = max(len(before), len(counts))
        self.days[day] = np.pad(before, (0, width - len(before))) + np.pad(counts, (0, width - len(counts)))
        for old in [d for d in self.days if d < day - 2 * REFERENCE_DAYS]:
            del self.days[old]


@dataclass(frozen=True)
class Drift:
    """One day against the days before it."""

    name: str
    day: int
    psi: float
    band: float  # the null band: what psi stays below but once in `1 / alpha` looks while nothing changes
    rows: float

    @property
    def out(self) -> bool:
        """Whether the day lies outside the band."""
        return self.psi > self.band


def psi(p: Float64, q: Float64) -> float:
    """sum (p - q) ln(p / q) of two tables of counts, half a row added to each bin (Siddiqi 2006)."""
    a, b = p + 0.5, q + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(((a - b) * np.log(a / b)).sum())


def drift(name: str, shape: Shape, day: int, alpha: float) -> Drift | None:
    """A day against up to REFERENCE_DAYS before it; None where there is too little to say.

    Of independent rows, psi / (1/n + 1/m) is chi-squared with bins - 1 degrees (Yurdakul and Naranjo 2020); slates, listeners
    and weekdays make days differ by more. So the reference days are held against each other, each against the rest, and what
    they show beyond that is the design effect; psi over its mean is then about F distributed, and the band its 1 - alpha point.
    """
    past = [d for d in sorted(shape.days) if day - REFERENCE_DAYS <= d < day and shape.days[d].sum() >= LEAST_ROWS]
    today = shape.days.get(day, np.zeros(0))
    if len(past) < LEAST_DAYS or today.sum() < LEAST_ROWS:
        return None
    width = max(len(today), *(len(shape.days[d]) for d in past))
    table = np.stack([np.pad(shape.days[d], (0, width - len(shape.days[d]))) for d in past])
    today = np.pad(today, (0, width - len(today)))
    used = (table.sum(0) + today) > 0
    table, today = table[:, used], today[used]
    whole = table.sum(0)
    degrees = max(int(used.sum()) - 1, 1)
    among = [psi(row, whole - row) / (1 / row.sum() + 1 / (whole - row).sum()) for row in table]
    effect = max(float(np.mean(among)) / degrees, 1.0)
    scale = float(1 / today.sum() + 1 / whole.sum()) * degrees * effect
    return Drift(
        name, day, psi(today, whole), scale * float(fdtri(degrees, degrees * len(past), 1 - alpha)), float(today.sum())
    )
