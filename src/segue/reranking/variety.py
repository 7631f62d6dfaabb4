"""What moves scores besides the ranker: likeness, the listener's own mix, what was passed over, what is new."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.core.facts import tag_rows
from segue.core.types import NO_DAY, Float32, Int32, Items, Query
from segue.reranking.kernels import masses

Float64 = NDArray[np.float64]
DEPTH = 100
"""Candidates that are rearranged, the best ones: those below keep their order and come after them."""
MIX_TAGS = 16
MIX_PLAYS = 5
"""The listener's mix is the MIX_TAGS most played tags of what was finished lately, known from so many songs on."""
DAY_MS = 86_400_000
PASSED_HALF_LIFE_DAYS, NEW_HALF_LIFE_DAYS = 3.0, 30.0
EVER = 0b01011
"""Bits of OnlineState.marks that say the listener has answered a song: liked, disliked, saved."""
SHOWN = 0b10000


class Variety(NamedTuple):
    """What the filling needs to score the m best candidates against the places before; m = 0 switches it off."""

    weights: Float64  # (2,) of likeness and of the mix, in standard deviations of the scores
    vectors: Float32  # (m, d) unit length, NaN where a song has none; (m, 0) without vectors
    tags_ptr: NDArray[np.int64]  # (m + 1,)
    tags: Int32
    mix: Float64  # (T,) the wanted share of each of T tags, sums to 1; (0,) where no mix is known
    mass: Float64  # (m, T) the share of a song that is each of these tags
    joint: bool = False  # likeness to all places before at once (DPP), not to the most alike of them (MMR)

    @staticmethod
    def off() -> Variety:
        """Nothing is moved."""
        return OFF


OFF = Variety(
    np.zeros(2),
    np.zeros((0, 0), np.float32),
    np.zeros(1, np.int64),
    np.zeros(0, np.int32),
    np.zeros(0),
    np.zeros((0, 0)),
)


def variety_of(items: Int32, vectors: Float32, query: Query, facts: Items, weights: Float64, joint: bool = False) -> Variety:
    """The columns of the m best candidates, best first; weights (2,) of likeness and of the mix."""
    ptr, tags = tag_rows(facts, items)
    mix, mass = np.zeros(0), np.zeros((len(items), 0))
    if weights[1] > 0 and not query.seeds:  # who asks for something gets that, not the usual mix
        names, mix = wanted_mix(query, facts)
        mass = np.zeros((len(items), len(mix)))
        if len(mix):
            masses(ptr, tags, names, mass)
    return Variety(weights, np.ascontiguousarray(vectors, np.float32), ptr, tags, mix, mass, joint)


def wanted_mix(query: Query, facts: Items) -> tuple[Int32, Float64]:
    """The listener's mix p(tag) from what was finished or liked lately, every song's tags sharing its one vote (Steck 2018).

    Tags ascending (T,) and their shares (T,), T <= MIX_TAGS; nothing from fewer than MIX_PLAYS songs with tags.
    """
    recent = query.recent
    items = recent.items[(recent.signal > 0) & (recent.items < len(facts))]
    ptr, tags = tag_rows(facts, items)
    counts = np.diff(ptr)
    if (counts > 0).sum() < MIX_PLAYS:
        return np.zeros(0, np.int32), np.zeros(0)
    names, where = np.unique(tags, return_inverse=True)
    share = np.bincount(where, np.repeat(1.0 / np.maximum(counts, 1), counts), len(names))
    kept = np.sort(np.lexsort((names, -share))[:MIX_TAGS])
    return names[kept].astype(np.int32), share[kept] / share[kept].sum()


def passed_over(query: Query, items: Int32, times: NDArray[np.uint16], marks: NDArray[np.uint8]) -> Float64:
    """How much each item was offered and not wanted, (n,) in [0, 1]: 1 for a song that was shown and never played nor voted on.

    A song skipped lately is passed over too, half as much with every PASSED_HALF_LIFE_DAYS since.
    """
    out = ((marks & SHOWN) > 0) & (times == 0) & ((marks & EVER) == 0)
    tired: Float64 = out.astype(np.float64)
    recent = query.recent
    skipped = recent.signal < 0
    if skipped.any():
        ages = np.maximum(query.now - recent.at[skipped], 0) / DAY_MS
        names, worth = recent.items[skipped], np.exp2(-ages / PASSED_HALF_LIFE_DAYS)
        order = np.lexsort((worth, names))  # of several skips of a song the latest counts, the last of its run
        names, worth = names[order], worth[order]
        at = np.searchsorted(names, items, side="right") - 1
        hit = (at >= 0) & (names[np.maximum(at, 0)] == items)
        tired[hit] = np.maximum(tired[hit], worth[at[hit]])
    return tired


def newness(now: int, items: Int32, facts: Items) -> Float64:
    """2 ** (-days since release / NEW_HALF_LIFE_DAYS), (n,) in [0, 1]; 0 where the day is not known or yet to come."""
    released = facts.released[items]
    age = now // DAY_MS - released.astype(np.int64)
    known = (released != NO_DAY) & (age >= 0)
    out: Float64 = np.zeros(len(items))
    out[known] = np.exp2(-age[known] / NEW_HALF_LIFE_DAYS)
    return out
