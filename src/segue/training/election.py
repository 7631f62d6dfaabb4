"""Which sources earn their place: the radio with and without each, judged on listeners of the lessons before the exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segue.core.evidence import best, union
from segue.core.types import Bool, Candidates, Float32, Int64, Scored
from segue.training.exam import Exam
from segue.training.learning import WEAK, Past
from segue.training.measure import Answers, allowed, heads, judge
from segue.training.recipe import Night
from segue.training.replay import Tasks

ELECTORS = 400
"""Listeners of the lessons that are asked, at most: half of them teach the ranker that the other half judges, and back."""
LEAST_GAIN = 0.005
"""A source must make the radio so much better, relatively: asking it costs every request of the coming day."""
SURE = 1.64
"""And so many standard errors: one draw of listeners in twenty would elect a source that carries nothing."""


@dataclass(frozen=True)
class Election:
    """What was decided: the names in the recipe's order, and how much better the radio is with a source, by its name."""

    kept: list[str]
    gains: dict[str, tuple[float, float]] = field(default_factory=dict)  # relative gain, its standard error

    def told(self) -> str:
        """One line for the report."""
        if not self.gains:
            return "too few listeners to tell what a source carries: those that are not proven stay out"
        parts = [
            f"{name} {'kept' if name in self.kept else 'left out'} ({gain:+.1%}, standard error {error:.1%})"
            for name, (gain, error) in self.gains.items()
        ]
        return f"what the radio gains by a source: {'; '.join(parts)}"


def elect(night: Night, exam: Exam, answers: Mapping[str, Answers], past: Past) -> Election:
    """Which sources serve: a `dispensable` one leaves unless the radio is better with it, an `elective` one enters if it is.

    One after the other in the recipe's order, each judged with those that stand by then. Better is the mean of the relative
    gains in NDCG on the days and in hits on the next song, by LEAST_GAIN; to enter, by SURE standard errors as well. Every step
    trains the recipe's first learned ranker twice. Without one, or with fewer listeners than a test needs, nothing can be
    shown: who is there stays, and who is not stays out.
    """
    recipe = night.recipe
    kept = [name for name in answers if name not in recipe.elective]
    asked = [name for name in answers if name in recipe.elective | recipe.dispensable]
    tasks = _electors(exam.lessons, night.rng("electors"))
    if not asked or not recipe.learners or len({q.user for q in tasks.queries}) < night.settings.least_users:
        return Election(kept)
    ballot = _Ballot(night, exam, answers, past)
    reached = ballot.values(kept)
    gains = {}
    for name in sorted(asked, key=lambda name: name in recipe.elective):  # first who leaves, then who enters
        if not (answers[name].items[:, 0] >= 0).any():
            gains[name] = (0.0, 0.0)  # a silent one carries nothing
            kept = [other for other in kept if other != name]
        elif name in recipe.elective:
            tried = ballot.values([*kept, name])
            gains[name] = _gain(tried, reached)
            if gains[name][0] >= max(LEAST_GAIN, SURE * gains[name][1]):
                kept, reached = [*kept, name], tried
        else:
            others = [other for other in kept if other != name]
            tried = ballot.values(others)
            gains[name] = _gain(reached, tried)
            if gains[name][0] < LEAST_GAIN:
                kept, reached = others, tried
    return Election([name for name in answers if name in kept], gains)


def _electors(lessons: Tasks, rng: np.random.Generator) -> Tasks:
    """The lessons of ELECTORS listeners."""
    chosen = set(rng.permutation(np.unique([query.user for query in lessons.queries]))[:ELECTORS].tolist())
    rows = [row for row, query in enumerate(lessons.queries) if query.user in chosen]
    relevant = [lessons.relevant[lessons.ptr[row] : lessons.ptr[row + 1]] for row in rows]
    return Tasks.of([lessons.queries[row] for row in rows], relevant)


def _gain(ours: tuple[NDArray[np.float64], ...], theirs: tuple[NDArray[np.float64], ...]) -> tuple[float, float]:
    """(mean relative gain over the kinds of task, its standard error)."""
    gains, errors = [], []
    for mine, other in zip(ours, theirs, strict=True):
        if len(mine):
            difference = (mine - other) / max(float(other.mean()), 1e-9)
            gains.append(float(difference.mean()))
            errors.append(float(difference.var()) / len(difference))
    return float(np.mean(gains)), float(np.sqrt(np.sum(errors))) / len(gains)


