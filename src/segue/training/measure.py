"""What models are worth on the held-out days: answers kept compactly, lists judged, values per user beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.core.evidence import best, union
from segue.core.stages import CandidateSource, Ranker
from segue.core.types import Bool, Candidates, Float32, History, Int32, Query, Scored
from segue.evaluation.ranking import at_cutoffs
from segue.training.replay import Tasks

Values = dict[str, NDArray[np.float64]]
"""Metric -> one value a test user, in the order of the tasks."""
Rows = Callable[[Query, Candidates], Float32]
"""The features of candidates, (n, F) float32."""


@dataclass(frozen=True)
class Answers:
    """What one source said to m queries: items (m, limit) int32, padded with -1, and their scores, padded with NaN."""

    items: Int32
    scores: Float32

    def __getitem__(self, task: int) -> Scored:
        """The answer to one query."""
        n = int((self.items[task] >= 0).sum())
        return Scored(self.items[task, :n], self.scores[task, :n])


def ask(source: CandidateSource, queries: Sequence[Query], limit: int, advance: Callable[[int, int], None]) -> Answers:
    """Put every query to a source, so that the source itself can be freed afterwards."""
    items = np.full((len(queries), limit), -1, np.int32)
    scores = np.full((len(queries), limit), np.nan, np.float32)
    for row, query in enumerate(queries):
        answer = source.retrieve(query, limit)
        items[row, : len(answer)] = answer.items
        scores[row, : len(answer)] = answer.scores
        if row % 100 == 0:
            advance(row, len(queries))
    return Answers(items, scores)


def no_rows(query: Query, candidates: Candidates) -> Float32:
    """For rankers that look at the evidence only."""
    return np.zeros((len(candidates), 0), np.float32)


def allowed(query: Query, items: Int32, playable: Bool) -> Bool:
    """What filtering would let through whatever the settings: playable, and not yet heard in this session."""
    here = query.recent.items[query.recent.in_session]
    return np.asarray(playable[items] & ~np.isin(items, here))


def rank_all(
    answers: Mapping[str, Answers], ranker: Ranker, tasks: Tasks, playable: Bool, rows: Rows = no_rows
) -> list[Scored]:
    """The radio's list for every query: the union of the sources, filtered, as the ranker orders it."""
    names = list(answers)
    ranked = []
    for place, query in enumerate(tasks.queries):
        pool = union(names, [answers[name][place] for name in names])
        pool = pool.keep(allowed(query, pool.items, playable))
        ranked.append(best(pool.items, ranker.score(query, pool, rows(query, pool)), len(pool)))
    return ranked


def alone(answers: Answers, tasks: Tasks, playable: Bool) -> list[Scored]:
    """A source's own list for every query, filtered as the radio's."""
    lists = []
    for place, query in enumerate(tasks.queries):
        answer = answers[place]
        mask = allowed(query, answer.items, playable)
        lists.append(Scored(answer.items[mask], answer.scores[mask]))
    return lists


@dataclass(frozen=True)
class Judged:
    """What a model was worth, and the heads of the lists that it is said of."""

    values: Values
    days: Int32  # (users, k), -1 = an empty place
    moments: Int32  # (moments, k)


def heads(lists: Sequence[Scored], k: int) -> Int32:
    """The first k items of every list, (m, k), -1 where a list is shorter."""
    top = np.full((len(lists), k), -1, np.int32)
    for row, one in enumerate(lists):
        top[row, : len(one)] = one.items[:k]
    return top


def judge(top: Int32, tasks: Tasks, cutoffs: Sequence[int]) -> Values:
    """Every metric of evaluation.ranking at every cutoff, of every list."""
    return at_cutoffs(top, tasks.ptr, tasks.relevant, cutoffs)


class MostPlayed:
    """The baseline that everybody must beat: the same list for all, by how many rows wanted an item; ties by item id."""

    def __init__(self, history: History) -> None:
        counts = np.bincount(history.item[history.signal > 0], minlength=history.n_items)
        counts[~history.facts.playable] = 0
        order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
        self._ranked = Scored(order.astype(np.int32), counts[order].astype(np.float32))

    def head(self, limit: int) -> Scored:
        """The first `limit`, whoever asks."""
        return Scored(self._ranked.items[:limit], self._ranked.scores[:limit])

    def answers(self, tasks: Tasks, playable: Bool, k: int) -> list[Scored]:
        """The first k that each query may hear."""
        lists = []
        for query in tasks.queries:
            head = self._ranked.items[: k + len(query.recent)]
            mask = allowed(query, head, playable)
            lists.append(Scored(head[mask][:k], self._ranked.scores[: len(head)][mask][:k]))
        return lists


def at_random(tasks: Tasks, playable: Bool, k: int, rng: np.random.Generator) -> list[Scored]:
    """The floor: k playable items drawn for each query."""
    choice = np.flatnonzero(playable).astype(np.int32)
    lists = []
    for query in tasks.queries:
        drawn = np.unique(rng.choice(choice, 2 * k + len(query.recent))) if len(choice) else choice
        drawn = rng.permutation(drawn[allowed(query, drawn, playable)])[:k]
        lists.append(Scored(drawn, np.zeros(len(drawn), np.float32)))
    return lists
