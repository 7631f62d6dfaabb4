"""What is known of the quality of the model that serves, as JSON and as a page."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from segue.web.api import service_of
from segue.web.pages import HEADERS, STATIC
from segue.web.problems import answer


async def get_quality(request: Request) -> Response:
    """The figures of the night, and of a later judgement where there is one; a problem before the first night."""
    return answer(await asyncio.to_thread(service_of(request).quality))


async def page(request: Request) -> Response:
    """The page: charts by listener and by day since training."""
    return FileResponse(STATIC / "quality.html", headers=HEADERS)
