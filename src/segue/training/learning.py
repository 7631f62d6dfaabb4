"""What a ranker learns from: moments of the held-out days replayed, with the sources of the cut, and what became of them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from segue.core.evidence import union
from segue.core.stages import Ranker
from segue.core.types import MISSING, Arrays, Bool, Candidates, Float32, History, Int32, Items, Query, Sparse
from segue.evaluation.calibration import Calibration, calibration
from segue.features.compute import Features, Memory, proven
from segue.features.wide import Around
from segue.training.dataset import mapped
from segue.training.hours import ByHour
from segue.training.kernels import fresh_shares
from segue.training.measure import Answers, allowed
from segue.training.replay import Tasks

AHEAD = 10
"""Rows after a moment that count as its outcome, within its session."""
HISTORY = 20
"""Songs wanted last whose ids go along with an example."""
WEAK = 50
"""Candidates nobody played that a query adds as weak negatives."""
HALF_LIFE_S = 14 * 86_400.0
"""Decay of play counts, as the online state's by default."""
SHARE_PRIOR = 10.0
_CHUNK = 1 << 22


Columns = Callable[[Sequence[str]], Sequence[str]]
"""Which columns rankers learn from, by the names of the sources."""


class LearnedRanker(Ranker, Protocol):
    """A ranker that the night fits on rows."""

    def fit_rows(self, rows: Float32, listened: Bool, weights: Float32, played: Bool) -> Self:
        """Learn from examples; see ranking.logistic for the shapes."""
        ...

    def arrays(self) -> Arrays:
        """What was learned."""
        ...


@dataclass(frozen=True)
class Popular:
    """What the night knows of songs instead of the live counts: (n_items, 2) expected share heard, log(1 + decayed plays)."""

    table: Float32

    @staticmethod
    def of(history: History) -> Popular:
        """From everything before the end of the history; the world as one region. One listener's plays saturate, as by day."""
        n = history.n_items
        plays, heard, seen = np.zeros(n), np.zeros(n), np.zeros(n)
        start = 0
        while start < len(history):
            stop = start + int(
                np.searchsorted(history.user[start:], history.user[min(start + _CHUNK, len(history)) - 1], "right")
            )
            rows = slice(start, stop)  # whole listeners
            item, start = history.item[rows], stop
            fresh = fresh_shares(history.user[rows], item, history.at[rows], HALF_LIFE_S)
            age = history.now / 1000 - history.at[rows]
            plays += np.bincount(item, fresh * np.exp2(-age / HALF_LIFE_S), n)
            heard += np.bincount(item, fresh * (history.signal[rows] + 1.0) / 2, n)
            seen += np.bincount(item, fresh, n)
        mean = heard.sum() / max(seen.sum(), 1.0)
        share = (heard + SHARE_PRIOR * mean) / (seen + SHARE_PRIOR)
        return Popular(np.column_stack((share, np.log1p(plays))).astype(np.float32))


class Past:
    """Rows for replayed queries: what the state would have remembered at that moment, out of the parked history.

    The history counts votes as plays and begins where the window does; otherwise this is what the day computes, by the
    same function.
    """

    def __init__(
        self,
        folder: Path,
        facts: Items,
        popular: Popular,
        sources: Sequence[str],
        *,
        chosen: Columns = proven,
        around: Around | None = None,
        hours: ByHour | None = None,
    ) -> None:
        columns = mapped(folder)
        self.user, self.item, self.at = columns["user"], columns["item"], columns["at"]
        self.session, self.signal = columns["session"], columns["signal"]
        self.facts = facts
        self.popular = popular
        self._chosen, self._around, self._hours = chosen, around, hours
        self.features = Features(sources, only=chosen(sources), around=around)

    def with_sources(self, sources: Sequence[str]) -> Past:
        """The same past for a ranker that knows other sources."""
        return self.seen_by(Features(sources, only=self._chosen(sources), around=self._around))

    def seen_by(self, features: Features) -> Past:
        """The same past in the columns of a ranker that learned from others."""
        other = copy.copy(self)
        other.features = features
        return other

    def rows(self, query: Query, candidates: Candidates) -> Float32:
        """The features of candidates for a query of replay.query_before."""
        return self.features.rows(query, candidates, self.facts, self.memory(query, candidates.items))

    def memory(self, query: Query, items: Int32) -> Memory:
        """How often and when the listener had played the items (ascending) before the row of the query."""
        # np.int32, here and below: a Python int would make searchsorted copy the whole column as int64
        start, stop = int(np.searchsorted(self.user, np.int32(query.user))), query.request_id - 1
        times = np.zeros(len(items), np.uint16)
        last = np.zeros(len(items), np.int64)
        if len(items) and stop > start:
            rows = self.item[start:stop]
            place = np.minimum(np.searchsorted(items, rows), len(items) - 1)
            mine = items[place] == rows
            counts = np.bincount(place[mine], minlength=len(items))
            times = np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)
            np.maximum.at(last, place[mine], self.at[start:stop][mine].astype(np.int64) * 1000)
        hours = self._hours.of_moment(items, query.now) if self._hours is not None and self.features.hourly else None
        return Memory(times, last, self.popular.table[items], hours)

    def outcome(self, query: Query) -> tuple[Int32, NDArray[np.int8]]:
        """What became of a query: items played after it, ascending, and the sign of what was thought of each.

        Of a moment (it has a session), the next AHEAD rows of its session; of a day, all that the listener did after it.
        """
        row = query.request_id - 1
        stop = row + int(np.searchsorted(self.user[row:], np.int32(query.user), side="right"))
        if query.session:
            stop = min(stop, row + AHEAD)
            stop = row + int(np.searchsorted(self.session[row:stop], np.int32(query.session - 1), side="right"))
        items, place = np.unique(self.item[row:stop], return_inverse=True)
        net = np.bincount(place, self.signal[row:stop].astype(np.float64), len(items))
        return items.astype(np.int32), np.sign(net).astype(np.int8)


