"""What a query says about taste, as weighted items: the same reading of seeds, session and long-term plays for every source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segue.core.types import Float32, Int32, Query

MOST_AT_ONCE = 4
"""Skips in a row weigh as many times as they are many, up to this: two quick skips change direction at once."""
SEED_FLOOR = 0.25
"""A seed never weighs less: the listener asked for it, however long the session has become."""


@dataclass(frozen=True)
class Pulls:
    """Items with the weight they pull with, newest first: (n,) columns; negative = the listener turned it away."""

    items: Int32
    weights: Float32

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Reading:
    """How a query is read. A row's weight falls by `recency` with each later finish or skip of its kind (session or before).

    skip: weight of a skip against a finish at the same place; the skips since the last finish weigh as many times as they are.
    long_term: weight of plays before the session.
    depth: at most so many rows of each kind are read, the newest.
    """

    recency: float = 0.9
    skip: float = 1.0
    long_term: float = 0.2
    depth: int = 30

    def pulls(self, query: Query) -> Pulls:
        """Seeds count as finished just before the session's first song; plays before the session pull only when finished."""
        recent = query.recent
        spoke = np.flatnonzero(recent.signal != 0)
        inside = recent.in_session[spoke]
        now, before = spoke[inside][: self.depth], spoke[~inside][: self.depth]
        liked = recent.signal[now] > 0
        in_a_row = len(now) if not liked.any() else int(np.argmax(liked))
        turn = np.where(np.arange(len(now)) < in_a_row, min(in_a_row, MOST_AT_ONCE), 1)
        now_weight = self.recency ** np.arange(len(now)) * np.where(liked, 1.0, -self.skip * turn)
        before_weight = self.long_term * self.recency ** np.arange(len(before)) * (recent.signal[before] > 0)
        seeds = query.seeds.items[: self.depth]
        seed_weight = np.full(len(seeds), max(SEED_FLOOR, self.recency ** len(now)))
        items = np.concatenate((recent.items[now], seeds, recent.items[before])).astype(np.int32)
        weights = np.concatenate((now_weight, seed_weight, before_weight)).astype(np.float32)
        said = weights != 0
        return Pulls(items[said], weights[said])
