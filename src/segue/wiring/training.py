"""The night of a home: what is trained, how it is tested, and the rehearsal before a model may serve."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue import config
from segue.core.records import AGE_BANDS
from segue.features.compute import proven
from segue.serving.query import RecommendIn
from segue.training import nightly
from segue.training.people import People
from segue.training.registry import BUNDLE, Bundle, ranker_of
from segue.training.report import NightReport, Progress
from segue.training.shown import Judging
from segue.training.window import Window, choose
from segue.wiring.home import Home
from segue.wiring.models import fusion, rankers, revived
from segue.wiring.radio import maker_of, recommender_of
from segue.wiring.sources import factories
from segue.wiring.tables import DISPENSABLE, ELECTIVE, RANKERS, named

REHEARSED = 50
"""Listeners that a finished model must answer before it may serve."""


def night(home: Home, now: int, progress: Progress, *, window: str | None = None, force: bool = False) -> NightReport:
    """Train, evaluate, promote or not. A window that is named is kept; the one of the settings widens when it holds little."""
    training = home.settings.training
    length = config.duration_ms(window or training.window, "window")
    chosen = Window(now, length) if window else choose(home.log, now, length, training.enough)
    settings = nightly.Settings(**questions(home), window_ms=chosen.length_ms, force=force)
    recipe = recipe_of(home, window_days=chosen.length_ms / 86_400_000)
    report = nightly.run_night(home.log, home.catalogue, home.artifacts, recipe, settings, now=chosen.now, progress=progress)
    home.artifacts.prune(BUNDLE, training.keep, spare=home.book().versions())
    return report if chosen.note is None else msgspec.structs.replace(report, notes=[chosen.note, *report.notes])


def recipe_of(home: Home, **more: Any) -> nightly.Recipe:
    """What the night trains."""
    sources = factories(home, live=False, **more)
    given: dict[str, Any] = {
        "groups": groups(home),
        "people": lambda: People(home.catalogue.user_facts, home.utc_offsets),
        "columns": partial(proven, groups=home.settings.features.groups),
        "holidays": home.holidays,
        "rehearse": partial(rehearse, home),
    }
    if home.settings.radio.weights:  # weights that somebody chose are not for the night to overrule
        return nightly.Recipe(sources, fusion(home), **given)
    plain, *learned = (partial(named(RANKERS, name, "ranker")) for name in ("blend", *home.settings.training.rankers))
    return nightly.Recipe(sources, plain, learned, elective=ELECTIVE, dispensable=DISPENSABLE, **given)


def questions(home: Home) -> dict[str, Any]:
    """How models are tested: what nightly.Settings takes for it."""
    training = home.settings.training
    return {
        "test_ms": config.duration_ms(training.holdout, "training.holdout"),
        "test_users": training.test_users,
        "per_source": home.settings.radio.per_source,
        "judging": judging(training),
        "workspace": home.path / "night",
    }


def judging(training: config.Training) -> Judging:
    """How slates as they were shown become examples, by the settings."""
    return Judging(
        back_ms=0 if training.shown == "0" else config.duration_ms(training.shown, "training.shown"),
        within_ms=config.duration_ms(training.outcome, "training.outcome"),
        finished=training.finished,
        skipped=training.skipped,
        negatives=training.negatives,
        by_time=training.weigh_by_time,
        clip=float(training.propensity_clip),
    )


def groups(home: Home) -> dict[str, Callable[[NDArray[np.int32]], list[str]]]:
    """How listeners fall into groups: by region and by age band, "" where that is not known."""

    def of(users: NDArray[np.int32], place: int) -> NDArray[np.int32]:
        return np.array([home.catalogue.user_context(user)[place] for user in users.tolist()], np.int32)

    def regions(users: NDArray[np.int32]) -> list[str]:
        codes = of(users, 0)
        known, where = np.unique(codes[codes >= 0], return_inverse=True)
        names = dict(zip(known.tolist(), home.catalogue.regions.all(known), strict=True)) if len(where) else {}
        return [names.get(code, "") for code in codes.tolist()]

    def bands(users: NDArray[np.int32]) -> list[str]:
        return [AGE_BANDS[band] if band >= 0 else "" for band in of(users, 1).tolist()]

    return {"region": regions, "age band": bands}


def rehearse(home: Home, bundle: Bundle) -> str:
    """Ask a finished model as serving would, for a newcomer and for listeners with a past; what is wrong, "" nothing."""
    made, now = factories(home, live=True), time.time_ns() // 1_000_000
    asked = answered = 0
    recommender = None
    try:
        for name in bundle.arrays.keys() & made.keys():
            bundle.revive(name, made[name])
        model = revived(home, bundle, ranker_of(bundle, rankers()))
        recommender = recommender_of(home)
        maker = maker_of(home)
        some = np.linspace(0, len(home.catalogue.users) - 1, min(len(home.catalogue.users), REHEARSED)).astype(np.int32)
        for user in ("", *home.catalogue.users.all(some)):
            query, _ = maker.make(RecommendIn(user=user, discovery=0.5), now, now)
            exposure = recommender.try_out(query, model)
            asked += len(query.recent) > 0
            answered += len(query.recent) > 0 and exposure is not None and len(exposure.slate.items) > 0
    except Exception as error:  # whatever serving would have met
        return f"{type(error).__name__}: {error}"
    finally:
        if recommender is not None:
            recommender.close()
    return f"none of {asked} listeners with a past gets a song" if asked and not answered else ""
