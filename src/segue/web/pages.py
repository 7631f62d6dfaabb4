"""The pages and their files: part of the package, nothing fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from segue.core.errors import NotFound

STATIC = Path(__file__).parent / "static"
FILES = frozenset(path.name for path in STATIC.iterdir() if path.is_file())
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def player(request: Request) -> Response:
    """The player."""
    return FileResponse(STATIC / "player.html", headers=HEADERS)


async def static(request: Request) -> Response:
    """A file of the pages; nothing outside that one folder."""
    name = request.path_params["name"]
    if name not in FILES:
        raise NotFound(f"no page file {name[:100]!r}")
    return FileResponse(STATIC / name, headers=HEADERS)
