"""Reasons in a listener's words, from the evidence that spoke loudest for each song."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import part_of_week
from segue.core.ports import Catalogue
from segue.core.stages import CandidateSource
from segue.core.types import MISSING, Candidates, Query

PARTS_IN_WORDS = ("tonight", "this morning", "this afternoon", "this evening")


@runtime_checkable
class Because(Protocol):
    """A source that can name the song which led it to another."""

    def because(self, query: Query, item: int) -> int:
        """The item of the query's recent plays or seeds that pulls `item` most, MISSING when none does."""
        ...


def loudest(candidates: Candidates, picks: NDArray[np.intp], weights: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Per picked candidate the sources that offered it, the most convincing first: weight / (10 + rank), as in rank fusion."""
    evidence = candidates.evidence
    mine = evidence[picks]
    with np.errstate(invalid="ignore"):
        ranks = (evidence[None, :, :] > mine[:, None, :]).sum(axis=1)
    value = np.array([weights.get(name, 1.0) for name in candidates.sources]) / (10.0 + ranks)
    value[np.isnan(mine)] = -1.0
    order = np.argsort(-value, axis=1, kind="stable")
    return [tuple(candidates.sources[c] for c in row if value[i, c] >= 0) for i, row in enumerate(order)]


class Explainer:
    """Writes the reasons of a slate."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def reasons(
        self, query: Query, items: Sequence[int], offered: Sequence[tuple[str, ...]], sources: Mapping[str, CandidateSource]
    ) -> tuple[str, ...]:
        """One sentence an item, without a full stop."""
        return tuple(self._reason(query, item, names, sources) for item, names in zip(items, offered, strict=True))

    def _reason(self, query: Query, item: int, names: tuple[str, ...], sources: Mapping[str, CandidateSource]) -> str:
        for name in names:
            source = sources.get(name)
            because: Because | None = source if isinstance(source, Because) else None
            if because is not None and (cause := because.because(query, item)) != MISSING:
                return self._because(query, cause)
            if name == "artist":
                return f"more from {self._artist(item)}"
            if name == "fresh":
                return "new, and close to what you play" if len(query.recent) else "new here"
            if name in _WORDS:
                return _WORDS[name]
            if name == "popular":
                return self._popular(query)
        return "picked for you"

    def _because(self, query: Query, cause: int) -> str:
        title = self._catalogue.titles(np.array([cause], np.int32))[0][0]
        if cause in query.seeds.items:
            return f"goes with {title}"
        return f"because you finished {title}"

    def _artist(self, item: int) -> str:
        return self._catalogue.titles(np.array([item], np.int32))[0][1] or "an artist you play"

    def _popular(self, query: Query) -> str:
        when = PARTS_IN_WORDS[part_of_week(query.context.hour_of_week) % 4]
        if query.context.region == MISSING:
            return f"popular {when}"
        return f"popular in {self._catalogue.regions.name(query.context.region)} {when}"


_WORDS = {
    "als": "fits what you have been playing lately",
    "session_knn": "where sessions like yours went next",
    "user_knn": "listeners with your taste play it",
    "cooccurrence": "often played next to what you just heard",
    "onboarding": "a favourite among fans of what you chose",
    "sound": "sounds like what you just heard",
}
