"""The routes of /v1: events and facts in, slates and neighbours out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from segue import __version__
from segue.core.clock import hour_of_week, offset_at, parse_time
from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.hashing import request_text
from segue.core.ports import CONFLICT, DUPLICATE
from segue.core.records import AGE_BANDS
from segue.core.types import MISSING, Exposure, Int32, Scored
from segue.events.schema import Rejection, decode_events, decode_items, decode_users
from segue.serving.neighbours import SIMILAR, similar
from segue.serving.query import RecommendIn
from segue.web import influence
from segue.web.problems import answer, body_of, decoded, limit_of, problem
from segue.web.service import Service

MET = 1 | 2 | 8
"""Bits of OnlineState.marks: liked, disliked, saved."""


@runtime_checkable
class TopForUser(Protocol):
    """A source that keeps the top items of every user."""

    def for_user(self, user: int, limit: int) -> Scored:
        """Best first."""
        ...


def service_of(request: Request) -> Service:
    """The running server's parts."""
    service: Service = request.app.state.service
    return service


async def post_events(request: Request) -> Response:
    """Answers only when the accepted events are on disk and folded into the state."""
    service = service_of(request)
    events, places, rejected = decode_events(await body_of(request), service.now())
    accepted = duplicates = 0
    if events:
        await influence.written(service, events)
        result = await asyncio.wrap_future(service.writer.submit(events))
        for place, status in zip(places, result.status.tolist(), strict=True):
            if status == CONFLICT:
                text = "event_id: known with another body; the first one is kept, send a new id for a new event"
                rejected.append(Rejection(place, text))
            elif status == DUPLICATE:
                duplicates += 1
            else:
                accepted += 1
    service.counters.count("events", "accepted", accepted)
    service.counters.count("events", "duplicate", duplicates)
    service.counters.count("events", "rejected", len(rejected))
    body = {
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": [{"index": r.index, "error": r.error} for r in sorted(rejected, key=lambda r: r.index)],
    }
    return refused(body, rejected) if rejected and not accepted and not duplicates else answer(body)


async def put_items(request: Request) -> Response:
    """Insert or update items."""
    records, _, rejected = decode_items(await body_of(request))
    if records:
        await asyncio.to_thread(service_of(request).catalogue.put_items, records)
    return _stored(len(records), rejected)


async def put_users(request: Request) -> Response:
    """Insert or update users; personal facts are coarse by the time they get here."""
    service = service_of(request)
    records, _, rejected = decode_users(await body_of(request), service.now())
    if records:
        await asyncio.to_thread(service.catalogue.put_users, records)
    return _stored(len(records), rejected)


def refused(body: dict[str, object], rejected: Sequence[Rejection]) -> Response:
    """Nothing could be accepted: a problem document that names every row."""
    first = rejected[0]
    found = f"none of {len(rejected)} rows could be accepted; the first: {first.error}"
    return problem(422, found, f"[{first.index}]", body)


def _stored(accepted: int, rejected: Sequence[Rejection]) -> Response:
    body = {"accepted": accepted, "rejected": [{"index": r.index, "error": r.error} for r in rejected]}
    return refused(body, rejected) if rejected and not accepted else answer(body)


async def get_item(request: Request) -> Response:
    """All that is known of an item."""
    return answer(service_of(request).catalogue.item(dense_item(request)))


async def get_user(request: Request) -> Response:
    """All that is known of a user: coarse facts only."""
    catalogue = service_of(request).catalogue
    record = catalogue.user(_dense(catalogue.users.find([request.path_params["id"]]), "user", request))
    body = msgspec.to_builtins(record)
    band = body.pop("age_band", None)
    return answer({**body, "age_band": AGE_BANDS[band] if band is not None else None})


def dense_item(request: Request) -> int:
    """The dense id of the item that the path names; NotFound."""
    return _dense(service_of(request).catalogue.items.find([request.path_params["id"]]), "item", request)


def _dense(found: Int32, what: str, request: Request) -> int:
    if found[0] == MISSING:
        raise NotFound(f"no {what} {request.path_params['id']!r}")
    return int(found[0])


