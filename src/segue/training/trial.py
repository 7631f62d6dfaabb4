"""The trial: every source fitted on what lies before a cut, and asked about what came after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segue.core.stages import Ranker
from segue.core.types import Arrays, History, Query, Scored
from segue.training.contest import choose_cut, compare, opponent_kind
from segue.training.dataset import Held, split_by_time, unpark
from segue.training.measure import Answers, MostPlayed, Values, alone, ask, at_random, judge, rank_all
from segue.training.recipe import Night
from segue.training.registry import Bundle, Factory, hyperparameters
from segue.training.replay import Tasks, days_ahead, eligible, next_play
from segue.training.report import Comparison

RADIO, MOST_PLAYED, RANDOM, THEIRS = "radio", "most played", "random", "champion"


@dataclass(frozen=True)
class Trial:
    """How it went on the cut."""

    counts: dict[str, int]  # cut_ms, held_rows, test_users
    opponent: str
    ranker: str
    ranker_reason: str
    values: dict[str, Values] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    learned: Arrays | None = None  # what a ranker of the night learned, None for one that learns nothing


@dataclass(frozen=True)
class _Exam:
    """What is asked: the days after the cut as a whole, and single moments in them."""

    cut: int
    days: Tasks
    moments: Tasks

    @property
    def queries(self) -> list[Query]:
        """All queries, days first."""
        return [*self.days.queries, *self.moments.queries]


def run_trial(night: Night, now: int) -> Trial:
    """Fit on the cut, measure, and compare with the champion where there is one; the whole history is freed for it."""
    champion = night.champion
    trained_to = None if champion is None else int(champion.manifest["data"]["to_ms"])
    settings, ranker = night.settings, night.recipe.ranker()
    with night.meter.phase("cut"):
        history = unpark(night.history, night.facts, n_users=night.n_users, now=now)
        cut = choose_cut(history, test_ms=settings.test_ms, trained_to=trained_to, least_users=settings.least_users)
        before, held = split_by_time(history, cut)
        exam = _examine(night, history, held, cut)
        del history
    counts = {"cut_ms": cut, "held_rows": len(held), "test_users": len(exam.days)}
    said = "the only ranker of the recipe"
    if len(exam.days) == 0:
        night.notes.append("not evaluated: no listener has plays both before and after the cut")
        return Trial(counts, "none" if champion is None else "not measured", ranker.name, said)
    answers = _fit_and_ask(night, before, exam.queries, night.recipe.sources)
    with night.meter.phase("evaluation"):
        values = _figures(night, before, exam, answers, ranker)
    opponent = opponent_kind(champion, cut, ranker.name, night.hyperparameters)
    comparisons: list[Comparison] = []
    if champion is not None and opponent in ("as it is", "refit"):
        values[THEIRS] = _champion_values(night, champion, before, exam, (opponent, answers))
        comparisons = compare(values[RADIO], values[THEIRS], _deciding(settings.k), settings.seed)
    return Trial(counts, opponent, ranker.name, said, values, comparisons)


def _deciding(k: int) -> tuple[str, ...]:
    """The metrics that promotion hangs on: the days as a whole, and the very next song."""
    return (f"ndcg@{k}", f"next hit@{k}")


def _examine(night: Night, history: History, held: Held, cut: int) -> _Exam:
    """Tasks of a seeded sample of users."""
    users = eligible(held, history)
    rng = night.rng("test users")
    if len(users) > night.settings.test_users:
        users = np.sort(rng.choice(users, night.settings.test_users, replace=False))
    limit = night.settings.k
    days = days_ahead(history, held, users, cut, limit)
    return _Exam(cut, days, next_play(history, held, users, limit, rng))


def _fit_and_ask(night: Night, before: History, queries: list[Query], factories: Mapping[str, Factory]) -> dict[str, Answers]:
    """Each source in turn: fitted, asked everything, freed."""
    answers: dict[str, Answers] = {}
    for name, factory in factories.items():
        if name in night.recipe.live:
            answers[name] = _stand_in(before, queries, night.settings.per_source)
            night.hyperparameters[name] = hyperparameters(factory())
            continue
        with night.meter.phase(f"{name}: fit on the cut"):
            source = factory().fit(before, night.rng(name))
            night.hyperparameters.setdefault(name, hyperparameters(source))
        with night.meter.phase(f"{name}: questions"):
            answers[name] = ask(source, queries, night.settings.per_source, night.meter.progress.advance)
        del source
    return answers


def _stand_in(before: History, queries: list[Query], limit: int) -> Answers:
    """The most played songs before the cut, for a source that answers from the present."""
    one = MostPlayed(before).head(limit)
    items = np.full((len(queries), limit), -1, np.int32)
    scores = np.full((len(queries), limit), np.nan, np.float32)
    items[:, : len(one)] = one.items
    scores[:, : len(one)] = one.scores
    return Answers(items, scores)


def _figures(night: Night, before: History, exam: _Exam, answers: Mapping[str, Answers], ranker: Ranker) -> dict[str, Values]:
    """The radio, each source alone, and the two baselines."""
    playable, k = night.facts.playable, night.settings.k
    days, moments = _parts(answers, exam)
    values = {RADIO: _radio(night, exam, answers, ranker)}
    for name in answers:
        if name not in night.recipe.live:
            values[name] = _both(alone(days[name], exam.days, playable), alone(moments[name], exam.moments, playable), exam, k)
    most = MostPlayed(before)
    lists = [most.answers(tasks, playable, k) for tasks in (exam.days, exam.moments)]
    values[MOST_PLAYED] = _both(lists[0], lists[1], exam, k)
    rng = night.rng(RANDOM)
    lists = [at_random(tasks, playable, k, rng) for tasks in (exam.days, exam.moments)]
    values[RANDOM] = _both(lists[0], lists[1], exam, k)
    return values


def _radio(night: Night, exam: _Exam, answers: Mapping[str, Answers], ranker: Ranker) -> Values:
    """The union of the sources as the ranker orders it."""
    days, moments = _parts(answers, exam)
    playable = night.facts.playable
    return _both(
        rank_all(days, ranker, exam.days, playable),
        rank_all(moments, ranker, exam.moments, playable),
        exam,
        night.settings.k,
    )


def _parts(answers: Mapping[str, Answers], exam: _Exam) -> tuple[dict[str, Answers], dict[str, Answers]]:
    """The answers about the days, and those about the moments."""
    n = len(exam.days)
    days = {name: Answers(a.items[:n], a.scores[:n]) for name, a in answers.items()}
    return days, {name: Answers(a.items[n:], a.scores[n:]) for name, a in answers.items()}


def _both(days: list[Scored], moments: list[Scored], exam: _Exam, k: int) -> Values:
    """All metrics of a model, one value a test user each; NaN where a user has no moment."""
    values = judge(days, exam.days, k)
    users = np.array([query.user for query in exam.days.queries])
    at = np.searchsorted(users, [query.user for query in exam.moments.queries])
    for metric, found in judge(moments, exam.moments, k).items():
        if metric.startswith(("hit", "mrr")):
            column = np.full(len(users), np.nan)
            column[at] = found
            values[f"next {metric}"] = column
    return values


def _champion_values(
    night: Night, champion: Bundle, before: History, exam: _Exam, known: tuple[str, Mapping[str, Answers]]
) -> Values:
    """The champion on the same questions: as it is, or its hyperparameters fitted on the cut."""
    opponent, ours = known
    answers: dict[str, Answers] = {}
    for name, factory in night.recipe.sources.items():
        if name not in champion.arrays:
            continue
        theirs: dict[str, Any] = champion.manifest["hyperparameters"].get(name, {})
        if name in night.recipe.live or (opponent == "refit" and theirs == night.hyperparameters[name]):
            answers[name] = ours[name]
            continue
        with night.meter.phase(f"champion's {name}"):
            if opponent == "refit":
                source = factory(**theirs).fit(before, night.rng(name))
            else:
                source = champion.revive(name, factory)
            answers[name] = ask(source, exam.queries, night.settings.per_source, night.meter.progress.advance)
            del source
    gone = sorted(set(champion.manifest["hyperparameters"]) - set(answers))
    if gone:
        night.notes.append(f"measured the champion without {', '.join(gone)}: the recipe does not know them any more")
    return _radio(night, exam, answers, night.recipe.ranker())
