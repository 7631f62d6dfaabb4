"""Reasons in a listener's words, from the evidence that spoke loudest for each song."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import part_of_week
from segue.core.facts import has_tag
from segue.core.ports import Catalogue
from segue.core.stages import CandidateSource
from segue.core.types import MISSING, Candidates, Float32, Int32, Query

Because = Callable[[Query, Int32], Int32]
"""An optional method of a source: per item, the song of the query's recent plays or seeds that pulls it most, or MISSING."""

PARTS_IN_WORDS = ("tonight", "this morning", "this afternoon", "this evening")
TELLING: Mapping[str, float] = MappingProxyType(
    {
        "cooccurrence": 1.0,
        "sound": 1.0,
        "session_knn": 0.9,
        "als": 0.8,
        "user_knn": 0.8,
        "item_knn": 0.8,
        "graph_filter": 0.8,
        "ease": 0.8,
        "sparse_ease": 0.8,
        "artist": 0.6,
        "fresh": 0.4,
        "popular": 0.3,
        "unplayed": 0.2,
    }
)
"""How much a listener learns from being told a source: a song of theirs says more than what everybody plays."""
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "als": "fits what you have been playing",
        "session_knn": "where sessions like yours went next",
        "user_knn": "listeners with your taste play it",
        "item_knn": "liked by listeners of what you like",
        "graph_filter": "liked by listeners of what you like",
        "ease": "liked by listeners of what you like",
        "sparse_ease": "liked by listeners of what you like",
        "cooccurrence": "often played next to what you just heard",
        "sound": "sounds like what you just heard",
    }
)


def loudest(candidates: Candidates, picks: NDArray[np.intp]) -> list[tuple[str, ...]]:
    """Per picked candidate the sources that offered it, the most convincing first: TELLING / (10 + rank), as in rank fusion."""
    mine = candidates.evidence[picks]
    telling = np.array([TELLING.get(name, 0.5) for name in candidates.sources])
    value = telling / (10.0 + _ranks(candidates.evidence, picks))
    value[np.isnan(mine)] = -1.0
    order = np.argsort(-value, axis=1, kind="stable").tolist()
    offered = (value >= 0).tolist()
    names = candidates.sources
    return [tuple([names[c] for c in row if said[c]]) for row, said in zip(order, offered, strict=True)]


def _named(source: str, title: str, asked: bool, voted: bool) -> str:
    """A reason that names a song of the listener's."""
    if source == "sound":
        return f"sounds like {title}"
    return f"goes with {title}" if asked else f"because you {'liked' if voted else 'finished'} {title}"


def _where(region: str) -> str:
    """A region in words: coarse postcodes and grid cells (events.coarsen) are codes that tell a listener nothing."""
    return "near you" if region.startswith(("zip:", "geo:")) else f"in {region}"


@njit(cache=True, nogil=True)
def _ranks(evidence: Float32, picks: NDArray[np.intp]) -> NDArray[np.float64]:
    """How many candidates each source puts above each pick, (picks, sources)."""
    out = np.zeros((len(picks), evidence.shape[1]))
    for i in range(len(evidence)):
        for j in range(evidence.shape[1]):
            for place in range(len(picks)):
                out[place, j] += evidence[i, j] > evidence[picks[place], j]
    return out


class Explainer:
    """Writes the reasons of a slate."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def reasons(
        self, query: Query, items: Int32, offered: Sequence[tuple[str, ...]], sources: Sequence[CandidateSource]
    ) -> tuple[str, ...]:
        """One sentence an item, without a full stop."""
        named = self._causes(query, items, offered, sources)
        titles = self._titles({cause for cause in named if cause != MISSING})
        seeds = set(query.seeds.items.tolist())
        # a vote has no share heard; who liked a song says more by that than by having finished it
        voted = set(query.recent.items[np.isnan(query.recent.share) & (query.recent.signal > 0)].tolist())
        words = []
        for place, (names, cause) in enumerate(zip(offered, named, strict=True)):
            if cause != MISSING:
                words.append(_named(names[0], titles[cause], cause in seeds, cause in voted))
            else:
                words.append(self._plain(query, names, items[place : place + 1]))
        return tuple(words)

    @staticmethod
    def _causes(
        query: Query, items: Int32, offered: Sequence[tuple[str, ...]], sources: Sequence[CandidateSource]
    ) -> list[int]:
        """Per item the song that its most convincing source names, MISSING where none; each is asked about its own songs."""
        causes = [MISSING] * len(items)
        asked: dict[str, list[int]] = {}
        for place, names in enumerate(offered):
            if names:
                asked.setdefault(names[0], []).append(place)
        for source in sources:
            because: Because | None = getattr(source, "because", None)
            places = asked.get(source.name)
            if because is not None and places:
                for place, cause in zip(places, because(query, items[places]).tolist(), strict=True):
                    causes[place] = cause
        return causes

    def _titles(self, items: set[int]) -> dict[int, str]:
        """The titles of songs that reasons name."""
        order = sorted(items)
        found = self._catalogue.titles(np.array(order, np.int32)) if order else []
        return {item: title for item, (title, _) in zip(order, found, strict=True)}

    def _plain(self, query: Query, names: tuple[str, ...], item: Int32) -> str:
        name = names[0] if names else ""
        if name == "artist":
            return self._artist(query, item)
        if name == "fresh":
            close = len(query.recent) and len(set(names) - {"fresh", "popular", "unplayed"})
            return "new, and close to what you play" if close else "new here"
        if name == "unplayed":
            return "not played here yet"
        if name in _WORDS:
            return _WORDS[name] if len(query.recent) else "goes with what you asked for"
        when = PARTS_IN_WORDS[part_of_week(query.context.hour_of_week) % 4]
        if query.context.region == MISSING:
            return f"popular {when}"
        return f"popular {_where(self._catalogue.regions.name(query.context.region))} {when}"

    def _artist(self, query: Query, item: Int32) -> str:
        """What was asked for, else the artist's name."""
        facts = self._catalogue.facts
        for tag in query.seeds.tags:
            if has_tag(facts, item, np.array([tag], np.int32))[0]:
                return f"{self._catalogue.tags.name(int(tag))}, as you asked"
        artist = self._catalogue.titles(item)[0][1]
        return f"more from {artist}" if artist else "more from an artist you play"
