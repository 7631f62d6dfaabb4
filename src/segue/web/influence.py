"""Arms on the way of a request: which model answers, and who was influenced for the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from segue.core.errors import NotReady
from segue.core.hashing import request_text
from segue.core.types import Exposure, Query
from segue.events.schema import EventIn
from segue.experiments.desk import Told
from segue.serving.query import RecommendIn
from segue.serving.recommender import Model
from segue.web.service import Service


def arms_of(service: Service, wanted: RecommendIn, query: Query) -> tuple[tuple[Told, ...], Model | None]:
    """The arms of a request and the model that answers it; nothing, at the cost of a few comparisons, without experiments."""
    if service.reference is not None and (model := service.reference.model_for(query.user)) is not None:
        return (), model  # outside every experiment: what it is compared with must not move
    if not service.arms:
        return (), None
    told = service.arms.told(wanted.user, wanted.session, request_text(query.request_id))
    return told, service.arms.model(told, service.recommender.model)


def influenced(service: Service, wanted: RecommendIn, query: Query, told: Sequence[Told], exposure: Exposure,
               seconds: float) -> None:  # fmt: skip
    """Write down who was influenced for the first time, and count the answer, which took `seconds`.

    The event id makes a second writing harmless.
    """
    arms = service.arms
    assert arms is not None
    arms.answered(told, exposure, known=len(query.recent) > 0, seconds=seconds)
    first = arms.first(told)
    if not first:
        return
    request = request_text(query.request_id)
    events = [
        EventIn(user=wanted.user, action="assigned", at=query.now, event_id=one.event_id, value=one.value, position=one.number,
                session=wanted.session, request_id=request)
        for one in first
    ]  # fmt: skip
    try:
        written = service.writer.submit(events)
    except NotReady:
        arms.forget(first)
        return

    def judged(done: Future[Any]) -> None:
        if done.exception() is not None:
            arms.forget(first)

    written.add_done_callback(judged)


async def judged(service: Service, query: Query, told: Sequence[Told], exposure: Exposure) -> Exposure:
    """The exposure with what new arms would have done, where this request is one that is judged and they are not late."""
    if service.reference is not None and service.reference.model_for(query.user) is not None:
        return exposure  # shown by neither arm
    asked = service.arms.judged(query, told, exposure) if service.arms is not None else None
    if asked is None:
        return exposure
    done, _ = await asyncio.wait({asyncio.wrap_future(asked)}, timeout=service.recommender.budget_s)
    return done.pop().result() if done else exposure
