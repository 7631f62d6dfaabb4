"""A server of canned answers for the player's tests: it keeps every event, and can be told to fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segue.core.errors import NotFound
from segue.core.records import AGE_BANDS
from segue.simulator.town import Town
from segue.web import pages

SOURCES = ("als", "cooccurrence", "artist", "fresh", "user_knn", "popular")
REASONS = (
    "listeners with your taste finish it",
    "because you finished “{other}”",
    "more from {artist}",
    "a new release close to what you like",
    "people who listen like you keep coming back to it",
    "popular in the Harbour Quarter this evening",
)


@dataclass
class Stub:
    """What the page sees, and what it did: `events` of the listener, and apart from them what was `shown`."""

    town: Town = field(default_factory=lambda: Town(3, songs=400, artists=90, listeners=40, regions=4, days=2))
    events: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    users: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False
    refuse: bool = False
    titles: dict[int, tuple[str, str]] = field(default_factory=dict)
    address: str = ""

    def card(self, i: int) -> dict[str, str]:
        """id, title and artist of song i; `titles` overrides what the town says."""
        record = self.town.items[i]
        title, artist = self.titles.get(i, (record.title or "", record.artist or ""))
        return {"id": record.id, "title": title, "artist": artist}

    def slate(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ten songs that were not played, further along the list with every event."""
        n = len(self.town.items)
        gone = {e["item"] for e in self.events} | set(question.get("exclude", []))
        start = sum(e["action"] in ("skipped", "completed", "hidden", "liked") for e in self.events) * 74
        order = [i for k in range(n) if self.card(i := (start + k * 37) % n)["id"] not in gone]
        number = len(self.questions)
        return {
            "request_id": f"{number:016x}", "policy": "default", "rung": "personal", "warnings": [],
            "model_versions": {"bundle": "2026-01-05-3f9c12ab"},
            "items": [
                self.card(i) | {
                    "score": 1.0 / (k + 1), "propensity": 0.9, "explored": i % 4 == 0,
                    "sources": [SOURCES[i % 6], SOURCES[(i + 2) % 6]],
                    "reason": REASONS[i % 6].format(artist=self.card(i)["artist"], other=self.card((i * 7) % n)["title"]),
                }
                for k, i in enumerate(order[: question["limit"]])
            ],
        }  # fmt: skip

    async def answer(self, request: Request) -> Response:
        """Every route of the contract that the page uses."""
        path = request.url.path
        if self.down:
            return JSONResponse({"title": "Unavailable", "detail": "The server is resting.", "status": 503}, 503)
        if path == "/v1/events":
            return self._events((await request.json())["events"])
        if path == "/v1/users" and request.method == "PUT":
            self.users += (await request.json())["users"]
            return JSONResponse({"accepted": 1, "rejected": []})
        if path == "/v1/recommendations":
            self.questions.append(await request.json())
            return JSONResponse(self.slate(self.questions[-1]))
        if path == "/v1/about":
            return JSONResponse(self.about())
        if path == "/v1/search":
            words = request.query_params["q"].lower()
            cards = [self.card(i) for i in range(len(self.town.items))]
            found = [c for c in cards if words in f"{c['title']} {c['artist']}".lower()]
            return JSONResponse({"items": found[:8], "model_version": "m"})
        if path.startswith("/v1/users/"):
            user = next((u for u in self.town.users if u.id == request.path_params["id"]), None)
            if user is None:
                return JSONResponse({"title": "Not Found", "status": 404}, 404)
            return JSONResponse(msgspec.to_builtins(user) | {"age_band": AGE_BANDS[user.age_band or 0]})
        if path.endswith("/similar") or path == "/v1/popular":
            return JSONResponse({"items": [self.card(i * 11 % 400) for i in range(6)], "model_version": "m"})
        record = next((r for r in self.town.items if r.id == request.path_params["id"]), None)
        return JSONResponse(msgspec.to_builtins(record), 200 if record else 404)

    def about(self) -> dict[str, Any]:
        """What the page introduces itself with."""
        artists = sorted({r.artist or "" for r in self.town.items})[:60]
        return {
            "version": "0.1.0", "regions": list(self.town.regions), "age_bands": list(AGE_BANDS),
            "artists": [{"name": name, "items": 4} for name in artists],
            "tags": sorted({t for r in self.town.items for t in r.tags or []})[:30],
            "sample_listeners": [u.id for u in self.town.users[:12]],
            "model_version": "2026-01-05-3f9c12ab", "items": len(self.town.items), "users": len(self.town.users),
        }  # fmt: skip

    def _events(self, events: list[dict[str, Any]]) -> Response:
        if self.refuse:
            rejected = [{"index": 0, "error": "item: unknown"}]
            return JSONResponse({"accepted": 0, "duplicates": 0, "rejected": rejected}, 422)
        known = {e["event_id"] for e in self.events + self.shown}
        new = [e for e in events if e["event_id"] not in known]
        self.events += [e for e in new if e["action"] != "shown"]
        self.shown += [e for e in new if e["action"] == "shown"]
        return JSONResponse({"accepted": len(new), "duplicates": len(events) - len(new), "rejected": []})


async def _page(request: Request) -> Response:
    try:
        return await (pages.static(request) if "name" in request.path_params else pages.player(request))
    except NotFound:
        return Response(status_code=404)


@contextmanager
def serve(stub: Stub) -> Iterator[Stub]:
    """Run it on a free port of the loopback; `stub.address` says where."""
    api = ["/v1/events", "/v1/users", "/v1/recommendations", "/v1/about", "/v1/search", "/v1/popular"]
    api += ["/v1/items/{id}", "/v1/items/{id}/similar", "/v1/users/{id}"]
    routes = [Route(path, stub.answer, methods=["GET", "POST", "PUT"]) for path in api]
    routes += [Route("/", _page), Route("/static/{name}", _page)]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    for _ in range(500):
        if server.started:
            break
        time.sleep(0.01)
    stub.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield stub
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
