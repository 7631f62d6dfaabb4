"""From a request in the caller's words to a Query in dense ids; what is not known becomes a warning, never an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from segue.core.clock import HOUR_MS, hour_of_week, parse_time
from segue.core.devices import device_kind
from segue.core.errors import BadInput
from segue.core.hashing import hash64
from segue.core.ports import Catalogue, Names, OnlineState
from segue.core.types import MISSING, Context, Int32, Query, Recent, Seeds
from segue.serving.discovery import Discovery, segment_of

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Many = Annotated[list[Name], Meta(max_length=1000)]
SESSION_GAP_MS = HOUR_MS // 2
MOST_TAGS_COMPARED = 20_000
"""Beyond so many tags a seed must be written as the catalogue writes it: comparing them all would hold up the server."""
NEWCOMER_PLAYS = 3
"""Up to this many plays a listener is still introduced by the favourites named at onboarding."""


class SeedsIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a radio starts."""

    items: Many = []
    artists: Many = []
    tags: Many = []


class ContextIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The moment: `at` is for replays and tests, ISO 8601 or Unix seconds."""

    region: Name | None = None
    device: Name | None = None
    at: str | float | None = None


class RecommendIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/recommendations."""

    user: Name
    surface: Name = "radio"
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    seeds: SeedsIn = SeedsIn()
    exclude: Many = []
    discovery: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    session: Name | None = None
    context: ContextIn = ContextIn()


@dataclass
class QueryMaker:
    """Turns requests into queries with the help of the catalogue and the online state."""

    catalogue: Catalogue
    state: OnlineState
    discovery: Discovery  # the share of new songs where the request names none
    utc_offsets: dict[int, int]  # region -> minutes east of UTC

    def learn(self, discovery: Discovery) -> None:
        """Take in what is known of how listeners take new songs, from the next request on: one reference changes."""
        self.discovery = discovery

    def make(self, request: RecommendIn, now: int, request_id: int) -> tuple[Query, list[str]]:
        """The query and warnings about what the request names and nobody knows."""
        warnings: list[str] = []
        user = int(self.catalogue.users.find([request.user])[0])
        context, now = self._context(request.context, user, now, warnings)
        session = hash64(request.session) if request.session else 0
        recent = self.state.recent(user, session)
        if not session:
            recent = running_session(recent, now)
        seeds = self._seeds(request.seeds, warnings)
        if not seeds and len(recent) <= NEWCOMER_PLAYS and user != MISSING:
            seeds = self._favourites(user)
        wanted = request.discovery
        query = Query(
            request_id=request_id,
            user=user,
            now=now,
            limit=request.limit,
            surface=request.surface,
            session=session,
            seeds=seeds,
            recent=recent,
            exclude=self._known(self.catalogue.items, request.exclude, "excluded items", warnings),
            discovery=self._share(user, context, session or request_id) if wanted is None else wanted,
            context=context,
        )
        return query, warnings

    def _context(self, given: ContextIn, user: int, now: int, warnings: list[str]) -> tuple[Context, int]:
        region, age_band, language = MISSING, MISSING, MISSING
        if user != MISSING:
            region, age_band = self.catalogue.user_context(user)
            language = self.catalogue.user_language(user)
        if given.region is not None:
            told = self._known(self.catalogue.regions, [given.region], "region", warnings)
            region = int(told[0]) if len(told) else region
        device = int(self.catalogue.devices.find([device_kind(given.device)])[0]) if given.device else MISSING
        if given.at is not None:
            try:
                now = parse_time(given.at)
            except (ValueError, OverflowError):
                expected = "ISO 8601 such as 2026-01-31T20:00:00Z, or Unix seconds"
                raise BadInput(f"context.at: expected {expected}, found {given.at!r}", "context.at") from None
        hour = hour_of_week(now, self.utc_offsets.get(region, 0))
        return Context(region=region, device=device, age_band=age_band, hour_of_week=hour, language=language), now

    def _share(self, user: int, context: Context, seed: int) -> float:
        """The learned share of new songs."""
        return self.discovery.share(self.state.novelty(user), segment_of(context.region, context.age_band), seed)

    def _seeds(self, given: SeedsIn, warnings: list[str]) -> Seeds:
        return Seeds(
            self._known(self.catalogue.items, given.items, "seed items", warnings),
            self._known(self.catalogue.artists, self._spelled(given.artists, self._artist), "seed artists", warnings),
            self._known(self.catalogue.tags, self._spelled(given.tags, self._tag), "seed tags", warnings),
        )

    def _spelled(self, wanted: Sequence[str], find: Callable[[str], str | None]) -> list[str]:
        """The names as the catalogue writes them, where only upper and lower case differ."""
        return [find(name) or name for name in wanted]

    def _artist(self, name: str) -> str | None:
        artists = self.catalogue.artists
        if artists.find([name])[0] != MISSING:
            return name
        some = self.catalogue.facts.artist[
            self.catalogue.search(name, 20)
        ]  # an index over words: no artist is looked at in vain
        return next((found for found in artists.all(some[some != MISSING]) if found.casefold() == name.casefold()), None)

    def _tag(self, name: str) -> str | None:
        tags = self.catalogue.tags
        if tags.find([name])[0] != MISSING or len(tags) > MOST_TAGS_COMPARED:
            return name
        return next((tag for tag in tags.all(np.arange(len(tags), dtype=np.int32)) if tag.casefold() == name.casefold()), None)

    def _favourites(self, user: int) -> Seeds:
        record = self.catalogue.user(user)
        return Seeds(
            artists=self._known(self.catalogue.artists, record.artists or (), "", []),
            tags=self._known(self.catalogue.tags, record.tags or (), "", []),
        )

    @staticmethod
    def _known(names: Names, wanted: Sequence[str], what: str, warnings: list[str]) -> Int32:
        if not wanted:
            return np.zeros(0, np.int32)
        dense = names.find(wanted)
        unknown = [name for name, number in zip(wanted, dense, strict=True) if number == MISSING]
        if unknown:
            shown = ", ".join(repr(name) for name in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            warnings.append(f"unknown {what} left out: {shown}")
        known: Int32 = dense[dense != MISSING]
        return known


def running_session(recent: Recent, now: int) -> Recent:
    """Marks the session of a caller who names none: plays with gaps of less than 30 minutes, up to now."""
    if not len(recent):
        return recent
    times = np.concatenate(([now], np.minimum(recent.at, now)))  # a clock that is ahead must not end the session
    near = np.abs(np.diff(times)) < SESSION_GAP_MS
    running = np.logical_and.accumulate(near)
    return replace(recent, in_session=running)
