"""What the monitor sees, as JSON and as a page."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from segue.core.errors import NotReady
from segue.web.pages import HEADERS, STATIC
from segue.web.problems import answer
from segue.web.service import Service


async def get_monitor(request: Request) -> Response:
    """Alarms, metrics with what was expected of them, segments, drift, the model: as of the housekeeper's last look."""
    service: Service = request.app.state.service
    if service.monitor is None:
        raise NotReady("this server runs without a monitor")
    return answer(await asyncio.to_thread(service.monitor.status, service.now()))


async def page(request: Request) -> Response:
    """The page: alarms in words, each metric against what was expected."""
    return FileResponse(STATIC / "monitor.html", headers=HEADERS)
