"""What a query says about taste, as weighted items: the same reading of seeds, session and long-term plays for every source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from segue.core.types import Bool, Float32, Int8, Int32, Query

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
        items, weights = _pulls(
            (np.array(recent.items), np.array(recent.signal), np.array(recent.in_session)),  # copies: one type, compiled once
            np.array(query.seeds.items[: self.depth], np.int32),
            (float(self.recency), float(self.skip), float(self.long_term)),
            self.depth,
        )
        return Pulls(items, weights)


@njit(cache=True, nogil=True)
def _pulls(
    recent: tuple[Int32, Int8, Bool], seeds: Int32, settings: tuple[float, float, float], depth: int
) -> tuple[Int32, Float32]:
    """Reading.pulls of recent (items, signal, in_session): the session's rows, then the seeds, then the rows before it."""
    played, signal, inside = recent
    recency, skip, long_term = settings
    now, liked = 0, False
    in_a_row = 0  # skips since the last finish
    for row in range(len(played)):
        if inside[row] and signal[row] != 0 and now < depth:
            now += 1
            liked |= signal[row] > 0
            in_a_row += not liked
    items = np.empty(len(played) + len(seeds), np.int32)
    weights = np.empty(len(played) + len(seeds), np.float32)
    n, place = 0, 0
    for row in range(len(played)):
        if inside[row] and signal[row] != 0 and place < depth:
            turn = min(in_a_row, MOST_AT_ONCE) if place < in_a_row else 1
            items[n], weights[n] = played[row], recency**place * (1.0 if signal[row] > 0 else -skip * turn)
            n += weights[n] != 0
            place += 1
    for row in range(len(seeds)):
        items[n], weights[n] = seeds[row], max(SEED_FLOOR, recency**now)
        n += 1
    place = 0
    for row in range(len(played)):
        if not inside[row] and signal[row] != 0 and place < depth:
            items[n], weights[n] = played[row], long_term * recency**place * (signal[row] > 0)
            n += weights[n] != 0
            place += 1
    return items[:n].copy(), weights[:n].copy()
