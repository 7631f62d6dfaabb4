"""The protocol of the public "botify" course simulator: POST /next/{user} and POST /last/{user}, when [botify] enables them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from segue.core.actions import FINISHED_SHARE
from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.types import MISSING
from segue.events.schema import EventIn
from segue.serving.query import RecommendIn
from segue.web import influence
from segue.web.problems import answer, body_of, decoded
from segue.web.service import Service

SONG_S = 200.0
"""Shares are logged as seconds of this where the catalogue knows no length."""
KEPT = 100_000
"""Sessions under way that are remembered, the latest; a forgotten one goes on as a new session."""


class Played(msgspec.Struct, frozen=True):
    """The track before, and the share of it that was heard."""

    track: Annotated[int, msgspec.Meta(ge=0)]
    time: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


@dataclass
class Tracks:
    """How the simulator's numbers are called here ("{}" stands for the number), and its sessions under way."""

    item: str = "{}"
    user: str = "{}"
    sessions: OrderedDict[int, str] = field(default_factory=OrderedDict)

    def session(self, user: int, now: int) -> str:
        """The name of the user's session; the first request of one begins it."""
        name = self.sessions.setdefault(user, f"botify {user} {now}")
        self.sessions.move_to_end(user)
        while len(self.sessions) > KEPT:
            self.sessions.popitem(last=False)
        return name

    def track(self, item: str) -> int:
        """The number of an item."""
        before, _, after = self.item.partition("{}")
        number = item.removeprefix(before).removesuffix(after)
        if not (number.isascii() and number.isdigit()) or self.item.replace("{}", number) != item:
            raise NotReady(f"the item {item!r} is no track: [botify] item is {self.item!r}, with a number in place of {{}}")
        return int(number)


async def post_next(request: Request) -> Response:
    """Log what was heard of the track before, durable and folded, then one track for this session."""
    user, played = await _asked(request)
    service, tracks = _parts(request)
    session = tracks.session(user, service.now())
    await _log(service, tracks, user, played, session)
    wanted = RecommendIn(user=tracks.user.replace("{}", str(user)), session=session, limit=1, discovery=1.0)
    query, _ = service.maker.make(wanted, service.now(), service.request_id())
    arms, model = influence.arms_of(service, wanted, query)
    began = time.perf_counter()
    exposure = await asyncio.to_thread(service.recommender.recommend, query, model)
    if not len(exposure.slate.items):
        raise NotReady("nothing to play: put the tracks into the catalogue first (`segue simulate --settle`)")
    if arms:
        influence.influenced(service, wanted, query, arms, exposure, time.perf_counter() - began)
    influence.logged(service, query, arms, exposure, service.writer.submit_exposure)
    return answer({"user": user, "track": tracks.track(service.catalogue.items.name(int(exposure.slate.items[0])))})


async def post_last(request: Request) -> Response:
    """Log what was heard of the last track; the session is over, and the track comes back."""
    user, played = await _asked(request)
    service, tracks = _parts(request)
    await _log(service, tracks, user, played, tracks.session(user, service.now()))
    tracks.sessions.pop(user, None)
    return answer({"user": user, "track": played.track})


ROUTES: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
    ("POST", "/next/{user}", post_next),
    ("POST", "/last/{user}", post_last),
)
"""Served only where [botify] enables them."""


def _parts(request: Request) -> tuple[Service, Tracks]:
    service: Service = request.app.state.service
    tracks: Tracks = request.app.state.botify
    return service, tracks


async def _asked(request: Request) -> tuple[int, Played]:
    user = request.path_params["user"]
    if not (user.isascii() and user.isdigit() and len(user) <= 18):
        raise BadInput(f"user: expected a whole number, found {user[:50]!r}", "user")
    return int(user), decoded(await body_of(request), Played)


async def _log(service: Service, tracks: Tracks, user: int, played: Played, session: str) -> None:
    name = tracks.item.replace("{}", str(played.track))
    dense = int(service.catalogue.items.find([name])[0])
    if dense == MISSING:
        raise NotFound(f"no item {name!r} for track {played.track}: [botify] item is {tracks.item!r}")
    known = float(service.catalogue.facts.duration_s[dense])
    length = known if known > 0 else SONG_S
    event = EventIn(
        user=tracks.user.replace("{}", str(user)),
        item=name,
        action="completed" if played.time >= FINISHED_SHARE else "skipped",
        at=service.now(),
        played_s=played.time * length,
        duration_s=length,
        session=session,
    )
    await asyncio.wrap_future(service.writer.submit([event]))
