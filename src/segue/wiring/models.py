"""From a stored bundle to a model that serves: champion, the one before it, or rank fusion over live counts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import SegueError
from segue.core.stages import CandidateSource, Ranker
from segue.core.types import Candidates, Query
from segue.features.compute import Features, remember
from segue.serving.recommender import Model, Recommender
from segue.serving.standby import Standby
from segue.training.registry import CHALLENGER, CHAMPION, PREVIOUS, Bundle, features_of, ranker_of
from segue.wiring.home import Home
from segue.wiring.sources import factories
from segue.wiring.tables import ELECTIVE, NEWCOMERS, RANKERS, UNTRAINED, named

logger = logging.getLogger("segue")


def model_of(home: Home, which: str | None = None) -> Model:
    """The champion, live counts beneath it; before the first night its sources have nothing to say.

    Or another of the registry, by alias or version: NotReady or NotFound where there is none.
    """
    bundle, ranker = _champion(home) if which is None else named_bundle(home, which)
    return revived(home, bundle, ranker)


def revived(home: Home, bundle: Bundle | None, ranker: Ranker) -> Model:
    """A bundle as it serves, with its ranker; without one the sources that may speak before a night."""
    sources = [
        _source(name, factory, bundle)
        for name, factory in factories(home, live=True).items()
        if name in UNTRAINED or (name not in ELECTIVE if bundle is None else name in bundle.arrays)
    ]
    blend = named(RANKERS, "blend", "ranker")
    newcomers: Ranker = blend(here=NEWCOMERS, away=NEWCOMERS)
    if bundle is None:
        return Model(tuple(sources), ranker, newcomers=newcomers)
    features = features_of(bundle, home.holidays)
    return Model(
        tuple(sources),
        ranker,
        newcomers=newcomers,
        versions={"bundle": bundle.version},
        rows=partial(_rows, home, features),
        feature_names=features.names,
    )


def standby_of(home: Home, recommender: Recommender, ready: Callable[[Model], None]) -> Standby:
    """Champion, previous and challenger, loaded; `ready` is called with each before it may serve."""
    registry = home.registry()

    def load(version: str) -> Model:
        try:
            model = model_of(home, version)
        except Exception as error:
            logger.warning("model %s cannot be served (%s); `segue train` makes a new one", version, error)
            raise
        ready(model)
        return model

    return Standby(recommender, lambda: [registry.version(alias) for alias in (CHAMPION, PREVIOUS, CHALLENGER)], load)


def _champion(home: Home) -> tuple[Bundle | None, Ranker]:
    """The champion, else the one before it, else none: a damaged model must not keep a server from answering."""
    registry = home.registry()
    for alias in (CHAMPION, PREVIOUS):
        version = registry.version(alias)
        if version is None:
            continue
        try:
            bundle = registry.open(version)
            return bundle, ranker_of(bundle, rankers())
        except (SegueError, KeyError, TypeError, ValueError) as error:
            logger.warning("the %s %s cannot be served (%s); `segue train` makes a new one", alias, version, error)
    plain: Ranker = fusion(home)()
    return None, plain


def named_bundle(home: Home, which: str) -> tuple[Bundle, Ranker]:
    """A bundle of the registry by alias or version, and its ranker; NotReady or NotFound where there is none."""
    registry = home.registry()
    known = which in (CHAMPION, PREVIOUS, CHALLENGER)
    bundle = registry.bundle(which) if known else registry.open(which)
    return bundle, ranker_of(bundle, rankers())


def _source(name: str, factory: Callable[..., Any], bundle: Bundle | None) -> CandidateSource:
    """A source as the bundle has it; one that this version cannot read is silent rather than in the way."""
    source: CandidateSource
    if bundle is not None and name in bundle.arrays:
        try:
            source = bundle.revive(name, factory)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            logger.warning("model %s: %s cannot be read (%r); `segue train` makes it anew", bundle.version, name, error)
        else:
            return source
    source = factory()
    return source


def _rows(home: Home, features: Features, query: Query, candidates: Candidates) -> NDArray[np.float32]:
    """The features by day: what the state remembers where the night asks its history."""
    return features.rows(query, candidates, home.facts(), remember(home.state, query, candidates.items, hourly=features.hourly))


def fusion(home: Home) -> Callable[..., Ranker]:
    """Rank fusion, inside a session with the weights of [radio] weights where it names any."""
    blend = named(RANKERS, "blend", "ranker")
    chosen = home.settings.radio.weights
    return partial(blend, here={**blend().here, **chosen}) if chosen else partial(blend)


def rankers() -> dict[str, Callable[..., Ranker]]:
    """Every ranker by its name, imported when it is asked for."""
    return {name: partial(_later, name) for name in RANKERS}


def _later(name: str, /, **hyperparameters: Any) -> Ranker:
    ranker: Ranker = named(RANKERS, name, "ranker")(**hyperparameters)
    return ranker
