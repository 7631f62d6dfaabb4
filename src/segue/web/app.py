"""The application: the table of routes, the access check, request metrics."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from segue.core.errors import SegueError
from segue.monitoring.counters import Counters
from segue.web import api, audio, botify, experiments, explain, monitoring, openapi, pages, quality
from segue.web.problems import answer, on_error, problem
from segue.web.service import Service

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def live(request: Request) -> Response:
    """The process answers."""
    return answer({"status": "live"})


async def ready(request: Request) -> Response:
    """It can recommend: which model, how much it knows."""
    service = api.service_of(request)
    body = {
        "status": "ready",
        "model_version": service.recommender.model.versions.get("bundle", "live"),
        "items": len(service.catalogue.items),
        "users": len(service.catalogue.users),
        "applied": service.state.applied,
    }
    return answer(body)


async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return PlainTextResponse(api.service_of(request).counters.render(), media_type="text/plain; version=0.0.4")


async def schema(request: Request) -> Response:
    """OpenAPI 3.1."""
    return answer(openapi.document())


ROUTES: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
    ("POST", "/v1/events", api.post_events),
    ("PUT", "/v1/items", api.put_items),
    ("PUT", "/v1/users", api.put_users),
    ("GET", "/v1/items/{id}", api.get_item),
    ("GET", "/v1/users/{id}", api.get_user),
    ("POST", "/v1/recommendations", api.post_recommendations),
    ("GET", "/v1/items/{id}/similar", api.get_similar),
    ("GET", "/v1/items/{id}/audio", audio.get_audio),
    ("POST", "/v1/items/{id}/audio", audio.post_audio),
    ("GET", "/v1/users/{id}/collaborative", api.get_collaborative),
    ("GET", "/v1/popular", api.get_popular),
    ("GET", "/v1/search", api.get_search),
    ("GET", "/v1/about", api.get_about),
    ("GET", "/v1/explain", explain.get_explain),
    ("GET", "/v1/quality", quality.get_quality),
    ("GET", "/v1/experiments", experiments.get_experiments),
    ("POST", "/v1/experiments", experiments.post_experiments),
    ("GET", "/v1/experiments/{name}", experiments.get_experiment),
    ("POST", "/v1/experiments/{name}/stop", experiments.stop_experiment),
    ("GET", "/v1/monitor", monitoring.get_monitor),
    ("GET", "/health/live", live),
    ("GET", "/health/ready", ready),
    ("GET", "/metrics", metrics),
    ("GET", "/schema/openapi.json", schema),
    ("GET", "/", pages.player),
    ("GET", "/quality", quality.page),
    ("GET", "/experiments", experiments.page),
    ("GET", "/monitor", monitoring.page),
    ("GET", "/static/{name}", pages.static),
)
OPEN = frozenset({"/health/live", "/health/ready", "/schema/openapi.json", "/", "/quality", "/experiments", "/monitor"})


def create(service: Service) -> Starlette:
    """The ASGI application of one service."""
    handlers: dict[Any, Any] = dict.fromkeys((SegueError, ClientDisconnect, Exception, 404, 405, 413), on_error)
    # ids may hold slashes: an id takes what it can, so the longer paths, which end in a word of ours, are tried first
    served = ROUTES if service.botify is None else (*ROUTES, *botify.ROUTES)
    deepest = sorted(served, key=lambda route: ("{" in route[1], -route[1].count("/")))
    routes = [Route(path.replace("{id}", "{id:path}"), call, methods=[method]) for method, path, call in deepest]
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.service = service
    if service.botify is not None:
        app.state.botify = botify.Tracks(*service.botify)
    app.add_middleware(Gate, counters=service.counters, keys=service.keys)
    return app


class Gate:
    """Checks the key, when keys exist, and measures every request under its route."""

    def __init__(self, app: Any, counters: Counters, keys: frozenset[str]) -> None:
        self._app, self._counters, self._keys = app, counters, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._keys and not self._allowed(scope):
                await problem(401, "expected a key in X-API-Key or Authorization: Bearer")(scope, receive, watched)
            else:
                await self._app(scope, receive, watched)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other").replace(":path}", "}")
            self._counters.observe(path, status, time.perf_counter() - started)

    def _allowed(self, scope: Scope) -> bool:
        if scope["path"] in OPEN or scope["path"].startswith("/static/"):
            return True
        headers = dict(scope["headers"])
        given = headers.get(b"x-api-key", b"") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return any(hmac.compare_digest(given, key.encode()) for key in self._keys)
