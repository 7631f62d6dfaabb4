"""Arms on the way of a request: which model answers, and who was influenced for the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from segue.core.errors import NotReady
from segue.core.hashing import request_text
from segue.core.types import MISSING, Exposure, Query
from segue.events.checks import user_error
from segue.events.schema import EventIn
from segue.experiments.desk import Told
from segue.serving.query import RecommendIn
from segue.serving.recommender import Model
from segue.web.service import Service


def arms_of(service: Service, wanted: RecommendIn, query: Query) -> tuple[tuple[Told, ...], Model | None]:
    """The arms of a request and the model that answers it; nothing, at the cost of a few comparisons, without experiments.

    Nor for a listener whose name no event may bear, such as an e-mail address: an arm that is told is written down by name.
    """
    if service.reference is not None and (model := service.reference.model_for(query.user)) is not None:
        return (), model  # outside every experiment: what it is compared with must not move
    if not service.arms or (query.user == MISSING and user_error(wanted.user)):
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


def logged(
    service: Service, query: Query, told: Sequence[Told], exposure: Exposure, log: Callable[[Exposure], object]
) -> None:  # fmt: skip
    """Log a slate: at once, or where it is mirrored to new arms once they have answered, at most a budget later.

    The answer does not wait for that. An event about such a slate does (`written`), so that what is acknowledged never refers
    to a slate that a crash could still lose. Called in the event loop.
    """
    apart = service.reference is not None and service.reference.model_for(query.user) is not None  # shown by neither arm
    asked = service.arms.judged(query, told, exposure) if service.arms is not None and not apart else None
    if asked is None:
        log(exposure)
        return
    loop, request = asyncio.get_running_loop(), request_text(query.request_id)
    service.mirrored[request] = loop.create_future()

    def finish(done: Exposure) -> None:
        waiting = service.mirrored.pop(request, None)
        if waiting is not None:  # the first to come: the arms, or the clock
            try:
                log(done)
            finally:
                waiting.set_result(None)  # a slate that cannot be written must not keep events about it waiting for ever

    late = loop.call_later(service.recommender.budget_s, finish, exposure)

    def answered(done: Future[Exposure]) -> None:
        with suppress(RuntimeError):  # the loop ended first
            loop.call_soon_threadsafe(finish, exposure if done.exception() is not None else done.result())
            loop.call_soon_threadsafe(late.cancel)

    asked.add_done_callback(answered)


async def written(service: Service, events: Sequence[EventIn]) -> None:
    """Wait until the slates that events refer to are on their way into the log; nothing to wait for in nearly all cases."""
    if service.mirrored:
        waiting = [service.mirrored[e.request_id] for e in events if e.request_id in service.mirrored]
        if waiting:
            await asyncio.wait(set(waiting))
