"""GET /v1/explain: what made a slate, or at which stage a song that was not in one dropped out."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.types import MISSING
from segue.serving.query import RecommendIn
from segue.web.api import service_of
from segue.web.problems import answer, limit_of
from segue.web.service import Service


async def get_explain(request: Request) -> Response:
    """?request=ID, with item= for one song, replay=1 to make it again; or ?user=&item= for a song as it would fare now."""
    service, asked = service_of(request), request.query_params
    if service.explain is None:
        raise NotReady("this server cannot explain")
    if "request" in asked:
        again = asked.get("replay", "") in ("1", "true")
        return answer(await asyncio.to_thread(service.explain.request, asked["request"], asked.get("item"), again=again))
    if not ("user" in asked and "item" in asked):
        raise BadInput("expected request=ID, or user=USER and item=ITEM", "request")
    return answer(await asyncio.to_thread(_song, service, request))


def _song(service: Service, request: Request) -> dict[str, Any]:
    asked = request.query_params
    item = int(service.catalogue.items.find([asked["item"]])[0])
    if item == MISSING:
        raise NotFound(f"no item {asked['item'][:100]!r}")
    given: dict[str, Any] = {"user": asked["user"], "limit": limit_of(request)}
    given |= {name: asked[name] for name in ("session", "discovery") if name in asked}
    given["context"] = {name: asked[name] for name in ("region", "at") if name in asked}
    try:
        wanted = msgspec.convert(given, RecommendIn, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(str(error)) from None
    query, warnings = service.maker.make(wanted, service.now(), service.request_id())
    assert service.explain is not None
    return {"user": asked["user"], "warnings": warnings, **service.explain.song(query, item)}
