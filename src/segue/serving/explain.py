"""For the engineer: what made each song of a slate, and at which stage a song that is not in it dropped out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import iso
from segue.core.errors import NotFound, SegueError
from segue.core.hashing import request_number, request_text
from segue.core.ports import Catalogue, EventLog
from segue.core.stages import Explains, ExplainsIds, Ranker
from segue.core.types import MISSING, Candidates, Exposure, Float32, Query
from segue.serving.recommender import Recommender, Trace

DEEPER = 20
"""A source that did not offer a song is asked for so many times as many, to tell how far off it was."""
TOLD = 8
"""Features that are listed for a song, those that moved it most; the rest is summed."""
WORDS = {
    "playable": "it cannot be played, or the catalogue does not know it",
    "excluded": "it was excluded, is a seed, or is another version of one",
    "heard_in_session": "it, or another version of it, was heard in this session",
    "refused": "the listener disliked or hid it",
    "turned_away": "two quick skips turned the radio away from its artist or tag",
}
"""What the rules of segue.filtering mean, by their names."""
RankerOf = Callable[[str], Ranker]
"""The ranker of a version of the models; NotFound where it is not kept any more."""
Replay = Callable[[Exposure], dict[str, Any]]
"""Makes a slate again from the log: serving.replay.made_again, or {"replayed": None, "why": ...}."""


class Explain:
    """Answers both questions for one home."""

    def __init__(
        self,
        log: EventLog,
        catalogue: Catalogue,
        recommender: Recommender,
        ranker_of: RankerOf,
        replay: Replay | None = None,
    ) -> None:
        self._log, self._catalogue, self._recommender, self._ranker_of = log, catalogue, recommender, ranker_of
        self._replay = replay

    def request(self, request: str, item: str | None = None, *, again: bool = False) -> dict[str, Any]:
        """A slate as it was shown, each song (or the one named) with features and what they moved; NotFound if not logged.

        `again`: the slate is made once more, from the log up to then, and `replay` says whether it came out the same.
        `repeated`: whether the ranker of that version gives the stored scores again from the stored features, up to the last
        bits of float32; None where that version is gone or looks at more than features.
        """
        exposure = self._log.exposure(request_number(request))
        if exposure is None:
            raise NotFound(f"no request {request[:64]!r} in the log: a slate is logged when it is answered over HTTP")
        slate = exposure.slate
        ranker, gone = self._then(exposure)
        names = self._catalogue.items.all(slate.items)
        if item is not None and item not in names:
            raise NotFound(f"request {request[:64]!r} holds no item {item!r}; ask with user and item why it is not there")
        asked = exposure.asked or Query(slate.request_id, exposure.user, exposure.at)
        moved = _moved(ranker, exposure.features, exposure.feature_names, (asked, _shown(slate.items)), slate.scores)
        songs = [
            {"place": place, **self._song(exposure, place), **(moved[place] if moved else {})}
            for place in range(len(names))
            if item is None or names[place] == item
        ]
        return {
            "request_id": request_text(slate.request_id),
            "user": self._catalogue.users.name(exposure.user) if exposure.user != MISSING else None,
            "at": iso(exposure.at),
            "surface": exposure.surface,
            "policy": slate.policy,
            "rung": slate.rung,
            "model_versions": slate.model_versions,
            "ranker": ranker.name if ranker is not None else None,
            "repeated": _repeats(ranker, exposure),
            "note": gone,
            **({"replay": self._again(exposure)} if again else {}),
            "items": songs,
        }

    def _again(self, exposure: Exposure) -> dict[str, Any]:
        if self._replay is None:
            return {"replayed": None, "why": "slates cannot be made again here"}
        found = self._replay(exposure)
        items = np.array(found.pop("items", []), np.int32)
        return {**found, "items": self._catalogue.items.all(items)} if len(items) else found

    def _then(self, exposure: Exposure) -> tuple[Ranker | None, str]:
        """The ranker that scored a slate, or why it cannot be asked."""
        if exposure.teams:
            return None, "two rankers share it: each song has the score and the chance that its own ranker gave it"
        version = exposure.slate.model_versions.get("bundle")
        if version is None or not exposure.feature_names:
            return None, "ranked without features: by rank fusion, or from a lower rung"
        try:
            return self._ranker_of(version), ""
        except (SegueError, KeyError, TypeError, ValueError) as error:
            return None, f"the models of then cannot be asked any more: {error}"

    def _song(self, exposure: Exposure, place: int) -> dict[str, Any]:
        slate = exposure.slate
        one = slate.items[place : place + 1]
        title, artist = self._catalogue.titles(one)[0]
        return {
            "id": self._catalogue.items.all(one)[0],
            "title": title,
            "artist": artist,
            "reason": slate.reasons[place],
            "sources": list(slate.sources[place]),
            "score": float(slate.scores[place]),
            "propensity": float(slate.propensities[place]),
            "explored": bool(slate.explored[place]),
        }

    def song(self, query: Query, item: int) -> dict[str, Any]:
        """The way of one item (dense id) through the stages of a request as it would be answered now.

        `stage` is where it ended: sources, filtering, topic, ranking, reranking or slate; `answer` says it in words.
        """
        trace = self._recommender.trace(query)
        out: dict[str, Any] = {"item": self._catalogue.items.name(item), "sources": self._offers(trace, query, item)}
        stage, answer = self._until_ranked(trace, item)
        if not stage:
            place = int(np.flatnonzero(trace.candidates.items == item)[0])
            out |= _ranking(trace, place)
            stage, answer = _chosen(trace, query, place)
        return {**out, "stage": stage, "answer": answer}

    def _offers(self, trace: Trace, query: Query, item: int) -> list[dict[str, Any]]:
        """What each source says of the item: its place from 1 and score, or how deep it would have to be asked."""
        found = []
        for source in trace.model.sources:
            answer = trace.offered[source.name]
            at = np.flatnonzero(answer.items == item)
            if len(at):
                found.append({"source": source.name, "place": int(at[0]) + 1, "score": float(answer.scores[at[0]])})
                continue
            deep = source.retrieve(trace.asked, DEEPER * self._recommender.per_source)
            at = np.flatnonzero(deep.items == item)
            found.append({"source": source.name, "would_be": int(at[0]) + 1 if len(at) else None})
        return found

    def _until_ranked(self, trace: Trace, item: int) -> tuple[str, str]:
        """Where it was lost before ranking, "" if it was not."""
        for rule, items in trace.removed:
            if item in items:
                return ("topic" if rule == "topic" else "filtering"), _removed(rule)
        if item not in trace.candidates.items:
            return "sources", f"no source offered it among its first {self._recommender.per_source}"
        return "", ""


def _removed(rule: str) -> str:
    if rule == "topic":
        return "it is not about what the radio was started from"
    return f"the filter {rule!r} removed it: {WORDS.get(rule, 'see that rule')}"


def _ranking(trace: Trace, place: int) -> dict[str, Any]:
    """Score, rank from 1 of how many, and what the features moved."""
    order = np.lexsort((trace.candidates.items, -trace.scores))
    out: dict[str, Any] = {
        "ranker": trace.ranker.name,
        "score": float(trace.scores[place]),
        "rank": int(np.flatnonzero(order == place)[0]) + 1,
        "of": len(order),
    }
    one = np.arange(len(trace.candidates)) == place
    moved = _moved(trace.ranker, trace.rows[one], trace.model.feature_names, (trace.query, trace.candidates.keep(one)))
    shares = getattr(trace.ranker, "shares", None)
    if shares is not None:  # a ranker that adds up what the sources say
        parts = shares(trace.query, trace.candidates)[place].tolist()
        named = zip(trace.candidates.sources, parts, strict=True)
        out["by_source"] = [{"source": name, "adds": part} for name, part in sorted(named, key=lambda p: -p[1]) if part]
    return {**out, **(moved[0] if moved else {})}


def _chosen(trace: Trace, query: Query, place: int) -> tuple[str, str]:
    """(stage, words) of a song that was ranked."""
    at = np.flatnonzero(trace.picks == place)
    if len(at):
        drawn = " (drawn, to explore)" if trace.explored[at[0]] else ""
        return "slate", f"it has place {int(at[0]) + 1} of the slate{drawn}"
    why_not = getattr(trace.reranker, "why_not", None)
    rule = why_not(query, trace.candidates, trace.scores, trace.picks, place) if why_not is not None else ""
    if rule:
        return "reranking", f"the reranker left it out: {rule}"
    above = int((trace.scores[trace.picks] >= trace.scores[place]).sum())
    return "ranking", f"the ranker put it too low: {above} of the {len(trace.picks)} songs of the slate score at least as high"


def _shown(items: NDArray[np.int32]) -> Candidates:
    """Candidates of whom only the ids are known."""
    return Candidates(items, np.zeros((len(items), 0), np.float32), ())


def _moved(
    ranker: Ranker | None,
    rows: Float32,
    names: tuple[str, ...],
    asked: tuple[Query, Candidates],
    scores: Float32 | None = None,
) -> list[dict[str, Any]]:
    """For each row the base and the features that moved its log-odds most; nothing for a ranker that cannot say.

    Of a ranker that looks at ids these stand among the features, with the value 1 where it knows them; `scores` are those of
    a slate of the log.
    """
    if not names or rows.shape[1] != len(names):
        return []
    if isinstance(ranker, Explains):
        base, values = ranker.contributions(rows)
    elif isinstance(ranker, ExplainsIds):
        base, values, known = ranker.contributions_with_ids(*asked, rows, scores)
        names, rows = (*names, *ranker.ids), np.concatenate((rows, known.astype(np.float32)), axis=1)
    else:
        return []
    out = []
    for row, value in zip(rows, values, strict=True):
        most = [int(j) for j in np.argsort(-np.abs(value), kind="stable")[:TOLD] if value[j] != 0]
        listed = [{"feature": names[j], "value": float(row[j]), "moved": float(value[j])} for j in most]
        out.append({"base": base, "features": listed, "others": float(value.sum() - value[most].sum())})
    return out


def _repeats(ranker: Ranker | None, exposure: Exposure) -> bool | None:
    """Whether the ranker gives the stored scores again from the stored features."""
    if not isinstance(ranker, Explains):
        return None
    items: NDArray[np.int32] = exposure.slate.items
    again = ranker.score(Query(exposure.slate.request_id, exposure.user, exposure.at), _shown(items), exposure.features)
    return bool(np.allclose(again, exposure.slate.scores, rtol=1e-6, atol=0))
