"""One request, top to bottom: query, model, filters and reranker as a home's settings make them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import numpy as np

from segue import config
from segue.core.ports import OnlineState
from segue.core.stages import CandidateSource, Ranker
from segue.core.types import Exposure
from segue.filtering import rules
from segue.monitoring.counters import Counters
from segue.reranking.radio import Radio
from segue.serving.discovery import Discovery, segment_of
from segue.serving.explain import Explain
from segue.serving.query import QueryMaker, RecommendIn
from segue.serving.recommender import Model, Recommender, Stages
from segue.serving.reference import REFERENCE, Reference
from segue.wiring.home import Home, secret
from segue.wiring.models import model_of, named_bundle
from segue.wiring.sources import factories
from segue.wiring.tables import NEWCOMERS, RANKERS, named

PATIENT_MS = 60_000.0
"""How long whoever is patient waits for the slowest source."""
SAMPLED = 20_000
"""Listeners that the priors of the discovery share are learned from: about 40 ms, when a server starts or swaps a model."""


def maker_of(home: Home) -> QueryMaker:
    """Requests to queries."""
    return QueryMaker(home.catalogue, home.state, discovery_of(home), home.utc_offsets)


def discovery_of(home: Home) -> Discovery:
    """The sampler of the share of new songs, with the priors that up to SAMPLED listeners give, evenly spaced by id."""
    plain = Discovery(home.settings.radio.discovery, secret(home.path))
    n = len(home.catalogue.users)
    some = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(np.int64)).tolist() if n else []
    counts = np.array([home.state.novelty(user) for user in some]).reshape(-1, 4)
    segments = np.array([segment_of(*home.catalogue.user_context(user)) for user in some], np.int64)
    return plain.learn(counts, segments)


def stages_of(home: Home) -> Stages:
    """The filters, in their order, and the reranker with the home's settings."""
    filters = (
        rules.playable(home.facts),
        rules.excluded(home.facts),
        rules.heard_in_session(home.facts, home.state),
        rules.refused(home.state),
        rules.turned_away(home.facts),
    )
    return Stages(filters, reranker_of(home, home.settings.radio))


def recommender_of(
    home: Home,
    counters: Counters | None = None,
    model: Model | None = None,
    stages: Stages | None = None,
    *,
    patient: bool = False,
) -> Recommender:
    """One request, top to bottom, with the champion or another model; `stages` in place of the usual ones.

    `patient`: for somebody who asks once, in a process that has compiled nothing yet, and wants the answer and not the hurry.
    """
    radio, counters = home.settings.radio, counters or Counters()
    return Recommender(
        model or model_of(home),
        stages or stages_of(home),
        home.catalogue,
        home.state,
        key=secret(home.path),
        count=counters.count,
        timed=counters.source,
        per_source=radio.per_source,
        deadline_ms=PATIENT_MS if patient else home.settings.server.deadline_ms,
    )


def reranker_of(home: Home, radio: config.Radio, state: OnlineState | None = None) -> Radio:
    """The radio's reranker with these settings; `state` in place of the home's own."""
    return Radio(
        home.facts,
        state or home.state,
        artist_gap=radio.artist_gap,
        max_per_artist=radio.max_per_artist,
        explore=radio.explore,
        explore_pool=radio.explore_pool,
        temperature=radio.temperature,
        newcomers=radio.newcomers,
        max_per_album=radio.max_per_album,
        diversity=radio.diversity,
        diversity_by=radio.diversity_by,
        calibration=radio.calibration,
        fatigue=radio.fatigue,
        freshness=radio.freshness,
        vectors=home.vectors.get,
    )


def reference_of(home: Home) -> Reference:
    """The policy that no night changes: what is popular here and now, by live counts, under the usual filters."""
    popular: CandidateSource = factories(home, live=True)["popular"]()
    ranker: Ranker = named(RANKERS, "blend", "ranker")(here=NEWCOMERS, away=NEWCOMERS)
    model = Model((popular,), ranker, policy=REFERENCE, versions={"bundle": REFERENCE})
    return Reference(home.settings.monitoring.reference, home.listeners, model)


def explain_of(home: Home, recommender: Recommender, replay_up_to: int) -> Explain:
    """What made a slate, and where a song dropped out; slates with up to so many events before them are made again."""

    def ranker_then(version: str) -> Ranker:
        return named_bundle(home, version)[1]

    def again(exposure: Exposure) -> dict[str, Any]:
        from segue.wiring.replay import replay  # which makes a recommender itself

        return replay(home, exposure, replay_up_to)

    return Explain(home.log, home.catalogue, recommender, ranker_then, again)


def warm(home: Home, recommender: Recommender, model: Model) -> None:
    """Put some listeners' questions to a model before it serves, so that no listener waits for a page or a kernel."""
    maker = maker_of(home)
    names = home.catalogue.users.all(np.arange(min(len(home.catalogue.users), 20), dtype=np.int32))
    now = time.time_ns() // 1_000_000
    for user in ("", *names):
        query, _ = maker.make(RecommendIn(user=user, discovery=0.5), now, now)
        for source in model.sources:
            with suppress(Exception):  # a source that fails here fails in service too, where it is counted
                source.retrieve(query, recommender.per_source)
    with suppress(Exception):  # the ladder answers for what is broken
        recommender.try_out(query, model)
