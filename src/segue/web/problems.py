"""Errors as application/problem+json (RFC 9457), and JSON answers by msgspec."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from segue.core.errors import BadInput, NotFound, NotReady, SegueError

_encode = msgspec.json.Encoder().encode
_NAMED = re.compile(r"(?:unknown|missing required) field `([^`]*)`", re.DOTALL)
MAX_BODY = 16 * 1024 * 1024
TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Cannot be used",
    500: "Failed",
    503: "Not ready",
}


def answer(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(_encode(value), status, media_type="application/json")


def problem(status: int, detail: str, field: str | None = None, more: dict[str, object] | None = None) -> Response:
    """A problem document; `more` are further members, as RFC 9457 allows."""
    body = {"status": status, "title": TITLES.get(status, "Error"), "detail": detail, "field": field, **(more or {})}
    return Response(_encode(body), status, media_type="application/problem+json")


async def on_error(request: Request, error: Exception) -> Response:
    """Every exception as a problem; what is not expected is a 500 without the inside of the house."""
    if isinstance(error, BadInput):
        return problem(422, error.detail, error.field)
    if isinstance(error, NotFound):
        return problem(404, str(error))
    if isinstance(error, NotReady):
        return problem(503, str(error))
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail))
    if isinstance(error, ClientDisconnect):
        return problem(
            400, "the body broke off before its end"
        )  # nobody reads it: it counts as the caller's, and is no failure
    if isinstance(error, SegueError):
        return problem(500, str(error))
    return problem(500, "something went wrong inside; the server's log has it")


async def body_of(request: Request) -> bytes:
    """The whole body, refused above 16 MiB before it is all in memory."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY // 2**20} MiB: send fewer rows at a time")
        chunks.append(chunk)
    return b"".join(chunks)


def decoded(body: bytes, kind: Any) -> Any:
    """The body as a struct; BadInput says which field, what was expected and what was found."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        named = _NAMED.search(message)  # a field too many or too few: the path leads to the object around it
        raise BadInput(message, ".".join(part for part in (path.rstrip("`"), named and named[1]) if part) or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"expected a JSON object, found something else: {error}") from None


def limit_of(request: Request, default: int = 10) -> int:
    """?limit=, 1 to 100."""
    text = request.query_params.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100):
        raise BadInput(f"limit: expected a whole number from 1 to 100, found {text[:20]!r}", "limit")
    return int(text)
