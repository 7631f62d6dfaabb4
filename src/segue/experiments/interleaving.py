"""Team-draft interleaving: two rankers share one list, and plays tell which is liked better; it prunes, it never ships."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from segue.core.types import Int8, Int32


def team_draft(ours: Int32, theirs: Int32, limit: int, rng: np.random.Generator) -> tuple[Int32, Int8]:
    """A list of at most `limit` items, each ranker drafting its best free one in turn (Radlinski, Kurup & Joachims 2008).

    In each round of two a coin decides who goes first. Returns items (k,) and teams (k,): 0 ours, 1 theirs.
    """
    lists = (ours.tolist(), theirs.tolist())
    at, taken = [0, 0], set()
    items: list[int] = []
    teams: list[int] = []
    while len(items) < limit:
        first = int(rng.integers(2))
        before = len(items)
        for team in (first, 1 - first):
            while at[team] < len(lists[team]) and lists[team][at[team]] in taken:
                at[team] += 1
            if at[team] < len(lists[team]) and len(items) < limit:
                item = lists[team][at[team]]
                taken.add(item)
                items.append(item)
                teams.append(team)
        if len(items) == before:
            break
    return np.array(items, np.int32), np.array(teams, np.int8)


@dataclass(frozen=True)
class Preference:
    """How many users heard more of ours, more of theirs, and the exact sign test between them."""

    ours: int
    theirs: int
    p: float

    @property
    def margin(self) -> float:
        """Share of the decided users who prefer ours, less one half; 0 when nobody decided."""
        decided = self.ours + self.theirs
        return self.ours / decided - 0.5 if decided else 0.0


def preference(liked_ours: NDArray[np.integer], liked_theirs: NDArray[np.integer]) -> Preference:
    """Per user (n,): plays to the end of songs drafted by each; ties are left out. One vote a user: users are independent."""
    ours, theirs = int((liked_ours > liked_theirs).sum()), int((liked_theirs > liked_ours).sum())
    p = float(binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0
    return Preference(ours, theirs, p)
