"""A stored model judged on what listeners did after it was trained: days that it cannot have seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segue.core.clock import iso
from segue.core.errors import NotReady
from segue.core.ports import ArtifactStore, Catalogue, EventLog
from segue.core.types import History
from segue.training.contest import figures
from segue.training.dataset import build_history, mapped, park, split_by_time
from segue.training.exam import Exam, judge_radio, plan
from segue.training.hours import ByHour
from segue.training.learning import Past, Popular
from segue.training.measure import Answers, Judged, ask
from segue.training.nightly import workspace
from segue.training.quality import describe, enrich, gather
from segue.training.recipe import Night, Recipe, Settings
from segue.training.registry import Bundle, Registry, features_of, ranker_of
from segue.training.report import Judgement, Meter, Progress, Quiet
from segue.training.trial import MOST_PLAYED, RADIO, alone_and_baselines, stand_in


def judge_since(
    log: EventLog,
    catalogue: Catalogue,
    store: ArtifactStore,
    recipe: Recipe,
    version: str,
    settings: Settings | None = None,
    *,
    now: int,
    progress: Progress | None = None,
) -> Judgement:
    """Put to the bundle `version`, as it is, what the events from the end of its training to `now` (ms) ask.

    The same questions and metrics as the night's: the whole time since as one day, and single moments in it, of a seeded
    sample of listeners; beside the most played songs of its training and random ones. By day since training, as far as
    there are days. What listeners did before a moment is known to the query, whatever the age of the model. Costs the memory
    of a night's first phase. NotReady when nobody has listened since; NotFound or Corrupt from the store.
    """
    settings = settings or Settings()
    registry = Registry(store)
    bundle = registry.open(version)
    trained_to = int(bundle.manifest["data"]["to_ms"])
    with workspace(settings.workspace) as folder:
        meter = Meter(progress or Quiet())
        plain = replace(recipe, learned=None, elective=frozenset(), dispensable=frozenset())
        night = Night(plain, settings, meter, catalogue.facts, len(catalogue.users), folder, registry)
        with meter.phase("dataset"):
            history = _history(night, log, bundle, now)
            before, held = split_by_time(history, trained_to)
            exam = plan(night, history, held, trained_to)
            if len(exam.days) == 0:
                raise NotReady(
                    f"model {version} was trained on what came before {iso(trained_to)}, and nobody it could know "
                    f"has finished, liked or saved anything from then to {iso(now)}"
                )
            park(history, night.history)
            del history
        answers = _ask(night, bundle, before, exam)
        with meter.phase("evaluation"):
            judged = {RADIO: _radio(night, bundle, recipe, before, exam, answers)}
            judged |= alone_and_baselines(night, before, exam, answers)
            facts = gather(night, before, held, exam, trained_to)
            judged = {name: enrich(one, facts, night.facts) for name, one in judged.items()}
            quality = describe(judged, (RADIO, MOST_PLAYED), facts, night.facts, settings.seed)
    data = {"trained_to_ms": trained_to, "to_ms": now, "held_rows": len(held), "test_users": len(exam.days)}
    values = {name: one.values for name, one in judged.items()}
    return Judgement(version, data, figures(values, settings.seed), quality, night.notes)


def _history(night: Night, log: EventLog, bundle: Bundle, now: int) -> History:
    """What the bundle learned from, and everything since."""
    data = bundle.manifest["data"]
    history = build_history(
        log,
        night.facts,
        now=now,
        window_ms=max(now - int(data["from_ms"]), 1),
        n_users=night.n_users,
        n_items=len(night.facts),
    )
    if not np.any(history.signal > 0):
        raise NotReady(f"nothing was finished, liked or saved from {iso(int(data['from_ms']))} to {iso(now)}")
    return history


def _ask(night: Night, bundle: Bundle, before: History, exam: Exam) -> dict[str, Answers]:
    """Every source of the bundle that the recipe still knows, asked everything; live ones are stood in for."""
    answers: dict[str, Answers] = {}
    for name, factory in night.recipe.sources.items():
        if name not in bundle.arrays:
            continue
        if name in night.recipe.live:
            answers[name] = stand_in(before, len(exam.queries), night.settings.per_source)
            continue
        with night.meter.phase(f"{name}: questions"):
            source = bundle.revive(name, factory)
            answers[name] = ask(source, exam.queries, night.settings.per_source, night.meter.progress.advance)
            del source
    gone = sorted(set(bundle.manifest["sources"]) - set(answers))
    if gone:
        night.notes.append(f"judged without {', '.join(gone)}: not in the recipe any more")
    return answers


def _radio(night: Night, bundle: Bundle, recipe: Recipe, before: History, exam: Exam, answers: dict[str, Answers]) -> Judged:
    """The union of the sources as the bundle's own ranker orders it."""
    known = recipe.rankers()
    features = features_of(bundle, night.recipe.holidays)
    hours = ByHour.of(mapped(night.history), before.now) if features.hourly else None
    past = Past(night.history, night.facts, Popular.of(before), bundle.manifest["sources"], hours=hours)
    return judge_radio(night, exam, answers, ranker_of(bundle, known), past.seen_by(features).rows)
