"""The exam: who is asked what on the held-out days, how answers are judged, and which ranker comes out on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from segue.core.stages import Ranker
from segue.core.types import Arrays, Candidates, History, Int32, Query, Scored
from segue.evaluation.calibration import auc
from segue.evaluation.intervals import paired
from segue.training.dataset import Held
from segue.training.learning import Examples, LearnedRanker, Past, examples, explain, judge_calibration, learnable
from segue.training.measure import Answers, Judged, Rows, Values, heads, judge, rank_all
from segue.training.recipe import Night
from segue.training.registry import Factory
from segue.training.replay import Tasks, days_ahead, eligible, next_play
from segue.training.shown import Lessons, joined, lessons_of, rolling


@dataclass(frozen=True)
class Exam:
    """What is asked: the days after the cut as a whole, single moments in them, and what the ranker learns from."""

    days: Tasks
    moments: Tasks
    lessons: Tasks  # of other users than the first two

    @property
    def queries(self) -> list[Query]:
        """All queries in one order: days, moments, lessons."""
        return [*self.days.queries, *self.moments.queries, *self.lessons.queries]

    @property
    def users(self) -> Int32:
        """Everybody who is asked about, ascending."""
        return np.unique(np.array([query.user for query in self.queries], np.int32))

    def parts(self, answers: Mapping[str, Answers]) -> tuple[dict[str, Answers], dict[str, Answers], dict[str, Answers]]:
        """The answers about the days, the moments and the lessons."""
        a, b = len(self.days), len(self.days) + len(self.moments)
        days, moments, lessons = (
            {name: Answers(one.items[part], one.scores[part]) for name, one in answers.items()}
            for part in (slice(0, a), slice(a, b), slice(b, None))
        )
        return days, moments, lessons

    def judge(self, days: list[Scored], moments: list[Scored], cutoffs: Sequence[int]) -> Judged:
        """All metrics of a model, one value a test user each; NaN where a user has no moment."""
        k = max(cutoffs)
        top, then = heads(days, k), heads(moments, k)
        values = judge(top, self.days, cutoffs)
        for metric, found in judge(then, self.moments, cutoffs).items():
            if metric.startswith(("hit", "mrr")):  # with one relevant item the others say the same again
                values[f"next {metric}"] = self.by_user(found)
        return Judged(values, top, then)

    def by_user(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of the moments, each in the row of its test user; NaN for users without a moment."""
        users = np.array([query.user for query in self.days.queries], np.int32)
        column = np.full(len(users), np.nan)
        column[np.searchsorted(users, [query.user for query in self.moments.queries])] = values
        return column


@dataclass(frozen=True)
class Choice:
    """The ranker of the night and why it is this one."""

    ranker: Ranker
    reason: str
    learned: Arrays | None = None  # what it learned, None for one that learns nothing
    fitted: dict[str, Ranker] = field(default_factory=dict)  # every ranker that learned on the cut, by name
    facts: dict[str, object] = field(default_factory=dict)  # for the manifest: examples, calibration, coefficients


def deciding(k: int) -> tuple[str, ...]:
    """The metrics that promotion hangs on: the days as a whole, and the very next song."""
    return (f"ndcg@{k}", f"next hit@{k}")


