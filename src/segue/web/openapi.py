"""The OpenAPI document, made from the same types that decode the requests."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from segue import __version__
from segue.serving.query import RecommendIn


class Problem(msgspec.Struct, kw_only=True):
    """application/problem+json."""

    status: int
    title: str
    detail: str
    field: str | None = None


class RecommendedItem(msgspec.Struct, kw_only=True):
    """One song of a slate."""

    id: str
    title: str
    artist: str
    score: float
    sources: list[str]
    reason: str
    explored: bool
    propensity: float
    new: bool


class Recommendations(msgspec.Struct, kw_only=True):
    """A slate."""

    request_id: str
    policy: str
    rung: str
    model_versions: dict[str, str]
    warnings: list[str]
    items: list[RecommendedItem]


class Listed(msgspec.Struct, kw_only=True):
    """One entry of a list of items."""

    id: str
    title: str
    artist: str
    score: float


class ItemList(msgspec.Struct, kw_only=True):
    """A list of items and the model that made it."""

    items: list[Listed]
    model_version: str


class Refused(msgspec.Struct, kw_only=True):
    """A row that was refused."""

    index: int
    error: str


class EventsStored(msgspec.Struct, kw_only=True):
    """What became of posted events."""

    accepted: int
    duplicates: int
    rejected: list[Refused]


class Stored(msgspec.Struct, kw_only=True):
    """What became of put facts."""

    accepted: int
    rejected: list[Refused]


_ANSWERS: dict[tuple[str, str], tuple[str, Any, str | None]] = {
    ("post", "/v1/events"): ("Events in; answered when they are durable", EventsStored, "events"),
    ("put", "/v1/items"): ("Insert or update items", Stored, "items"),
    ("put", "/v1/users"): ("Insert or update users, coarsened before anything is stored", Stored, "users"),
    ("post", "/v1/recommendations"): ("A slate of songs", Recommendations, "recommendations"),
    ("get", "/v1/items/{id}"): ("An item", None, None),
    ("get", "/v1/users/{id}"): ("A user's coarse facts", None, None),
    ("get", "/v1/items/{id}/similar"): ("Neighbours by=sound or by=listeners", ItemList, None),
    ("get", "/v1/items/{id}/audio"): ("The sound of an item, whole or a range of its bytes", None, None),
    ("post", "/v1/items/{id}/audio"): ("Hear the file in the body; answered when the vector is in place", None, None),
    ("get", "/v1/users/{id}/collaborative"): ("A user's stored top items (M2)", ItemList, None),
    ("get", "/v1/popular"): ("What is listened to at a place and time (M3)", ItemList, None),
    ("get", "/v1/search"): ("Songs by words of title or artist", ItemList, None),
    ("get", "/v1/explain"): ("What made the slate of a request, or where an item dropped out for a user", None, None),
    ("get", "/v1/about"): ("What the player needs to introduce itself", None, None),
    ("get", "/v1/quality"): ("What the last night and later judgements found of the model that serves", None, None),
    ("get", "/v1/experiments"): ("Every experiment, newest first", None, None),
    ("post", "/v1/experiments"): ("Lock a plan and begin", None, None),
    ("get", "/v1/experiments/{name}"): ("An experiment in numbers and words", None, None),
    ("post", "/v1/experiments/{name}/stop"): ("Everybody back to old", None, None),
    ("get", "/v1/monitor"): ("Alarms, key metrics against their season, drift, the model's health", None, None),
    ("get", "/health/live"): ("The process answers", None, None),
    ("get", "/health/ready"): ("It can recommend", None, None),
    ("get", "/metrics"): ("Prometheus text", None, None),
    ("get", "/schema/openapi.json"): ("This document", None, None),
}
_MADE = frozenset({("post", "/v1/experiments")})
"""Answered with 201: something was made."""
_QUERY = {
    "/v1/items/{id}/similar": ("by", "limit"),
    "/v1/users/{id}/collaborative": ("limit",),
    "/v1/popular": ("region", "at", "limit"),
    "/v1/search": ("q", "limit"),
    "/v1/explain": ("request", "replay", "user", "item", "session", "limit", "discovery", "region", "at"),
    "/v1/experiments/{name}/stop": ("why",),
}


def document() -> dict[str, Any]:
    """OpenAPI 3.1 of every route of the API."""
    kinds = [RecommendIn, Problem, *{kind for _, kind, _ in _ANSWERS.values() if kind is not None}]
    kinds.sort(key=lambda kind: str(kind.__name__))
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), (summary, kind, body) in _ANSWERS.items():
        content = {"application/json": {"schema": by_kind[kind] if kind else {}}}
        operation: dict[str, Any] = {
            "summary": summary,
            "responses": {
                "201" if (method, path) in _MADE else "200": {"description": "OK", "content": content},
                "default": {"description": "A problem", "content": {"application/problem+json": {"schema": by_kind[Problem]}}},
            },
        }
        names = [(name, "path") for name in re.findall(r"{(\w+)}", path)]
        names += [(name, "query") for name in _QUERY.get(path, ())]
        if names:
            operation["parameters"] = [
                {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}} for name, place in names
            ]
        if body:
            given = by_kind[RecommendIn] if body == "recommendations" else {"type": "object", "required": [body]}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": given}}}
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Segue", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }
