"""Team-draft interleaving: two rankers share one slate, and plays tell which is liked better; it prunes, it never ships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri

from segue.core.types import Bool, Float32, Int8, Int32
from segue.experiments.sequences import half_widths, tuned_rho

OURS, THEIRS = 0, 1
"""Teams: the ranker that serves, and the one that is tried."""
LEVEL: Final = 0.05
"""Of the intervals that are told beside the always-valid one."""


class Turns(Protocol):
    """A ranker's turns in a slate."""

    def next(self, above: Int32, draw: NDArray[np.float64]) -> tuple[int, float, bool]:
        """(item, its chance given the songs above, whether it was drawn); item -1: it has nothing for this place."""
        ...

    def chance(self, above: Int32, item: int) -> float:
        """The chance that `next` would give this item, given those above."""
        ...


@dataclass(frozen=True)
class Draft:
    """A slate that two rankers share: (k,) columns in order."""

    items: Int32
    teams: Int8  # OURS or THEIRS
    propensities: Float32
    explored: Bool


def interleave(turns: tuple[Turns, Turns], limit: int, rng: np.random.Generator) -> Draft:
    """At most `limit` songs, each ranker drafting its best free one in turn (Radlinski, Kurup & Joachims 2008).

    In each round of two a fair coin decides who goes first; a ranker that has nothing left passes. A ranker drafts given all
    the songs above, whoever put them there. The propensity of a song is exact, given the songs above and whose they were: in
    the first place of a round the mean of both rankers' chances (the coin is not yet known), in the second its own ranker's.
    """
    coins, draws = rng.integers(2, size=limit), rng.random((limit, 2, 2))
    items: list[int] = []
    told: list[tuple[int, float, bool]] = []  # team, propensity, drawn
    for first in coins.tolist():
        begun, above = len(items), np.array(items, np.int32)
        if begun == limit:
            break
        offers = [turns[team].next(above, draws[begun, team]) for team in (OURS, THEIRS)]
        able = [team for team in (OURS, THEIRS) if offers[team][0] >= 0]
        if not able:
            break
        team = first if first in able else able[0]
        item, chance, drawn = offers[team]
        if len(able) == 2:
            chance = (chance + turns[1 - team].chance(above, item)) / 2
        items.append(item)
        told.append((team, chance, drawn))
        if len(items) == limit or len(able) < 2:
            continue
        item, chance, drawn = turns[1 - team].next(np.array(items, np.int32), draws[begun + 1, 1 - team])
        if item >= 0:
            items.append(item)
            told.append((1 - team, chance, drawn))
    teams, chances, explored = zip(*told, strict=True) if told else ((), (), ())
    return Draft(
        np.array(items, np.int32), np.array(teams, np.int8), np.array(chances, np.float32), np.array(explored, np.bool_)
    )


class Listed:
    """The turns of a ranker whose list is made: the first item that is still free."""

    def __init__(self, items: Int32) -> None:
        self._items = items.tolist()

    def next(self, above: Int32, draw: NDArray[np.float64]) -> tuple[int, float, bool]:
        """As in Turns."""
        taken = set(above.tolist())
        return next(((item, 1.0, False) for item in self._items if item not in taken), (-1, 0.0, False))

    def chance(self, above: Int32, item: int) -> float:
        """1 for the one item that is next."""
        return float(self.next(above, np.zeros(2))[0] == item)


def team_draft(ours: Int32, theirs: Int32, limit: int, rng: np.random.Generator) -> tuple[Int32, Int8]:
    """`interleave` of two lists: items (k,) and teams (k,), 0 ours, 1 theirs."""
    made = interleave((Listed(ours), Listed(theirs)), limit, rng)
    return made.items, made.teams


@dataclass(frozen=True)
class Preference:
    """Which ranker listeners heard more of, one vote a listener.

    delta: the share that prefer theirs, ties counted half, less one half (Delta-AB of Chapelle, Joachims, Radlinski & Yue
    2012), + when theirs is preferred; with a 95 % interval of one look, and one that holds at every look.
    """

    ours: int
    theirs: int
    ties: int
    p: float  # exact sign test, ties left out
    delta: float
    low: float
    high: float
    always_low: float
    always_high: float

    @property
    def listeners(self) -> int:
        """Who heard something of either to the end."""
        return self.ours + self.theirs + self.ties

    @property
    def margin(self) -> float:
        """Share of the decided listeners who prefer theirs, less one half; 0 when nobody decided."""
        decided = self.ours + self.theirs
        return self.theirs / decided - 0.5 if decided else 0.0


def preference(
    heard_ours: NDArray[np.integer], heard_theirs: NDArray[np.integer], *, planned: float = 10_000, alpha: float = LEVEL
) -> Preference:
    """Per listener (n,): songs heard to the end of those that each drafted. Who heard none of either has no vote.

    One vote a listener: listeners are independent, songs of one are not. Each may be counted once and must not change
    afterwards; then the always-valid interval (sequences.py, level alpha, narrowest after `planned` listeners) holds however
    often one looks. It says nothing before sequences.LEAST listeners.
    """
    voted = (heard_ours > 0) | (heard_theirs > 0)
    votes = np.sign(heard_theirs[voted].astype(np.int64) - heard_ours[voted]) / 2.0
    n, theirs, ours = len(votes), int((votes > 0).sum()), int((votes < 0).sum())
    p = min(1.0, 2.0 * float(bdtr(min(ours, theirs), ours + theirs, 0.5))) if ours + theirs else 1.0
    delta = float(votes.mean()) if n else 0.0
    se = float(votes.std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    reach = float(ndtri(1 - LEVEL / 2)) * se
    width = float(half_widths(float(n), alpha, rho=tuned_rho(planned, alpha)))
    always = width * se if np.isfinite(width) else np.inf
    low, high, always_low, always_high = (
        float(np.clip(delta + end, -0.5, 0.5)) for end in (-reach, reach, -always, always)
    )  # fmt: skip
    return Preference(ours, theirs, n - ours - theirs, p, delta, low, high, always_low, always_high)
