"""Tiny worlds that tests build inside themselves: facts, a state that answers from dictionaries, queries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segue.core.types import MISSING, Context, Items, Query, Recent, Scored


def facts(artists: list[int], works: list[int] | None = None, tags: list[list[int]] | None = None) -> Items:
    n = len(artists)
    bare = Items.bare(n)
    out = replace(bare, artist=np.array(artists, np.int32))
    if works is not None:
        out = replace(out, work=np.array(works, np.int32))
    if tags is not None:
        out = replace(
            out,
            tags_ptr=np.cumsum([0, *map(len, tags)]).astype(np.int64),
            tags=np.array([t for row in tags for t in row], np.int32),
        )
    return out


def recent(*plays: tuple[int, float], in_session: bool = True, at: int = 1_000_000) -> Recent:
    """(item, signal) newest first."""
    n = len(plays)
    return Recent(
        np.array([p[0] for p in plays], np.int32),
        np.array([p[1] for p in plays], np.float32),
        np.array([1.0 if p[1] > 0 else 0.0 for p in plays], np.float32),
        at - 1000 * np.arange(n, dtype=np.int64),
        np.full(n, in_session),
    )


def query(**changes: Any) -> Query:
    base = Query(request_id=7, user=0, now=2_000_000, discovery=0.5, context=Context())
    return replace(base, **changes)


@dataclass
class DictState:
    """The part of OnlineState that stages ask, answered from sets: (user, item) pairs."""

    heard_pairs: set[tuple[int, int]] = field(default_factory=set)
    refused_pairs: set[tuple[int, int]] = field(default_factory=set)
    session_pairs: set[tuple[int, int, int]] = field(default_factory=set)
    popular_items: list[int] = field(default_factory=list)
    regional_items: dict[int, list[int]] = field(default_factory=dict)
    recents: dict[int, Recent] = field(default_factory=dict)
    applied: int = 0

    def recent(self, user: int, session: int = 0) -> Recent:
        return self.recents.get(user, Recent.none())

    def heard(self, user: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        times = np.array([(user, i) in self.heard_pairs for i in items.tolist()], np.uint16)
        return times, times.astype(np.int64)

    def marks(self, user: int, items: np.ndarray) -> np.ndarray:
        return np.array([2 * ((user, i) in self.refused_pairs) for i in items.tolist()], np.uint8)

    def in_session(self, user: int, session: int, items: np.ndarray) -> np.ndarray:
        return np.array([(user, session, i) in self.session_pairs for i in items.tolist()], np.bool_)

    def novelty(self, user: int) -> tuple[float, float, float, float]:
        return (0.0, 0.0, 0.0, 0.0)

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        items = self.regional_items.get(region, self.popular_items) if region != MISSING else self.popular_items
        items = items[:limit]
        return Scored(np.array(items, np.int32), np.linspace(1, 0.5, len(items)).astype(np.float32))

    def popular_as_of(self, region: int, hour_of_week: int) -> int:
        return self.applied
