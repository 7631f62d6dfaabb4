"""A slate made again: the same question to the same models and the state of then, compared to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from segue.core.ports import OnlineState
from segue.core.types import Exposure, Query
from segue.serving.query import running_session
from segue.serving.recommender import Model, Recommender


def asked_then(exposure: Exposure, state: OnlineState) -> Query:
    """The query of an exposure with the recent plays as a state of then has them; ValueError where it was not stored."""
    query = exposure.asked
    if query is None:
        raise ValueError("what was asked is not stored with this slate: an earlier version logged it")
    recent = state.recent(query.user, query.session)
    return replace(query, recent=recent if query.session else running_session(recent, query.now))


def made_again(exposure: Exposure, recommender: Recommender, model: Model, state: OnlineState) -> dict[str, Any]:
    """The whole way of a request once more, by a recommender over the state of then, and where it comes out otherwise.

    `replayed`: whether items, order, scores, propensities, draws, sources and rung are the same, numbers to the bit.
    `differs` names what is not, `items` the songs as they come out now.
    """
    query = asked_then(exposure, state)
    recommender.recommend(query, model)  # what has to be compiled or read from disk must not make a source late
    again, then = recommender.recommend(query, model).slate, exposure.slate
    differs = [
        name
        for name in ("items", "scores", "propensities", "explored")
        if np.asarray(getattr(again, name)).tobytes() != np.asarray(getattr(then, name)).tobytes()
    ]
    differs += [name for name in ("sources", "reasons", "rung") if getattr(again, name) != getattr(then, name)]
    return {"replayed": not differs, "differs": differs, "items": again.items.tolist()}
