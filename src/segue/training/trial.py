"""The trial: every source fitted on what lies before a cut, and asked about what came after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.stages import Ranker
from segue.core.types import History
from segue.features.wide import Around
from segue.training.contest import choose_cut, compare, opponent_kind, plain_json
from segue.training.dataset import mapped, split_by_time, unpark
from segue.training.election import elect
from segue.training.exam import Choice, Exam, choose_ranker, deciding, judge_radio, plan
from segue.training.hours import ByHour
from segue.training.learning import Past, Popular
from segue.training.measure import Answers, Judged, MostPlayed, Values, alone, ask, at_random
from segue.training.quality import describe, enrich, gather
from segue.training.recipe import Night
from segue.training.registry import VECTORS, Bundle, around_of, features_of, for_some, hyperparameters, ranker_of
from segue.training.report import Comparison, Quality

RADIO, MOST_PLAYED, RANDOM, THEIRS = "radio", "most played", "random", "champion"


@dataclass(frozen=True)
class Trial:
    """How it went on the cut."""

    counts: dict[str, int]  # cut_ms, held_rows, test_users
    opponent: str
    choice: Choice
    values: dict[str, Values] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    quality: Quality = field(default_factory=lambda: Quality([], [], []))


def run_trial(night: Night, now: int) -> Trial:
    """Fit on the cut, measure, and compare with the champion where there is one; the whole history is freed for it."""
    champion = night.champion
    trained_to = None if champion is None else int(champion.manifest["data"]["to_ms"])
    settings, plain = night.settings, night.recipe.ranker()
    with night.meter.phase("cut"):
        history = unpark(night.history, night.facts, n_users=night.n_users, now=now)
        cut = choose_cut(history, test_ms=settings.test_ms, trained_to=trained_to, least_users=settings.least_users)
        before, held = split_by_time(history, cut)
        exam = plan(night, history, held, cut)
        del history
    counts = {"cut_ms": cut, "held_rows": len(held), "test_users": len(exam.days)}
    if len(exam.days) == 0:
        night.notes.append("not evaluated: no listener has plays both before and after the cut")
        choice = Choice(plain, "nothing to choose by: not evaluated")
        return Trial(counts, "none" if champion is None else "not measured", choice)
    answers, around = _fit_and_ask(night, before, exam)
    hourly = night.looks_at("hours") or (champion is not None and features_of(champion).hourly)
    hours = ByHour.of(mapped(night.history), cut) if hourly else None
    given: dict[str, Any] = {"chosen": night.recipe.columns, "around": around, "hours": hours}
    past = Past(night.history, night.facts, Popular.of(before), list(answers), **given)
    everyone = answers
    with night.meter.phase("election"):
        answers = _elected(night, exam, answers, past)
        past = past.with_sources(list(answers))
    with night.meter.phase("evaluation"):
        judged = alone_and_baselines(night, before, exam, everyone)
        judged[f"radio by {plain.name}"] = judge_radio(night, exam, answers, plain, past.rows)
    with night.meter.phase("ranker"):
        choice = choose_ranker(night, exam, answers, judged, past)
    judged = {RADIO: judged.pop(f"radio by {choice.ranker.name}")} | judged
    recipe = (choice.ranker.name, list(answers))
    opponent = opponent_kind(champion, cut, recipe, {name: night.hyperparameters.get(name, {}) for name in answers})
    comparisons: list[Comparison] = []
    if champion is not None and opponent in ("as it is", "refit"):
        match = _Match(night, champion, opponent, choice)
        judged[THEIRS] = match.judged(before, exam, everyone, past)
        comparisons = compare(judged[RADIO].values, judged[THEIRS].values, deciding(settings.k), settings.seed)
    with night.meter.phase("quality"):
        facts = gather(night, before, held, exam, cut)
        judged = {name: enrich(one, facts, night.facts) for name, one in judged.items()}
        quality = describe(judged, (RADIO, MOST_PLAYED), facts, night.facts, settings.seed)
    return Trial(counts, opponent, choice, {name: one.values for name, one in judged.items()}, comparisons, quality)


def _fit_and_ask(night: Night, before: History, exam: Exam) -> tuple[dict[str, Answers], Around]:
    """Each source in turn: fitted, asked everything, freed; the vectors of one stay for the features, on disk."""
    answers: dict[str, Answers] = {}
    factors: Mapping[str, NDArray[Any]] = {}
    for name, factory in night.recipe.sources.items():
        if name in night.recipe.live:
            answers[name] = stand_in(before, len(exam.queries), night.settings.per_source)
            continue
        with night.meter.phase(f"{name}: fit on the cut"):
            source = night.begun(name, for_some(factory(), exam.users), before.now)
            source = source.fit(before, night.rng(name))
            night.hyperparameters[name] = hyperparameters(source)
        with night.meter.phase(f"{name}: questions"):
            answers[name] = ask(source, exam.queries, night.settings.per_source, night.meter.progress.advance)
        if name == VECTORS:
            factors = _on_disk(source.arrays(), ("users", "items"), night.folder / "cut")
        del source
    audience = night.people.audience(before) if night.looks_at("audience") else {}
    return answers, around_of(factors, audience, night.recipe.holidays)


def _on_disk(arrays: Mapping[str, NDArray[Any]], names: Sequence[str], folder: Path) -> dict[str, NDArray[Any]]:
    """Those of the arrays that are there, memory-mapped from files: they need no memory beside the next source."""
    folder.mkdir(parents=True)
    mapped: dict[str, NDArray[Any]] = {}
    for name in names:
        if name in arrays:
            np.save(folder / f"{name}.npy", arrays[name], allow_pickle=False)
            mapped[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return mapped


def _elected(night: Night, exam: Exam, answers: dict[str, Answers], past: Past) -> dict[str, Answers]:
    """What the sources said that will serve; the night is told which these are."""
    if not (night.recipe.elective | night.recipe.dispensable) & answers.keys():
        return answers
    election = elect(night, exam, answers, past)
    night.elected = election.kept
    night.notes.append(election.told())
    return {name: answers[name] for name in election.kept}


def stand_in(before: History, n: int, limit: int) -> Answers:
    """The most played songs before the cut, n times, for a source that answers from the present."""
    one = MostPlayed(before).head(limit)
    items = np.full((n, limit), -1, np.int32)
    scores = np.full((n, limit), np.nan, np.float32)
    items[:, : len(one)] = one.items
    scores[:, : len(one)] = one.scores
    return Answers(items, scores)


def alone_and_baselines(night: Night, before: History, exam: Exam, answers: Mapping[str, Answers]) -> dict[str, Judged]:
    """Each source by itself, and the two that everybody must beat."""
    playable, k, cutoffs = night.facts.playable, night.settings.k, night.settings.cutoffs
    days, moments, _ = exam.parts(answers)
    judged = {
        name: exam.judge(alone(days[name], exam.days, playable), alone(moments[name], exam.moments, playable), cutoffs)
        for name in answers
        if name not in night.recipe.live
    }
    most, rng = MostPlayed(before), night.rng(RANDOM)
    popular = most.answers(exam.days, playable, k), most.answers(exam.moments, playable, k)
    judged[MOST_PLAYED] = exam.judge(*popular, cutoffs)
    drawn = at_random(exam.days, playable, k, rng), at_random(exam.moments, playable, k, rng)
    judged[RANDOM] = exam.judge(*drawn, cutoffs)
    return judged


@dataclass(frozen=True)
class _Match:
    """The champion on the same questions: as it is, or its hyperparameters fitted on the cut."""

    night: Night
    champion: Bundle
    opponent: str
    choice: Choice

    def judged(self, before: History, exam: Exam, ours: Mapping[str, Answers], past: Past) -> Judged:
        """What the champion is worth to the same users."""
        answers = self._answers(before, exam, ours)
        gone = sorted(set(self.champion.manifest["sources"]) - set(answers))
        if gone:
            self.night.notes.append(f"measured the champion without {', '.join(gone)}: not in the recipe any more")
        ranker = self._ranker()
        ours_learned = any(ranker is one for one in self.choice.fitted.values())
        theirs = past if ours_learned else past.seen_by(features_of(self.champion, self.night.recipe.holidays))
        return judge_radio(self.night, exam, answers, ranker, theirs.rows)

    def _answers(self, before: History, exam: Exam, ours: Mapping[str, Answers]) -> dict[str, Answers]:
        answers: dict[str, Answers] = {}
        for name, factory in self.night.recipe.sources.items():
            theirs: dict[str, Any] = self.champion.manifest["hyperparameters"].get(name, {})
            if name not in self.champion.arrays:
                continue
            same = self.opponent == "refit" and plain_json(theirs) == plain_json(self.night.hyperparameters.get(name))
            if name in self.night.recipe.live or same:
                answers[name] = ours[name]
                continue
            with self.night.meter.phase(f"champion's {name}"):
                if self.opponent == "refit":
                    source = for_some(factory(**theirs), exam.users).fit(before, self.night.rng(name))
                else:
                    source = self.champion.revive(name, factory)
                advance = self.night.meter.progress.advance
                answers[name] = ask(source, exam.queries, self.night.settings.per_source, advance)
                del source
        return answers

    def _ranker(self) -> Ranker:
        """The champion's own; refitted, ours of the same name, since its own has learned from the days of the test."""
        if self.opponent == "refit" and self.champion.manifest["ranker"] in self.choice.fitted:
            return self.choice.fitted[self.champion.manifest["ranker"]]
        recipe = self.night.recipe
        known = recipe.rankers()
        if self.opponent == "as it is" and self.champion.manifest["ranker"] in known:
            return ranker_of(self.champion, known)
        plain: Ranker = recipe.ranker()
        return plain
