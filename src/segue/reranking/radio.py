"""The radio's reranker: best first, with gaps between artists, a share of unheard songs, and measured exploration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import NEWCOMER_PLAYS
from segue.core.ports import OnlineState
from segue.core.types import Bool, Candidates, Float32, Int32, Items, Query
from segue.reranking.drafting import NOBODY, Columns, Drafting, Filling, Places
from segue.reranking.variety import DEPTH, Variety, newness, passed_over, variety_of

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

    `fatigue` and `freshness` move scores before the filling, `diversity` (unlike the songs before, by the most alike of them,
    "mmr", or by all together, "dpp") and `calibration` (the listener's own mix of tags) from place to place among the DEPTH
    best, each in standard deviations of the scores; 0 switches one off, and then it costs nothing. What is best and what the
    draws weigh by are the moved scores, so propensities stay exact. Calibration does not speak where the listener asked for
    something (seeds).
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
        few: float = NEWCOMER_PLAYS,
        max_per_album: int = 0,
        diversity: float = 0.0,
        diversity_by: str = "mmr",
        calibration: float = 0.0,
        fatigue: float = 0.0,
        freshness: float = 0.0,
        vectors: Callable[[Int32], Float32] | None = None,
    ) -> None:
        self._facts, self._state, self._vectors = facts, state, vectors
        self.artist_gap, self.max_per_artist, self.max_per_album = artist_gap, max_per_artist, max_per_album
        if diversity_by not in ("mmr", "dpp"):
            raise ValueError(f"diversity_by: expected mmr or dpp, found {diversity_by!r}")
        self.diversity, self.diversity_by, self.calibration = diversity, diversity_by, calibration
        self.fatigue, self.freshness = fatigue, freshness
        self.explore, self.explore_pool, self.temperature = explore, explore_pool, temperature
        self.newcomers, self.few = newcomers, few

    def select(
        self, query: Query, candidates: Candidates, scores: Float32, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], Float32, Bool]:
        """At most query.limit places into the candidates, their propensities, and which were drawn rather than best."""
        order, filled = self._fill(query, candidates, scores, rng.random((query.limit, 2)), ())
        picks, propensities, explored = filled
        return order[picks], propensities, explored

    def chances(self, query: Query, candidates: Candidates, scores: Float32, shown: Int32) -> Float32:
        """The chance that `select` would have put each shown item at its place, given the places above it, (k,).

        0 for what it would not have shown there, and for all that follows an item that is no candidate.
        """
        out = np.zeros(len(shown), np.float32)
        if not len(candidates) or not len(shown):
            return out
        at = np.minimum(np.searchsorted(candidates.items, shown), len(candidates) - 1)
        at = np.where(candidates.items[at] == shown, at, -1)
        _, filled = self._fill(query, candidates, scores, np.zeros((len(shown), 2)), at)
        out[: len(filled[1])] = filled[1]
        return out

    def _fill(
        self,
        query: Query,
        candidates: Candidates,
        scores: Float32,
        draws: NDArray[np.float64],
        forced: Sequence[int] | NDArray[np.intp],
    ) -> tuple[NDArray[np.intp], tuple[NDArray[np.int64], Float32, Bool]]:
        """Candidates best first, and the filling over that order; forced are places into the candidates, -1 nobody."""
        filling, order = self._filling(query, candidates, scores)
        return order, filling.run(draws, _places(order, forced))

    def drafting(self, query: Query, candidates: Candidates, scores: Float32) -> Drafting:
        """Turns in a slate that is shared with another policy, place by place by the same rules and draws as `select`."""

        def columns(items: Int32) -> Columns:
            facts, known = self._facts(), self._state.heard(query.user, items)[0]
            heard = met(known, self._state.marks(query.user, items))
            return facts.artist[items], facts.album[items], facts.work[items], heard

        return Drafting(self._filling(query, candidates, scores)[0], columns)

    def _filling(self, query: Query, candidates: Candidates, scores: Float32) -> tuple[Filling, NDArray[np.intp]]:
        """What the filling looks at, and the order in which it has the candidates."""
        facts = self._facts()
        times, _ = self._state.heard(query.user, candidates.items)
        marks = self._state.marks(query.user, candidates.items)
        moved = self._moved(query, candidates.items, scores, (times, marks), facts)
        order = np.argsort(-moved, kind="stable")  # candidates ascend: ties go to the smaller id
        items = candidates.items[order]
        discovery = 1.0 if query.discovery is None else query.discovery
        filling = Filling(
            items=items,
            columns=(facts.artist[items], facts.album[items], facts.work[items], met(times, marks)[order]),
            scores=moved[order] / self.temperature,
            before=played_artists(query, facts, self.artist_gap),
            carried=self._carried(query, candidates)[order],
            settings=(np.array([discovery, self.explore, self.newcomers]), self._limits(query.limit)),
            variety=self._variety(query, items[:DEPTH], facts),
        )
        return filling, order

    def why_not(self, query: Query, candidates: Candidates, scores: Float32, picks: NDArray[np.intp], place: int) -> str:
        """The rule that kept a candidate out of the slate `picks` though it scored above what was taken; "" if none did.

        For explanations. Of the places that went to a lower score, the rule of the most of them, the earliest on ties;
        settings that move scores are named where no rule is.
        """
        facts, items = self._facts(), candidates.items
        heard = met(self._state.heard(query.user, items)[0], self._state.marks(query.user, items))
        found: dict[str, int] = {}
        for at, pick in enumerate(picks.tolist()):
            if scores[pick] < scores[place]:
                rule = self._broken(query, facts, items[place], items[picks[:at]]) or _side(heard[place], heard[pick])
                rule = rule or ("settings that move scores, or a draw, preferred others" if self._moves() else "")
                if rule:
                    found[rule] = found.get(rule, 0) + 1
        return max(found, key=lambda rule: found[rule]) if found else ""

    def _moves(self) -> bool:
        return bool(self.diversity or self.calibration or self.fatigue or self.freshness or self.explore)

    def _broken(self, query: Query, facts: Items, item: np.int32, before: Int32) -> str:
        """Which rule an item would break after the songs before it, "" none."""
        artist, album = facts.artist[item], facts.album[item]
        gap, cap, _, album_cap = self._limits(query.limit).tolist()
        near = np.concatenate((played_artists(query, facts, self.artist_gap), facts.artist[before]))
        if np.any(facts.work[before] == facts.work[item]):
            return "another version of it is in the slate"
        if artist >= 0 and np.any(near[max(len(near) - gap, 0) :] == artist):
            return f"{gap} other artists must come between two songs of one artist (artist_gap)"
        if artist >= 0 and (facts.artist[before] == artist).sum() >= cap:
            return f"its artist has {cap} songs in the slate already (max_per_artist)"
        if album >= 0 and (facts.album[before] == album).sum() >= album_cap:
            return f"its album has {album_cap} songs in the slate already (max_per_album)"
        return ""

    def _moved(
        self, query: Query, items: Int32, scores: Float32, known: tuple[NDArray[np.uint16], NDArray[np.uint8]], facts: Items
    ) -> NDArray[np.float64]:
        """Standardized scores, less what was passed over, more what is new, (n,)."""
        n = max(len(scores), 1)
        moved = scores.astype(np.float64)
        moved -= moved.sum() / n
        moved /= math.sqrt(moved @ moved / n) + 1e-6  # a tenth of the time of numpy's std: this is every request
        if self.fatigue:
            moved -= self.fatigue * passed_over(query, items, *known)
        if self.freshness:
            moved += self.freshness * newness(query.now, items, facts)
        return moved

    def _variety(self, query: Query, items: Int32, facts: Items) -> Variety:
        """What the places are scored against each other by."""
        if not (self.diversity or self.calibration):
            return Variety.off()
        vectors = np.zeros((len(items), 0), np.float32) if self._vectors is None or not self.diversity else self._vectors(items)
        weights = np.array([self.diversity, self.calibration]) / self.temperature
        return variety_of(items, vectors, query, facts, weights, joint=self.diversity_by == "dpp")

    def _limits(self, limit: int) -> NDArray[np.int64]:
        """Gap and cap of an artist, size of the pool, cap of an album (as good as none where it is 0)."""
        album = self._cap(self.max_per_album, limit) if self.max_per_album else limit + 1
        return np.array([self.artist_gap, self._cap(self.max_per_artist, limit), self.explore_pool, album])

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

    @staticmethod
    def _cap(cap: int, limit: int) -> int:
        return max(cap, -(-cap * limit // 10))


def _side(mine: bool, theirs: bool) -> str:
    """What the discovery share asked for where it took the other side."""
    if mine == theirs:
        return ""
    return (
        "the place was for a song that is new to the listener" if mine else "the place was for a song that the listener knows"
    )


def met(times: NDArray[np.uint16], marks: NDArray[np.uint8]) -> Bool:
    """Whether the listener has played each item, or said what they think of it."""
    return np.asarray((times > 0) | ((marks & VOTES) > 0), np.bool_)


def _places(order: NDArray[np.intp], wanted: Places) -> NDArray[np.int64]:
    """Where the wanted candidates stand in the order; -1 stays -1."""
    if not len(wanted):
        return NOBODY
    stands = np.empty(len(order) + 1, np.int64)
    stands[order], stands[-1] = np.arange(len(order)), -1
    found: NDArray[np.int64] = stands[np.asarray(wanted)]
    return found


def played_artists(query: Query, facts: Items, gap: int) -> Int32:
    """Artists of the last `gap` songs of this session, oldest first: the slate begins where the session stands."""
    items = query.recent.items[query.recent.in_session]
    items = items[items < len(facts)][:gap]
    return facts.artist[items][::-1].copy()
