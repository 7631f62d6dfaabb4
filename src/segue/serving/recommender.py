"""One request, top to bottom: candidates, filtering, features, ranking, reranking, reasons; and always an answer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segue.core.evidence import union
from segue.core.ports import Catalogue, OnlineState
from segue.core.stages import CandidateSource, Filter, Ranker, Reranker
from segue.core.types import MISSING, Bool, Candidates, Exposure, Float32, Query, Scored, Slate
from segue.serving.explanations import Explainer, loudest
from segue.serving.gathering import UNPLAYED, Count, Gatherer, Round, Timed, rung_of
from segue.serving.interleaved import Drafts, Side, shared_exposure
from segue.serving.topic import anything, asked_of, on_topic

GATHER_SHARE = 0.6
"""Share of the deadline that the sources may use; the rest is for ranking, the log and the way back."""
REMEMBERED = 10_000
"""Listeners whose last ranked candidates are kept for the rung `cached`."""

Rows = Callable[[Query, Candidates], Float32]
"""The features of candidates, (n, F) float32; columns are Model.feature_names."""


def no_rows(query: Query, candidates: Candidates) -> Float32:
    """For rankers that look at the evidence only."""
    return np.zeros((len(candidates), 0), np.float32)


@runtime_checkable
class TellsChances(Protocol):
    """A reranker that can judge a slate of another policy."""

    def chances(self, query: Query, candidates: Candidates, scores: Float32, shown: NDArray[np.int32]) -> Float32:
        """The chance of each shown item at its place, given those above it, (k,)."""
        ...


@dataclass(frozen=True)
class Model:
    """Everything that the night replaces, swapped as one reference: a request takes it once and keeps it to the end."""

    sources: tuple[CandidateSource, ...]
    ranker: Ranker
    policy: str = "radio"
    newcomers: Ranker | None = None  # orders for those of whom nothing is known: no log has taught the ranker about them
    versions: dict[str, str] = field(default_factory=dict)
    rows: Rows = no_rows
    feature_names: tuple[str, ...] = ()
    reranker: Reranker | None = None  # instead of the one that stays, for an experiment with settings of its own
    rival: tuple[str, Model] | None = None  # the experiment in which another model fills half of each slate, and that model

    def ranker_for(self, query: Query) -> Ranker:
        """The ranker, or the one for newcomers where the query tells of no play and no wish."""
        unknown = self.newcomers is not None and not len(query.recent) and not query.seeds
        return self.newcomers if unknown and self.newcomers is not None else self.ranker


@dataclass(frozen=True)
class Stages:
    """What stays while models come and go."""

    filters: tuple[Filter, ...]
    reranker: Reranker


@dataclass(frozen=True)
class Asked:
    """A request under way."""

    query: Query
    model: Model
    round: Round
    began: float  # time.perf_counter()
    applied: int = 0  # seq of the last event that the state knew
    popular_at: int = 0  # the same of what it says is popular at the place
    other: Round | None = None  # of the model that shares the slate, where its sources are others

    @property
    def waits(self) -> list[Future[None]]:
        """What has to be waited for, a budget at most, before `finish`; nearly always nothing."""
        rounds = (self.round,) if self.other is None else (self.round, self.other)
        return [one.done for one in rounds if one.done is not None]


@dataclass(frozen=True)
class Trace:
    """One request with every step kept, for explanations."""

    model: Model
    query: Query
    asked: Query  # what the sources were asked
    offered: dict[str, Scored]  # by source
    removed: list[tuple[str, NDArray[np.int32]]]  # (rule, items it removed), in order; "topic" is the seeds' own
    candidates: Candidates  # that were ranked
    rows: Float32
    ranker: Ranker
    scores: Float32
    reranker: Reranker
    picks: NDArray[np.intp]
    explored: Bool


class Recommender:
    """Answers every query with a slate of playable songs, on the highest rung that holds.

    personal: the whole way, at least one song offered by a source that looked at the listener or the seeds.
    cached: the whole way failed; the listener's last candidates, filtered again.
    regional: what is popular in the region of the query at this hour. global: popular everywhere, else anything playable.
    """

    def __init__(
        self,
        model: Model,
        stages: Stages,
        catalogue: Catalogue,
        state: OnlineState,
        *,
        key: bytes,
        count: Count = lambda event, label: None,
        timed: Timed = lambda source, seconds: None,
        per_source: int = 80,
        deadline_ms: float = 80.0,
    ) -> None:
        self.model = model
        self._stages, self._catalogue, self._state, self._count = stages, catalogue, state, count
        self._key = key
        self.per_source, self._deadline_s = per_source, deadline_ms / 1000
        self.budget_s = deadline_ms / 1000 * GATHER_SHARE
        self._gatherer = Gatherer(count, timed)
        self._explainer = Explainer(catalogue)
        self._last: OrderedDict[int, tuple[NDArray[np.int32], Float32]] = OrderedDict()
        self._last_lock = threading.Lock()

    def swap(self, model: Model) -> None:
        """Serve another model from the next request on."""
        self.model = model

    def try_out(self, query: Query, model: Model) -> Exposure | None:
        """The answer of a model that does not serve yet, without a deadline: raises what the stages raise."""
        answers = [source.retrieve(query, self.per_source) for source in model.sources]
        candidates = self._filtered(query, union([source.name for source in model.sources], answers))
        if not len(candidates):
            return None
        rows = model.rows(query, candidates)
        return self._exposure(query, model, candidates, "personal", model.ranker.score(query, candidates, rows), rows)

    def trace(self, query: Query, model: Model | None = None) -> Trace:
        """The whole way of a request again, every step kept and without a deadline: raises what the stages raise."""
        model, asked = model or self.model, asked_of(query)
        offered = {source.name: source.retrieve(asked, self.per_source) for source in model.sources}
        candidates = union(list(offered), list(offered.values()))
        removed: list[tuple[str, NDArray[np.int32]]] = []
        for rule in self._stages.filters:
            mask = rule(query, candidates)
            removed.append((getattr(rule, "__qualname__", "rule").partition(".")[0], candidates.items[~mask]))
            candidates = candidates.keep(mask)
        if query.seeds:
            before, candidates = candidates.items, on_topic(query, candidates, self._catalogue.facts)
            removed.append(("topic", before[~np.isin(before, candidates.items)]))
        if len(candidates) < query.limit:
            candidates = self._filled_up(query, candidates)
        rows, ranker, reranker = model.rows(query, candidates), model.ranker_for(query), model.reranker or self._stages.reranker
        scores = ranker.score(query, candidates, rows)
        picks, _, explored = reranker.select(query, candidates, scores, self._rng(query.request_id))
        return Trace(model, query, asked, offered, removed, candidates, rows, ranker, scores, reranker, picks, explored)

    def mirror(self, query: Query, model: Model, shown: NDArray[np.int32]) -> tuple[Float32, NDArray[np.int32]]:
        """What a model that is not shown does with a request: chances of the shown items (k,), and its own slate, best first.

        A chance is that the model would have put the item at its place, given those above it. Without a deadline; raises what
        the stages raise, and TypeError where the reranker cannot tell.
        """
        reranker = model.reranker or self._stages.reranker
        if not isinstance(reranker, TellsChances):
            raise TypeError(f"the reranker {reranker.name!r} does not tell chances")
        asked = asked_of(query)
        answers = [source.retrieve(asked, self.per_source) for source in model.sources]
        candidates = self._narrowed(query, union([source.name for source in model.sources], answers))
        if not len(candidates):
            return np.zeros(len(shown), np.float32), np.zeros(0, np.int32)
        scores = model.ranker_for(query).score(query, candidates, model.rows(query, candidates))
        picks, _, _ = reranker.select(query, candidates, scores, self._rng(query.request_id))
        return reranker.chances(query, candidates, scores, shown), candidates.items[picks]

    def close(self) -> None:
        """Let the workers go."""
        self._gatherer.close()

    def recommend(self, query: Query, model: Model | None = None) -> Exposure:
        """The slate for a query and the features behind it; raises for nothing that a stage may do."""
        asked = self.ask(query, model)
        if waits := asked.waits:
            wait(waits, self.budget_s)
        return self.finish(asked)

    def ask(self, query: Query, model: Model | None = None) -> Asked:
        """Begin: the sources are asked. Where `waits` names futures, a server waits for them before it calls finish."""
        model, began = model or self.model, time.perf_counter()
        applied = self._state.applied
        round_ = self._gatherer.ask(model.sources, asked_of(query), self.per_source, self.budget_s)
        popular_at = self._state.popular_as_of(query.context.region, query.context.hour_of_week)
        other = None
        if model.rival is not None and model.rival[1].sources is not model.sources:
            other = self._gatherer.ask(model.rival[1].sources, asked_of(query), self.per_source, self.budget_s)
        return Asked(query, model, round_, began, applied, popular_at, other)

    def finish(self, asked: Asked) -> Exposure:
        """The slate from what the sources have said by now, on the highest rung that holds."""
        query, model = asked.query, asked.model
        exposure = None
        for rung, name in (
            (self._personal, "personal"),
            (self._cached, "cached"),
            (self._regional, "regional"),
            (self._global, "global"),
        ):
            try:
                exposure = rung(asked)
            except Exception as error:
                self._count("rung_failed", f"{name}:{type(error).__name__}")
            if exposure is not None:
                break
        if exposure is None:
            nothing = Candidates(np.zeros(0, np.int32), np.zeros((0, 0), np.float32), ())
            exposure = self._exposure(query, model, nothing, "global")
        self._count("rung", exposure.slate.rung if len(exposure.slate.items) else "empty")
        if time.perf_counter() - asked.began > self._deadline_s:
            self._count("late", exposure.slate.rung)
        return replace(exposure, asked=query, applied=asked.applied, popular_at=asked.popular_at)

    def _personal(self, asked: Asked) -> Exposure | None:
        query, model = asked.query, asked.model
        candidates = self._gatherer.take(asked.round)
        if time.perf_counter() - asked.began > self._deadline_s:
            return None
        candidates = self._narrowed(query, candidates)
        if not len(candidates):
            return None
        rows = model.rows(query, candidates)
        scores = model.ranker_for(query).score(query, candidates, rows)
        exposure = None if model.rival is None else self._shared(asked, model.rival, candidates, rows, scores)
        exposure = exposure or self._exposure(query, model, candidates, "personal", scores, rows)
        if not query.seeds:
            self._remember(query.user, candidates.items, scores)
        return exposure

    def _shared(
        self, asked: Asked, rival: tuple[str, Model], candidates: Candidates, rows: Float32, scores: Float32
    ) -> Exposure | None:  # fmt: skip
        """The slate that the model fills in turn with its rival; None where the rival fails or has nothing: it is ours then."""
        (name, theirs), query = rival, asked.query
        try:
            ours = self._side(query, asked.model, candidates, rows, scores)
            if asked.other is not None:
                candidates = self._narrowed(query, self._gatherer.take(asked.other))
            if asked.other is not None or theirs.ranker is not asked.model.ranker:
                rows = theirs.rows(query, candidates)
                scores = theirs.ranker_for(query).score(query, candidates, rows)
            sides = (ours, self._side(query, theirs, candidates, rows, scores))
            return shared_exposure(query, name, sides, asked.model.versions, self._explainer, self._rng(query.request_id))
        except Exception as error:  # what is tried must not cost the listener the answer
            self._count("rival_failed", type(error).__name__)
            return None

    def _side(self, query: Query, model: Model, candidates: Candidates, rows: Float32, scores: Float32) -> Side:
        reranker = model.reranker or self._stages.reranker
        if not isinstance(reranker, Drafts):
            raise TypeError(f"the reranker {reranker.name!r} cannot share a slate")
        turns = reranker.drafting(query, candidates, scores)
        return Side(candidates, rows, model.feature_names, scores, turns, model.sources)

    def _narrowed(self, query: Query, candidates: Candidates) -> Candidates:
        """What may be recommended and is about what was asked for, and enough of it."""
        candidates = self._filtered(query, candidates)
        if query.seeds:
            candidates = on_topic(query, candidates, self._catalogue.facts)
        return self._filled_up(query, candidates) if len(candidates) < query.limit else candidates

    def _filled_up(self, query: Query, candidates: Candidates) -> Candidates:
        """Few are left: what is popular joins them, as deep as it takes, so that the slate gets its length."""
        wide = self._state.popular(query.context.region, query.context.age_band, query.context.hour_of_week, 20 * query.limit)
        more = self._filtered(query, union(["popular"], [wide]))
        if len(more) < query.limit:
            rest = anything(self._catalogue.facts, query, 500, without=wide.items)
            more = self._filtered(query, union(["popular", UNPLAYED], [wide, rest]))
        more = more.keep(~np.isin(more.items, candidates.items))
        sources = (*candidates.sources, *(name for name in more.sources if name not in candidates.sources))
        evidence = np.full((len(candidates) + len(more), len(sources)), np.nan, np.float32)
        evidence[: len(candidates), : candidates.evidence.shape[1]] = candidates.evidence
        for name, told in zip(more.sources, more.evidence.T, strict=True):
            # below everything that this source itself offered for this query: it is the last resort
            column, order = evidence[:, sources.index(name)], np.lexsort((more.items, -told))
            order = order[: len(told) - int(np.isnan(told).sum())]  # NaN comes last
            column[len(candidates) + order] = np.nanmin(column, initial=0.0) - 1.0 - np.arange(len(order), dtype=np.float32)
        items = np.concatenate((candidates.items, more.items))
        order = np.argsort(items, kind="stable")
        return Candidates(items[order], evidence[order], sources)

    def _cached(self, asked: Asked) -> Exposure | None:
        with self._last_lock:
            kept = self._last.get(asked.query.user)
        return self._simple(asked, "cached", Scored(*kept)) if kept else None

    def _regional(self, asked: Asked) -> Exposure | None:
        context = asked.query.context
        if context.region == MISSING:
            return None
        popular = self._state.popular(context.region, context.age_band, context.hour_of_week, 500)
        return self._simple(asked, "regional", popular)

    def _global(self, asked: Asked) -> Exposure | None:
        answer = self._state.popular(MISSING, MISSING, asked.query.context.hour_of_week, 500)
        return self._simple(asked, "global", answer) or self._simple(
            asked, "global", anything(self._catalogue.facts, asked.query, 500), UNPLAYED
        )

    def _simple(self, asked: Asked, rung: str, answer: Scored, said: str = "") -> Exposure | None:
        """A slate from one list: no features and no ranker that could fail again."""
        candidates = self._filtered(asked.query, union([said or rung], [answer]))
        if not len(candidates):
            return None
        return self._exposure(asked.query, asked.model, candidates, rung, candidates.evidence[:, 0])

    def _filtered(self, query: Query, candidates: Candidates) -> Candidates:
        for rule in self._stages.filters:
            if not len(candidates):
                break
            candidates = _kept(candidates, rule(query, candidates))
        return candidates

    def _exposure(
        self,
        query: Query,
        model: Model,
        candidates: Candidates,
        rung: str,
        scores: Float32 | None = None,
        rows: Float32 | None = None,
    ) -> Exposure:
        scores = np.zeros(len(candidates), np.float32) if scores is None else scores
        picks, propensities, explored = (model.reranker or self._stages.reranker).select(
            query, candidates, scores, self._rng(query.request_id)
        )
        offered = loudest(candidates, picks)
        items = candidates.items[picks]
        slate = Slate(
            request_id=query.request_id,
            items=items,
            scores=scores[picks],
            propensities=propensities,
            sources=tuple(offered),
            reasons=self._explainer.reasons(query, items, offered, model.sources),
            explored=explored,
            policy=model.policy,
            model_versions=model.versions,
            rung=rung_of(query, offered) if rung == "personal" else rung,
        )
        features = rows[picks] if rows is not None else np.zeros((len(items), 0), np.float32)
        names = model.feature_names if rows is not None else ()
        return Exposure(slate, query.user, query.now, query.session, query.surface, query.context.region, features, names)

    def _rng(self, request_id: int) -> np.random.Generator:
        digest = blake2b(request_id.to_bytes(8, "little"), key=self._key, digest_size=16).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))

    def _remember(self, user: int, items: NDArray[np.int32], scores: Float32) -> None:
        if user == MISSING:
            return
        with self._last_lock:
            self._last[user] = (items, scores)
            self._last.move_to_end(user)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)


def _kept(candidates: Candidates, mask: Bool) -> Candidates:
    """Candidates.keep, without a copy where a rule removes nothing: most do."""
    return candidates if mask.all() else candidates.keep(mask)