async def post_recommendations(request: Request) -> Response:
    """One slate; its exposure is on its way into the log when the answer leaves."""
    service = service_of(request)
    wanted = decoded(await body_of(request), RecommendIn)
    query, warnings = service.maker.make(wanted, service.now(), service.request_id())
    arms, model = influence.arms_of(service, wanted, query)
    asked = service.recommender.ask(query, model)
    for done in asked.waits:
        await _settled(done, asked.began + service.recommender.budget_s - time.perf_counter())  # one budget for all of them
    exposure = service.recommender.finish(asked)
    if arms:
        influence.influenced(service, wanted, query, arms, exposure, time.perf_counter() - asked.began)
    if len(exposure.slate.items):
        influence.logged(service, query, arms, exposure, partial(_log, service))
    else:
        empty = not len(service.catalogue.items)
        told = "PUT /v1/items or import a listening history first" if empty else "everything playable was heard or refused"
        warnings.append(f"nothing to play: {told}")
    return answer(slate_json(service, exposure, warnings))


async def _settled(done: Future[None], seconds: float) -> None:
    """Wait for a future of another thread, at most so long; cheaper than wait_for around wrap_future."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def answered(_: object) -> None:
        with suppress(RuntimeError):  # the loop ended first
            loop.call_soon_threadsafe(wake)

    done.add_done_callback(answered)
    late = loop.call_later(seconds, wake)
    await waiter
    late.cancel()


def _log(service: Service, exposure: Exposure) -> None:
    """Hand the slate to the writer: it is on disk a moment later, and before any event about it is acknowledged."""
    try:
        written = service.writer.submit_exposure(exposure)
    except NotReady:
        service.counters.count("exposure_lost", "queue full")
        return

    def judged(done: Future[None]) -> None:
        if done.exception() is not None:
            service.counters.count("exposure_lost", "not written")

    written.add_done_callback(judged)


def _new(service: Service, exposure: Exposure) -> list[bool]:
    """Whether the listener has never met each song: not played, liked, disliked or saved."""
    user, items = exposure.user, exposure.slate.items
    met = (service.state.heard(user, items)[0] > 0) | ((service.state.marks(user, items) & MET) > 0)
    new: list[bool] = (~met).tolist()
    return new


def slate_json(service: Service, exposure: Exposure, warnings: list[str]) -> dict[str, object]:
    """The slate in the caller's words."""
    slate, catalogue = exposure.slate, service.catalogue
    rows = zip(
        catalogue.items.all(slate.items),
        catalogue.titles(slate.items),
        slate.scores.tolist(),
        slate.sources,
        slate.reasons,
        slate.explored.tolist(),
        slate.propensities.tolist(),
        _new(service, exposure),
        strict=True,
    )
    return {
        "request_id": request_text(slate.request_id),
        "policy": slate.policy,
        "rung": slate.rung,
        "model_versions": slate.model_versions,
        "warnings": warnings,
        "items": [
            {
                "id": name,
                "title": title,
                "artist": artist,
                "score": score,
                "sources": sources,
                "reason": reason,
                "explored": explored,
                "propensity": propensity,
                "new": new,
            }
            for name, (title, artist), score, sources, reason, explored, propensity, new in rows
        ],
    }


async def get_similar(request: Request) -> Response:
    """Neighbours of an item, by=sound or by=listeners."""
    service = service_of(request)
    item = dense_item(request)
    by = request.query_params.get("by", "listeners")
    if by not in SIMILAR:
        raise BadInput(f"by: expected {' or '.join(SIMILAR)}, found {by[:50]!r}", "by")
    return _list(request, similar(service.recommender.model, by, item, limit_of(request)))


async def get_collaborative(request: Request) -> Response:
    """M2 on its own: the stored top items of a user."""
    service = service_of(request)
    user = _dense(service.catalogue.users.find([request.path_params["id"]]), "user", request)
    for source in service.recommender.model.sources:
        if source.name == "als" and isinstance(source, TopForUser):
            return _list(request, source.for_user(user, limit_of(request)))
    return _list(request, Scored.none())


