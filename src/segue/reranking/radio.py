"""The radio's reranker: best first, with gaps between artists, a share of unheard songs, and measured exploration."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.ports import OnlineState
from segue.core.types import Bool, Candidates, Float32, Int32, Items, Query

VOTES = 1 | 2 | 8
"""Bits of OnlineState.marks that tell of a meeting: liked, disliked, saved."""


class Radio:
    """Fills a slate place by place (greedy), each from the candidates that the rules of that place allow.

    A place first takes its side: a song never heard or a familiar one, by error diffusion of the discovery share, so that
    any prefix of the slate has it within one song. The rules then are, from the strictest to the loosest: right side and
    artist gap and artist cap and no second version; without the side; without the cap; without the gap. With probability
    `explore` the song is drawn from the softmax of standardized scores of the `explore_pool` best allowed ones
    (Plackett-Luce, without replacement), else it is the best one: its propensity given those before it is
    (1 - explore) [best] + explore * softmax, exact, in (0, 1].
    """

    name: ClassVar[str] = "radio"

    def __init__(
        self,
        facts: Callable[[], Items],
        state: OnlineState,
        *,
        artist_gap: int = 2,
        max_per_artist: int = 2,
        explore: float = 0.05,
        explore_pool: int = 40,
        temperature: float = 1.0,
    ) -> None:
        self._facts, self._state = facts, state
        self.artist_gap, self.max_per_artist = artist_gap, max_per_artist
        self.explore, self.explore_pool, self.temperature = explore, explore_pool, temperature

    def select(
        self, query: Query, candidates: Candidates, scores: Float32, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], Float32, Bool]:
        """At most query.limit places into the candidates, their propensities, and which were drawn rather than best."""
        facts = self._facts()
        order = np.lexsort((candidates.items, -scores))
        items = candidates.items[order]
        heard = familiar(self._state, query.user, items)
        standard = (scores[order] - scores.mean()) / (scores.std() + 1e-6) if len(scores) else scores
        discovery = 1.0 if query.discovery is None else query.discovery
        picks, propensities, explored = _fill(
            facts.artist[items],
            facts.work[items],
            heard,
            standard.astype(np.float64) / self.temperature,
            played_artists(query, facts, self.artist_gap),
            rng.random((query.limit, 2)),
            np.array([discovery, self.explore]),
            np.array([self.artist_gap, self._cap(query.limit), self.explore_pool]),
        )
        return order[picks], propensities, explored

    def _cap(self, limit: int) -> int:
        return max(self.max_per_artist, -(-self.max_per_artist * limit // 10))


def familiar(state: OnlineState, user: int, items: Int32) -> Bool:
    """Whether the listener has played each item, or said what they think of it."""
    times, _ = state.heard(user, items)
    return np.asarray((times > 0) | ((state.marks(user, items) & VOTES) > 0), np.bool_)


def played_artists(query: Query, facts: Items, gap: int) -> Int32:
    """Artists of the last `gap` songs of this session, oldest first: the slate begins where the session stands."""
    items = query.recent.items[query.recent.in_session]
    items = items[items < len(facts)][:gap]
    return facts.artist[items][::-1].copy()


@njit(cache=True, nogil=True)
def _fill(artists, works, heard, scores, before, draws, shares, limits):  # type: ignore[no-untyped-def]
    """Greedy filling over candidates sorted best first; returns (places, propensities, explored)."""
    n, k = len(artists), min(len(draws), len(artists))
    gap, cap, pool_size = limits[0], limits[1], limits[2]
    discovery, explore = shares[0], shares[1]
    picks = np.empty(k, np.int64)
    propensities = np.empty(k, np.float32)
    explored = np.zeros(k, np.bool_)
    used = np.zeros(n, np.bool_)
    pool = np.empty(pool_size, np.int64)
    new_songs, made = 0, 0
    for place in range(k):
        want_new = new_songs < np.floor(discovery * (place + 1) + 0.5)
        size = 0
        for strictness in range(4):
            size = _allowed(artists, works, heard, used, picks[:place], before, pool, strictness, want_new, gap, cap)
            if size:
                break
        if size == 0:
            break
        choice, chance, drawn = _draw(scores, pool[:size], draws[place], explore)
        picks[place], propensities[place], explored[place] = choice, chance, drawn
        used[choice] = True
        new_songs += not heard[choice]
        made += 1
    return picks[:made], propensities[:made], explored[:made]


@njit(cache=True, nogil=True)
def _allowed(artists, works, heard, used, picks, before, pool, strictness, want_new, gap, cap):  # type: ignore[no-untyped-def]
    """The best candidates that this place allows, into pool; how many. Second versions are never allowed."""
    size = 0
    for c in range(len(artists)):
        if used[c] or (strictness < 1 and want_new == heard[c]):
            continue
        artist, count, distance, second = artists[c], 0, 1 << 30, False
        for back in range(len(picks)):
            other = picks[len(picks) - 1 - back]
            second = second or works[other] == works[c]
            if artist != -1 and artists[other] == artist:
                count += 1
                distance = min(distance, back)
        if artist != -1 and distance == 1 << 30:
            for back in range(len(before)):
                if before[len(before) - 1 - back] == artist:
                    distance = len(picks) + back
                    break
        if second or (strictness < 3 and distance < gap) or (strictness < 2 and count >= cap):
            continue
        pool[size] = c
        size += 1
        if size == len(pool):
            break
    return size


@njit(cache=True, nogil=True)
def _draw(scores, pool, draw, explore):  # type: ignore[no-untyped-def]
    """One place: (candidate, propensity, drawn)."""
    weights = np.exp(scores[pool] - scores[pool[0]])
    total = weights.sum()
    if draw[0] >= explore:
        return pool[0], np.float32(1.0 - explore + explore * weights[0] / total), False
    target, chosen = draw[1] * total, len(pool) - 1
    for i in range(len(pool)):
        target -= weights[i]
        if target < 0:
            chosen = i
            break
    chance = explore * weights[chosen] / total + (1.0 - explore if chosen == 0 else 0.0)
    return pool[chosen], np.float32(chance), True