class _Ballot:
    """The candidates of the electors' tasks with their features by all sources: made once, cut to those that stand."""

    def __init__(self, night: Night, exam: Exam, answers: Mapping[str, Answers], past: Past) -> None:
        self.make, self.k = night.recipe.learners[0], night.settings.k
        self.names, self.columns = list(answers), past.features.names
        lessons, said = exam.lessons, exam.parts(answers)[2]
        chosen = {query.user for query in _electors(lessons, night.rng("electors")).queries}
        places = [row for row, query in enumerate(lessons.queries) if query.user in chosen]
        self.tasks = _electors(lessons, night.rng("electors"))
        users = np.array([query.user for query in self.tasks.queries])
        self.fold = np.searchsorted(np.unique(users), users) % 2
        self.moment = np.array([bool(query.session) for query in self.tasks.queries])
        pools, rows, spoke, heard = [], [], [], []
        for place, query in zip(places, self.tasks.queries, strict=True):
            pool = union(self.names, [said[name][place] for name in self.names])
            pool = pool.keep(allowed(query, pool.items, past.facts.playable))
            items, signal = past.outcome(query)
            at = np.minimum(np.searchsorted(items, pool.items), max(len(items) - 1, 0))
            mine = items[at] == pool.items if len(items) else np.zeros(len(pool), np.bool_)
            pools.append(pool.items)
            rows.append(past.rows(query, pool))
            spoke.append(~np.isnan(pool.evidence))
            heard.append(np.where(mine, signal[at] if len(items) else 0, 2).astype(np.int8))  # 2 = not played
        self.ptr: Int64 = np.concatenate((np.zeros(1, np.int64), np.cumsum([len(pool) for pool in pools])))
        self.items, self.rows = np.concatenate(pools), np.concatenate(rows)
        self.spoke, self.heard = np.concatenate(spoke), np.concatenate(heard)
        self.draw = night.rng("weak").random(len(self.items))

    @cached_property
    def owner(self) -> Int64:
        """The task of each row."""
        return np.repeat(np.arange(len(self.tasks)), np.diff(self.ptr))

    def values(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(NDCG of each task of days, hit of each moment) of the radio of these sources."""
        mine = [self.names.index(name) for name in names]
        stands = np.flatnonzero(self.spoke[:, mine].any(axis=1))
        rows = self._features(stands, names, mine)
        owner = self.owner[stands]
        lists: list[Scored] = [Scored.none()] * len(self.tasks)
        for fold in (0, 1):
            taught = self._taught(owner, stands, self.fold != fold)
            ranker = self.make()
            heard = self.heard[stands[taught]]
            ranker.fit_rows(rows[taught], heard == 1, np.ones(len(taught), np.float32), (heard == 1) | (heard == -1))
            for task in np.flatnonzero(self.fold == fold).tolist():
                a, b = np.searchsorted(owner, (task, task + 1))
                pool = Candidates(self.items[stands[a:b]], np.zeros((b - a, 0), np.float32), ())
                lists[task] = best(pool.items, ranker.score(self.tasks.queries[task], pool, rows[a:b]), self.k)
        found = judge(heads(lists, self.k), self.tasks, (self.k,))
        return found[f"ndcg@{self.k}"][~self.moment], found[f"hit@{self.k}"][self.moment]

    def _features(self, stands: NDArray[np.intp], names: Sequence[str], mine: Sequence[int]) -> Float32:
        """The features that the radio of these sources would have: no columns of others, agreement among themselves."""
        others = tuple(name for name in self.names if name not in names)
        kept = [c for c, column in enumerate(self.columns) if not _of_any(column, others)]
        rows = self.rows[stands][:, kept]
        agreement = [self.columns[c] for c in kept].index("agreement")
        rows[:, agreement] = self.spoke[stands][:, list(mine)].mean(axis=1)
        return rows

    def _taught(self, owner: Int64, stands: NDArray[np.intp], learns: Bool) -> NDArray[np.intp]:
        """Rows that the ranker learns from: of tasks with something played, what was played and WEAK others."""
        played = self.heard[stands] != 2
        some = np.bincount(owner[played], minlength=len(self.tasks)) > 0
        other = np.flatnonzero(~played & (some & learns)[owner])
        order = other[np.lexsort((self.draw[stands[other]], owner[other]))]
        first = np.searchsorted(owner[order], np.arange(len(self.tasks)))
        weak = order[np.arange(len(order)) - first[owner[order]] < WEAK]
        return np.sort(np.concatenate((np.flatnonzero(played & learns[owner]), weak)))


KINDS = ("", "_top", "_score", "_here", "_top_here", "_score_here", "_said")
"""What features.compute adds to the name of a source."""


def _of_any(column: str, sources: tuple[str, ...]) -> bool:
    return any(column == source + kind for source in sources for kind in KINDS)
