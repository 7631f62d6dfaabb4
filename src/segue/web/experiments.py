"""Experiments over HTTP: the routes that start, stop and tell, and the page."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from segue.core.errors import BadInput, NotReady
from segue.experiments.plan import Plan, read_plan
from segue.serving.arms import Arms
from segue.web.pages import HEADERS, STATIC
from segue.web.problems import answer, body_of
from segue.web.service import Service


def _arms(request: Request) -> tuple[Service, Arms]:
    service: Service = request.app.state.service
    if service.arms is None:
        raise NotReady("this server runs without experiments")
    return service, service.arms


async def get_experiments(request: Request) -> Response:
    """Every experiment, newest first."""
    _, arms = _arms(request)
    return answer({"experiments": await asyncio.to_thread(arms.summaries)})


async def post_experiments(request: Request) -> Response:
    """Start one: the body is the plan."""
    service, arms = _arms(request)
    try:
        plan: Plan = read_plan(msgspec.json.decode(await body_of(request)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"expected a plan as a JSON object, found something else: {error}") from None
    return answer(await asyncio.to_thread(arms.start, plan, service.now()), 201)


async def get_experiment(request: Request) -> Response:
    """One in numbers and words."""
    service, arms = _arms(request)
    return answer(await asyncio.to_thread(arms.report, request.path_params["name"], service.now()))


async def stop_experiment(request: Request) -> Response:
    """Everybody back to old."""
    service, arms = _arms(request)
    why = request.query_params.get("why", "")[:500]
    return answer(await asyncio.to_thread(arms.stop, request.path_params["name"], why, service.now()))


async def page(request: Request) -> Response:
    """The page: each arm against time, the lift with its sequence, the verdict in words."""
    return FileResponse(STATIC / "experiments.html", headers=HEADERS)