def plan(night: Night, history: History, held: Held, cut: int) -> Exam:
    """Tasks of a seeded sample of users; where a ranker is to learn, other users are its lessons."""
    users = night.rng("test users").permutation(eligible(held, history))
    lessons = 0 if not night.recipe.learners else min(night.settings.lesson_users, len(users) // 2)
    wanted = min(night.settings.test_users, len(users) - lessons)
    testing, teaching = np.sort(users[:wanted]), np.sort(users[wanted : wanted + lessons])
    k = night.settings.k
    rng = night.rng("moments")
    days, moments = days_ahead(history, held, testing, cut, k), next_play(history, held, testing, k, rng)
    taught = [days_ahead(history, held, teaching, cut, k), next_play(history, held, teaching, k, rng)]
    lessons_asked = by_user(Tasks.joined(taught))
    return Exam(*(night.people.asking(tasks) for tasks in (days, moments, lessons_asked)))


def by_user(tasks: Tasks) -> Tasks:
    """The tasks of one listener together, so that a ranker which holds back the last of them holds back other listeners."""
    order = np.argsort([query.user for query in tasks.queries], kind="stable").tolist()
    ptr = tasks.ptr.tolist()
    return Tasks.of([tasks.queries[i] for i in order], [tasks.relevant[ptr[i] : ptr[i + 1]] for i in order])


def judge_radio(night: Night, exam: Exam, answers: Mapping[str, Answers], ranker: Ranker, rows: Rows) -> Judged:
    """The union of the sources as a ranker orders it."""
    days, moments, _ = exam.parts(answers)
    playable = night.facts.playable
    return exam.judge(
        rank_all(days, ranker, exam.days, playable, rows),
        rank_all(moments, ranker, exam.moments, playable, rows),
        night.settings.cutoffs,
    )


def choose_ranker(night: Night, exam: Exam, answers: Mapping[str, Answers], judged: dict[str, Judged], past: Past) -> Choice:
    """Fit the learned rankers, if there are any, and let the best of the good enough take over, on users it has not seen.

    Good enough: better than the plain ranker and than every single source in the mean of the relative gains over the
    deciding metrics. (One source may be best at the days and another at the next song: the radio needs both.) The figures of
    all are added to `judged` in any case, and where a single source is ahead of the plain ranker too, the reason says so.
    """
    plain: Ranker = night.recipe.ranker()
    learners = [factory() for factory in night.recipe.learners]
    if not learners:
        return Choice(plain, f"{plain.name} is the only ranker of the recipe")
    got = examples(past, exam.parts(answers)[2], exam.lessons, night.rng("examples"))
    if not learnable(got, night.settings.least_examples):
        names = ", ".join(ranker.name for ranker in learners)
        return Choice(plain, f"{plain.name}: too few plays of offered songs for {names} to learn from")
    shown = shown_lessons(night, exam, past)
    best, reasons, reached = None, [], 0.0
    facts: dict[str, object] = {} if shown is None else {"shown": shown.facts}
    for place, factory in enumerate(night.recipe.learners):
        with night.meter.phase(f"ranker {learners[place].name}"):
            taught = Taught.of(
                factory, got, shown, lambda one: judge_radio(night, exam, answers, one, past.rows), night.settings.k
            )
            learners[place] = ranker = taught.ranker
            judged[f"radio by {ranker.name}"] = taught.judged
            facts[ranker.name] = {
                "taught by": taught.by,
                "calibration": asdict(judge_calibration(past, exam.parts(answers)[1], exam.moments, ranker)),
                "coefficients": explain(ranker, past.features.names),
            }
        values = {name: one.values for name, one in judged.items()}
        good, reason = good_enough(values, (ranker.name, plain.name), list(answers), night.settings.k)
        reasons.append(reason)
        gained = gain(values[f"radio by {ranker.name}"], values[f"radio by {plain.name}"], night.settings.k)
        if good and gained > reached:
            best, reached = ranker, gained
    if best is None:
        ahead = beaten_by({name: one.values for name, one in judged.items()}, plain.name, list(answers), night.settings.k)
        reasons += [f"{plain.name} serves all the same, though {ahead} alone is ahead of it"] if ahead else []
    fitted: dict[str, Ranker] = {ranker.name: ranker for ranker in learners}
    chosen = _chosen(best or plain, best, reasons, facts | got.describe() | {"features": list(past.features.names)})
    return replace(chosen, fitted=fitted)


@dataclass(frozen=True)
class Taught:
    """A ranker, what it is worth, and what taught it."""

    ranker: LearnedRanker
    judged: Judged
    by: str

    @staticmethod
    def of(factory: Factory, got: Examples, shown: Lessons | None, worth: Callable[[Ranker], Judged], k: int) -> Taught:
        """Fitted on what was replayed and, where there are enough slates as they were shown, on both: what is worth more.

        Slates as shown say what was turned away, but only of the few that came first; replayed moments have the many that did
        not. Which weighs more is for the exam to say.
        """
        ranker: LearnedRanker = factory()
        got.teach(ranker)
        first = Taught(ranker, worth(ranker), "replay")
        if shown is None:
            return first
        ranker = factory()
        joined(got, shown.examples).teach(ranker)
        both = Taught(ranker, worth(ranker), "replay and slates as they were shown")
        gained = gain(both.judged.values, first.judged.values, k)
        kept = both if gained > 0 else first
        return replace(kept, by=f"{kept.by} (with slates {gained:+.1%})")


def shown_lessons(night: Night, exam: Exam, past: Past) -> Lessons | None:
    """What slates shown before the exam teach, None where there are too few; their number is in the notes in any case.

    Their facts hold how a first learned ranker fares that knows nothing else: on each week after those that taught it.
    """
    how, names = night.settings.judging, past.features.names
    if night.log is None or how.back_ms == 0:
        return None
    cut = exam.days.queries[0].now
    with night.meter.phase("slates as they were shown"):
        got = lessons_of(night.log, names, how, (cut - how.back_ms, cut), night.rng("slates"))
        if got.facts["slates"]:
            night.notes.append("slates as they were shown: " + ", ".join(f"{n} {what}" for what, n in got.facts.items()))
        if not learnable(got.examples, night.settings.least_examples):
            return None
        one = got.examples
        weeks: list[dict[str, object]] = []
        for train, test in rolling(got.at, how.within_ms):
            if one.listened[train].any() and not one.listened[train].all():
                ranker: LearnedRanker = night.recipe.learners[0]()
                ranker.fit_rows(one.rows[train], one.listened[train], one.weights[train], one.played[train])
                p = ranker.score(exam.days.queries[0], nameless(int(test.sum())), one.rows[test])
                weeks.append({"taught": int(train.sum()), "judged": int(test.sum()), "auc": auc(p, one.listened[test])})
    return replace(got, facts=got.facts | {"rolling": weeks})


def nameless(n: int) -> Candidates:
    """Candidates of whom only the rows matter."""
    return Candidates(np.arange(n, dtype=np.int32), np.zeros((n, 0), np.float32), ())


def _chosen(ranker: Ranker, learned: LearnedRanker | None, reasons: list[str], facts: dict[str, object]) -> Choice:
    """The choice and what was said of each; calibration and coefficients of the one that serves stand in front."""
    told = facts.get(ranker.name)
    front: dict[str, object] = told if isinstance(told, dict) else {}
    own = sorted(reasons, key=lambda reason: not reason.startswith(f"{ranker.name}: "))
    return Choice(ranker, "; ".join(own), learned.arrays() if learned is not None else None, facts=front | facts)


def good_enough(values: Mapping[str, Values], rankers: tuple[str, str], sources: list[str], k: int) -> tuple[bool, str]:
    """(whether the learned ranker, named first, takes over from the plain one, why)."""
    learned, plain = rankers
    ours, theirs = values[f"radio by {learned}"], values[f"radio by {plain}"]
    alone = [name for name in sources if name in values]
    parts = []
    for metric in deciding(k):
        best = max(alone, key=lambda name: mean(values[name][metric]))
        said = f"{metric} {mean(ours[metric]):.4f}, {plain} {mean(theirs[metric]):.4f}"
        parts.append(f"{said}, {best} alone {mean(values[best][metric]):.4f}")
    told = "; ".join(parts)
    if alone:
        rival = min(alone, key=lambda name: (gain(ours, values[name], k), name))
        ahead = gain(ours, values[rival], k)
        if ahead <= 0:
            sure = any(paired(ours[metric], values[rival][metric], np.random.default_rng(0)).high < 0 for metric in deciding(k))
            noise = "beyond noise" if sure else "within noise"
            return False, f"{plain}: {learned} does not beat {rival} alone ({ahead:+.1%}, {noise}; {told})"
    if gain(ours, theirs, k) <= 0:
        return False, f"{plain}: {learned} is not better than it ({told})"
    return True, f"{learned}: {told}"


def beaten_by(values: Mapping[str, Values], ranker: str, sources: list[str], k: int) -> str:
    """The single source that is furthest ahead of a ranker in the mean of the relative gains, "" none."""
    gains = {name: gain(values[f"radio by {ranker}"], values[name], k) for name in sources if name in values}
    worst = min(gains, key=lambda name: (gains[name], name), default="")
    return worst if worst and gains[worst] < 0 else ""


def gain(ours: Values, theirs: Values, k: int) -> float:
    """Mean over the deciding metrics of how much better ours are, relative to theirs."""
    return float(np.mean([mean(ours[metric]) / max(mean(theirs[metric]), 1e-9) - 1 for metric in deciding(k)]))


def mean(values: NDArray[np.float64]) -> float:
    """The mean over users that have a value."""
    return float(np.nanmean(values))
