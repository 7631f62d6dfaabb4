"""Slates as they were shown, sampled: sources, features, scores and rungs by day, and the last few for quick looks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from segue.core.clock import DAY_MS
from segue.core.types import Exposure, Float32
from segue.monitoring.drift import REFERENCE_DAYS, Drift, Shape, drift

LAST = 200
"""Slates that the quick looks see."""
KEPT_DAYS = 2 * REFERENCE_DAYS
"""Days for which is kept what sources offered, and quantities that nobody fills any more."""
LEAST_EXPECTED = 20.0
"""Songs that a source must be expected to offer in them before its silence is believed: a chance of e^-20."""


@dataclass(frozen=True)
class _Few:
    at: int
    sources: frozenset[str]
    songs: int
    offered: dict[str, int]
    features: Float32
    names: tuple[str, ...]


class Slates:
    """Distributions by day of everything that a slate holds; bounded: some kB a quantity and a day, LAST slates whole."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self._last: deque[_Few] = deque(maxlen=LAST)
        self._day = -1
        self._offered: dict[str, dict[int, tuple[float, float]]] = {}  # source -> day -> (songs offered, songs)
        self._differing: dict[str, tuple[int, int]] = {}  # feature -> (slates whose songs differed in it, slates)

    def add(self, exposure: Exposure) -> None:
        """One slate; those of the new arm of an experiment are its own affair and left out."""
        if "new" in (arm for name, arm in exposure.slate.model_versions.items() if name.startswith("experiment:")):
            return
        slate, day = exposure.slate, exposure.at // DAY_MS
        if day > self._day:
            self._forget(day - KEPT_DAYS)
            self._day = day
        k = len(slate.items)
        offered: dict[str, int] = {}
        for names in slate.sources:
            for name in names:
                offered[name] = offered.get(name, 0) + 1
        self._last.append(_Few(exposure.at, frozenset(offered), k, offered, exposure.features, exposure.feature_names))
        for name in {*offered, *self._offered}:
            days = self._offered.setdefault(name, {})
            said, of = days.get(day, (0.0, 0.0))
            days[day] = (said + offered.get(name, 0), of + k)
        self._shape("rung").add_kinds(day, {slate.rung: 1.0})
        self._shape("sources").add_kinds(day, {name: float(n) for name, n in offered.items()})
        version = slate.model_versions.get("bundle", "live")
        self._shape(f"score of {version}").add(day, slate.scores.astype(np.float64))
        for column, name in enumerate(exposure.feature_names):
            values = exposure.features[:, column].astype(np.float64)
            self._shape(f"feature {name}").add(day, values)
            if k > 1:
                differed, of = self._differing.get(name, (0, 0))
                self._differing[name] = (differed + bool(np.unique(values).size > 1), of + 1)

    def _forget(self, before: int) -> None:
        """Models of long ago, and days that nothing looks at any more: every night brings a quantity of its own."""
        self.shapes = {name: shape for name, shape in self.shapes.items() if shape.newest >= before}
        for days in self._offered.values():
            for day in [day for day in days if day < before]:
                del days[day]

    def _shape(self, name: str) -> Shape:
        return self.shapes.setdefault(name, Shape())

    def drifts(self, day: int, looks_a_year: float = 365.0) -> list[Drift]:
        """Every quantity of a day against the days before; one false word a year over all of them together."""
        alpha = 1.0 / (looks_a_year * max(len(self.shapes), 1))
        every = (drift(name, shape, day, alpha) for name, shape in sorted(self.shapes.items()))
        return [one for one in every if one is not None]

    def share(self, source: str, before: int) -> float:
        """The share of songs that a source offered in the days before a day, 0 where it is unknown."""
        rows = [v for d, v in self._offered.get(source, {}).items() if before - 14 <= d < before]
        said, of = (sum(r[0] for r in rows), sum(r[1] for r in rows))
        return said / of if of else 0.0

    def silent(self) -> list[tuple[str, int, float]]:
        """(source, ms since when, share before) of those that offered nothing in the last slates, against what is usual."""
        if len(self._last) < LAST // 2:
            return []
        day, out = self._last[-1].at // DAY_MS, []
        for source in sorted(self._offered):
            usual, missed, since = self.share(source, day), 0, self._last[-1].at
            for few in reversed(self._last):
                if source in few.sources:
                    break
                missed, since = missed + few.songs, few.at
            if usual * missed >= LEAST_EXPECTED:
                out.append((source, since, usual))
        return out

    def constant(self) -> list[tuple[str, int, float]]:
        """(feature, ms since when, its value) of features that have one value in the last slates and had others before.

        Of features of songs only: what all songs of a slate share (the hour, the listener) is alike for hours on end.
        """
        if len(self._last) < LAST // 2:
            return []
        out = []
        for column, name in enumerate(self._last[-1].names):
            same = [f for f in self._last if len(f.names) > column and f.names[column] == name and len(f.features)]
            values = np.concatenate([f.features[:, column] for f in same])
            first = values[-1]
            alike = np.isnan(values) if np.isnan(first) else values == first
            run = len(alike) if alike.all() else int(np.argmin(alike[::-1]))
            if run < len(values) // 2 or run < 200:
                continue
            if self._of_songs(name) and self._varied(f"feature {name}", self._last[-1].at // DAY_MS):
                out.append((name, self._since(same, len(values) - run, column), float(first)))
        return out

    def _of_songs(self, name: str) -> bool:
        """Whether songs of one slate differ in a feature, in a tenth of the slates or more (a silent stretch included)."""
        differed, of = self._differing.get(name, (0, 0))
        return 10 * differed >= of

    def _varied(self, name: str, day: int) -> bool:
        """Whether, in the days before, no bin held nearly everything."""
        past = [c for d, c in self.shapes[name].days.items() if d < day]
        if not past:
            return False
        width = max(len(c) for c in past)
        whole = np.sum([np.pad(c, (0, width - len(c))) for c in past], axis=0)
        return bool(whole.sum() >= 200 and whole.max() < 0.98 * whole.sum())

    @staticmethod
    def _since(slates: list[_Few], row: int, column: int) -> int:
        for few in slates:
            row -= len(few.features)
            if row < 0:
                return few.at
        return slates[-1].at
