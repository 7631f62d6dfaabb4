"""The radio's reranker: best first, with gaps between artists, a share of unheard songs, and measured exploration."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.ports import OnlineState
from segue.core.types import Bool, Candidates, Float32, Int32, Items, Query

CARRIER = "sound"
"""The source that knows a song before anybody has played it."""
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

    A song that nobody has played cannot prove itself to a ranker. So of the draws, the share `newcomers` goes to allowed songs
    with fewer than `few` plays that are near by sound (at least half as near as the nearest), in proportion to how near; it
    goes back to the softmax where there are none. The propensity counts both ways a song can be drawn.
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
        newcomers: float = 0.5,
        few: float = 5.0,
    ) -> None:
        self._facts, self._state = facts, state
        self.artist_gap, self.max_per_artist = artist_gap, max_per_artist
        self.explore, self.explore_pool, self.temperature = explore, explore_pool, temperature
        self.newcomers, self.few = newcomers, few

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
            self._carried(query, candidates)[order],
            rng.random((query.limit, 2)),
            np.array([discovery, self.explore, self.newcomers]),
            np.array([self.artist_gap, self._cap(query.limit), self.explore_pool]),
        )
        return order[picks], propensities, explored

    def _carried(self, query: Query, candidates: Candidates) -> NDArray[np.float64]:
        """How near each candidate is by sound, where it is near and few have played it; 0 elsewhere, (n,)."""
        carried = np.zeros(len(candidates))
        if not len(candidates) or CARRIER not in candidates.sources or not self.explore * self.newcomers:
            return carried
        near = candidates.evidence[:, candidates.sources.index(CARRIER)]
        rows = np.flatnonzero(near >= np.nanmax(near, initial=0.0) / 2)
        if len(rows):
            plays = self._state.popularity(candidates.items[rows], query.context.region, query.context.hour_of_week)[:, 1]
            rows = rows[(plays < np.log1p(self.few)) & (near[rows] > 0)]
            carried[rows] = near[rows]
        return carried

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
def _fill(artists, works, heard, scores, before, carried, draws, shares, limits):  # type: ignore[no-untyped-def]
    """Greedy filling over candidates sorted best first; returns (places, propensities, explored)."""
    everyone, newcomers = np.arange(len(artists)), np.flatnonzero(carried > 0)
    fresh = np.empty(len(newcomers), np.int64)
    n, k = len(artists), min(len(draws), len(artists))
    gap, cap, pool_size = limits[0], limits[1], limits[2]
    discovery = shares[0]
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
            rules = (strictness, want_new, gap, cap)
            size = _allowed((artists, works, heard), everyone, used, picks[:place], before, pool, rules)
            if size:
                break
        if size == 0:
            break
        n_fresh = _allowed((artists, works, heard), newcomers, used, picks[:place], before, fresh, rules)
        choice, chance, drawn = _draw(scores, pool[:size], carried, fresh[:n_fresh], draws[place], shares)
        picks[place], propensities[place], explored[place] = choice, chance, drawn
        used[choice] = True
        new_songs += not heard[choice]
        made += 1
    return picks[:made], propensities[:made], explored[:made]


@njit(cache=True, nogil=True)
def _allowed(columns, among, used, picks, before, pool, rules):  # type: ignore[no-untyped-def]
    """The first of `among` that this place allows, into pool; how many. Second versions are never allowed."""
    (artists, works, heard), (strictness, want_new, gap, cap) = columns, rules
    size = 0
    for c in among:
        if size == len(pool):
            break
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
    return size


@njit(cache=True, nogil=True)
def _drawn(weights, target):  # type: ignore[no-untyped-def]
    """The place where the running sum of the weights passes the target."""
    for i in range(len(weights)):
        target -= weights[i]
        if target < 0:
            return i
    return len(weights) - 1


@njit(cache=True, nogil=True)
def _draw(scores, pool, carried, fresh, draw, shares):  # type: ignore[no-untyped-def]
    """One place: (candidate, propensity, drawn)."""
    explore, weights, news = shares[1], np.exp(scores[pool] - scores[pool[0]]), carried[fresh]
    share = shares[2] if len(fresh) else 0.0
    if draw[0] >= explore:
        chosen = pool[0]
    elif draw[1] < share:
        chosen = fresh[_drawn(news, draw[1] / share * news.sum())]
    else:
        chosen = pool[_drawn(weights, (draw[1] - share) / (1.0 - share) * weights.sum())]
    chance = 1.0 - explore if chosen == pool[0] else 0.0
    for i in range(len(pool)):
        if pool[i] == chosen:
            chance += explore * (1.0 - share) * weights[i] / weights.sum()
    for i in range(len(fresh)):
        if fresh[i] == chosen:
            chance += explore * share * news[i] / news.sum()
    return chosen, np.float32(min(chance, 1.0)), draw[0] < explore
