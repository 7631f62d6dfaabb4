"""Two models in one slate: each drafts its best song in turn, and a place keeps whose it is, its features and its chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segue.core.stages import CandidateSource
from segue.core.types import Candidates, Exposure, Float32, Query, Slate
from segue.experiments.interleaving import Draft, Turns, interleave
from segue.serving.explanations import Explainer, loudest
from segue.serving.gathering import rung_of

T = TypeVar("T")
INTERLEAVED = "interleaved"
"""The policy of such a slate."""


@runtime_checkable
class Drafts(Protocol):
    """A reranker that can fill a slate in turn with another one."""

    def drafting(self, query: Query, candidates: Candidates, scores: Float32) -> Turns:
        """Its turns."""
        ...


@dataclass(frozen=True)
class Side:
    """What one model made of a request, ranked and not yet chosen from."""

    candidates: Candidates
    rows: Float32
    names: tuple[str, ...]  # of the rows' columns
    scores: Float32
    turns: Turns
    sources: Sequence[CandidateSource]


@dataclass(frozen=True)
class Shared:
    """A slate of two sides: (k,) columns, and the features that both of them know, (k, F)."""

    draft: Draft
    scores: Float32  # each by the ranker of its side
    features: Float32
    names: tuple[str, ...]
    places: tuple[NDArray[np.intp], NDArray[np.intp]]  # by side: places of the slate
    picks: tuple[NDArray[np.intp], NDArray[np.intp]]  # by side: which of its candidates stand there


def shared(sides: tuple[Side, Side], limit: int, rng: np.random.Generator) -> Shared:
    """Fill a slate of at most `limit` from both sides."""
    draft = interleave((sides[0].turns, sides[1].turns), limit, rng)
    names = tuple(name for name in sides[0].names if name in set(sides[1].names))
    scores, features = np.zeros(len(draft.items), np.float32), np.zeros((len(draft.items), len(names)), np.float32)
    places, picks = [], []
    for team, side in enumerate(sides):
        at = np.flatnonzero(draft.teams == team)
        found = np.searchsorted(side.candidates.items, draft.items[at])  # candidates ascend
        scores[at] = side.scores[found]
        features[at] = side.rows[found][:, [side.names.index(name) for name in names]]
        places.append(at)
        picks.append(found)
    return Shared(draft, scores, features, names, (places[0], places[1]), (picks[0], picks[1]))


def woven(made: Shared, parts: Sequence[Sequence[T]]) -> list[T]:
    """What each side says of its songs, in the order of the slate."""
    told = dict(zip(np.concatenate(made.places).tolist(), chain(*parts), strict=True))
    return [told[at] for at in range(len(told))]


def shared_exposure(
    query: Query, experiment: str, sides: tuple[Side, Side], versions: dict[str, str], explainer: Explainer,
    rng: np.random.Generator,
) -> Exposure | None:  # fmt: skip
    """A slate of both sides, with whose each song is; None where neither has a song or one of them has none at all."""
    made = shared(sides, query.limit, rng)
    if not all(len(side.candidates) for side in sides) or not len(made.draft.items):
        return None
    offered = [loudest(side.candidates, picks) for side, picks in zip(sides, made.picks, strict=True)]
    reasons = [
        explainer.reasons(query, side.candidates.items[picks], said, side.sources)
        for side, picks, said in zip(sides, made.picks, offered, strict=True)
    ]
    sources = woven(made, offered)
    slate = Slate(
        request_id=query.request_id,
        items=made.draft.items,
        scores=made.scores,
        propensities=made.draft.propensities,
        sources=tuple(sources),
        reasons=tuple(woven(made, reasons)),
        explored=made.draft.explored,
        policy=INTERLEAVED,
        model_versions=versions,
        rung=rung_of(query, sources),
    )
    context, names = query.context, made.names
    shown = Exposure(slate, query.user, query.now, query.session, query.surface, context.region, made.features, names)
    return replace(shown, teams={experiment: made.draft.teams})