async def get_popular(request: Request) -> Response:
    """M3 on its own: what is listened to here and now."""
    service = service_of(request)
    limit, region = limit_of(request), request.query_params.get("region")
    try:
        at = request.query_params.get("at")
        now = service.now() if at is None else parse_time(at)
    except (ValueError, OverflowError):
        raise BadInput("at: expected ISO 8601 or Unix seconds", "at") from None
    dense = int(service.catalogue.regions.find([region])[0]) if region else MISSING
    hour = hour_of_week(now, offset_at(service.maker.utc_offsets.get(dense, 0), now))
    unknown = [f"unknown region: {region[:100]!r}; this is what is popular everywhere"] if region and dense == MISSING else []
    return _list(request, service.state.popular(dense, MISSING, hour, limit), unknown)


def _list(request: Request, scored: Scored, warnings: Sequence[str] = ()) -> Response:
    service = service_of(request)
    # another process may have written songs, with events or a model, that this one's catalogue takes in within a second
    known = np.flatnonzero(scored.items < len(service.catalogue.items))[: limit_of(request)]
    items, scores = scored.items[known], scored.scores[known].tolist()
    rows = zip(service.catalogue.items.all(items), service.catalogue.titles(items), scores, strict=True)
    body = [{"id": name, "title": title, "artist": artist, "score": score} for name, (title, artist), score in rows]
    told = {"warnings": list(warnings)} if warnings else {}
    return answer({"items": body, "model_version": service.recommender.model.versions.get("bundle", "live"), **told})


async def get_search(request: Request) -> Response:
    """Songs by words of their title or artist."""
    service = service_of(request)
    text = request.query_params.get("q", "")
    if not text.strip():
        raise BadInput("q: expected some words of a title or an artist", "q")
    found = await asyncio.to_thread(service.catalogue.search, text[:200], limit_of(request))
    return _list(request, Scored(found, -np.arange(len(found), dtype=np.float32)))


async def get_about(request: Request) -> Response:
    """What the player needs to introduce itself: regions, age bands, well-known artists and tags, some listeners."""
    service = service_of(request)
    about = await asyncio.to_thread(_about, service)
    return answer(about)


def _sample(service: Service, wanted: int = 12) -> list[int]:
    """Listeners to try the radio as: those with a history first, of as many regions and ages as there are."""
    catalogue, state = service.catalogue, service.state
    some = range(min(len(catalogue.users), 300))
    places = {user: catalogue.user_context(user) for user in some}
    lived = [user for user in some if len(state.recent(user)) >= 20]
    rest = [user for user in some if user not in set(lived)]
    chosen: list[int] = []
    for group in (lived, rest):
        for user in sorted(group, key=lambda u: sum(places[u] == places[c] for c in chosen)):
            if len(chosen) < wanted and (len(group) < wanted or places[user] not in [places[c] for c in chosen]):
                chosen.append(user)
    return chosen + [user for user in (*lived, *rest) if user not in set(chosen)][: wanted - len(chosen)]


def _about(service: Service) -> dict[str, object]:
    catalogue, facts = service.catalogue, service.catalogue.facts
    known = facts.artist[facts.artist >= 0]
    popular = service.state.popular(MISSING, MISSING, 0, 500).items
    heard = facts.artist[popular[popular < len(facts)]]
    order = list(dict.fromkeys(heard[heard >= 0].tolist()))
    counts = np.bincount(known, minlength=len(catalogue.artists)) if len(known) else np.zeros(0, np.int64)
    if len(order) < 60:
        order += [a for a in np.argsort(-counts, kind="stable")[:60].tolist() if a not in set(order)]
    tags = (
        np.argsort(-np.bincount(facts.tags), kind="stable")[:30].astype(np.int32) if len(facts.tags) else np.zeros(0, np.int32)
    )
    regions = np.arange(len(catalogue.regions), dtype=np.int32)
    return {
        "version": __version__,
        "regions": catalogue.regions.all(regions),
        "age_bands": list(AGE_BANDS),
        "artists": [{"name": catalogue.artists.name(a), "items": int(counts[a])} for a in order[:60]],
        "tags": catalogue.tags.all(tags),
        "sample_listeners": catalogue.users.all(np.array(_sample(service), np.int32)),
        "model_version": service.recommender.model.versions.get("bundle", "live"),
        "items": len(catalogue.items),
        "users": len(catalogue.users),
    }