@dataclass(frozen=True)
class Examples:
    """What a ranker is fitted on: m candidates of replayed queries."""

    rows: Float32  # (m, F)
    listened: Bool
    weights: Float32
    played: Bool
    sparse: Sparse | None = None  # the ids behind the rows

    def teach(self, ranker: LearnedRanker) -> None:
        """Fit a ranker; one that learns vectors of ids is given them."""
        given = (self.rows, self.listened, self.weights, self.played)
        if self.sparse is not None and "sparse" in inspect.signature(ranker.fit_rows).parameters:
            fit: Any = ranker.fit_rows
            fit(*given, self.sparse)
        else:
            ranker.fit_rows(*given)

    def describe(self) -> dict[str, object]:
        """How many there are."""
        return {
            "examples": len(self.listened),
            "listened": int(self.listened.sum()),
            "played": int(self.played.sum()),
        }


def examples(past: Past, answers: Mapping[str, Answers], tasks: Tasks, rng: np.random.Generator) -> Examples:
    """Every candidate that was played after its query, and WEAK others of each query as weak negatives.

    Only candidates count: a song that no source offered cannot be ranked, and to learn from it would teach the ranker
    that silence of all sources is a good sign. Every example weighs 1.
    """
    rows, listened, played, ids = [], [], [], []
    names = list(answers)
    for place, query in enumerate(tasks.queries):
        pool = union(names, [answers[name][place] for name in names])
        pool = pool.keep(allowed(query, pool.items, past.facts.playable))
        items, signal = past.outcome(query)
        mine = np.isin(pool.items, items)
        if not mine.any():
            continue
        others = np.flatnonzero(~mine)
        chosen = np.concatenate((np.flatnonzero(mine), rng.permutation(others)[:WEAK]))
        thought = signal[np.minimum(np.searchsorted(items, pool.items[chosen]), len(items) - 1)]
        rows.append(past.rows(query, pool)[chosen])
        listened.append(mine[chosen] & (thought > 0))
        played.append(mine[chosen] & (thought != 0))
        ids.append(_ids(query, pool.items[chosen]))
    if not rows:
        width = len(past.features.names)
        none = np.zeros(0, np.bool_)
        return Examples(np.zeros((0, width), np.float32), none, np.zeros(0, np.float32), none)
    table = np.concatenate(rows)
    sparse = Sparse(*(np.concatenate([getattr(one, name) for one in ids]) for name in ("user", "item", "history", "terms")))
    return Examples(table, np.concatenate(listened), np.ones(len(table), np.float32), np.concatenate(played), sparse)


def _ids(query: Query, items: Int32) -> Sparse:
    """The ids behind the candidates of a query: the songs wanted last, and the tags asked for."""
    n = len(items)
    history, terms = np.full(HISTORY, MISSING, np.int32), np.full(1, MISSING, np.int32)
    wanted = query.recent.items[query.recent.signal > 0][:HISTORY]
    history[: len(wanted)] = wanted
    return Sparse(np.full(n, query.user, np.int32), items, np.tile(history, (n, 1)), np.tile(terms, (n, 1)))


def learnable(got: Examples, least: int) -> bool:
    """Whether there are `least` of those listened to and of the others, skips among them."""
    heard = int(got.listened.sum())
    return heard >= least and len(got.listened) - heard >= least and bool((got.played & ~got.listened).any())


def judge_calibration(past: Past, answers: Mapping[str, Answers], tasks: Tasks, ranker: Ranker) -> Calibration:
    """How the ranker's probabilities fare on candidates that listeners of `tasks` went on to play."""
    p, truth = [], []
    names = list(answers)
    for place, query in enumerate(tasks.queries):
        pool = union(names, [answers[name][place] for name in names])
        pool = pool.keep(allowed(query, pool.items, past.facts.playable))
        items, signal = past.outcome(query)
        mine = np.isin(pool.items, items[signal != 0])
        if mine.any():
            p.append(ranker.score(query, pool, past.rows(query, pool))[mine])
            truth.append(signal[np.searchsorted(items, pool.items[mine])] > 0)
    return calibration(np.concatenate(p) if p else np.zeros(0), np.concatenate(truth) if truth else np.zeros(0, np.bool_))


def explain(ranker: Any, names: Sequence[str]) -> dict[str, float]:
    """The standardized coefficients of a linear ranker by feature, the largest first; empty for one that has none."""
    coef = getattr(ranker, "coef_", None)
    if coef is None or len(coef) < len(names):
        return {}
    order = np.argsort(-np.abs(coef[: len(names)]), kind="stable")
    return {names[i]: round(float(coef[i]), 4) for i in order}
