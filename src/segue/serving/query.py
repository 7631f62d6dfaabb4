"""From a request in the caller's words to a Query in dense ids; what is not known becomes a warning, never an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from segue.core.clock import HOUR_MS, Offset, hour_of_week, offset_at, parse_time
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
MOST_ARTISTS_SOUGHT = 5
"""Of so many seed artists that the catalogue does not know as they are written other spellings are sought: each is a search."""
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
    utc_offsets: dict[int, Offset]  # region -> minutes east of UTC
    _tags: dict[str, str] = field(default_factory=dict)  # without case -> as the catalogue writes it, for its first _tags_seen
    _tags_seen: int = 0

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
        hour = hour_of_week(now, offset_at(self.utc_offsets.get(region, 0), now))
        return Context(region=region, device=device, age_band=age_band, hour_of_week=hour, language=language), now

    def _share(self, user: int, context: Context, seed: int) -> float:
        """The learned share of new songs."""
        return self.discovery.share(self.state.novelty(user), segment_of(context.region, context.age_band), seed)

    def _seeds(self, given: SeedsIn, warnings: list[str]) -> Seeds:
        return Seeds(
            self._known(self.catalogue.items, given.items, "seed items", warnings),
            self._spelled(self.catalogue.artists, given.artists, self._artists, "seed artists", warnings),
            self._spelled(self.catalogue.tags, given.tags, self._tag_names, "seed tags", warnings),
        )

    def _spelled(
        self,
        names: Names,
        wanted: Sequence[str],
        alike: Callable[[list[str]], dict[str, str]],
        what: str,
        warnings: list[str],
    ) -> Int32:
        """_known of names that may differ in upper and lower case from those of the catalogue: `alike` is asked about these."""
        if not wanted:
            return np.zeros(0, np.int32)
        unknown = [name for name, dense in zip(wanted, names.find(wanted).tolist(), strict=True) if dense == MISSING]
        found = alike(unknown) if unknown else {}
        return self._known(names, [found.get(name, name) for name in wanted], what, warnings)

    def _artists(self, unknown: list[str]) -> dict[str, str]:
        """By an index over words: no artist is looked at in vain."""
        found = {}
        for name in unknown[:MOST_ARTISTS_SOUGHT]:
            some = self.catalogue.facts.artist[self.catalogue.search(name, 20)]
            near = self.catalogue.artists.all(some[some != MISSING])
            found[name] = next((other for other in near if other.casefold() == name.casefold()), name)
        return found

    def _tag_names(self, unknown: list[str]) -> dict[str, str]:
        """Each tag of the catalogue is folded once, not once a request: names are never changed, only added."""
        tags = self.catalogue.tags
        if len(tags) > MOST_TAGS_COMPARED:
            return {}
        known = len(tags)
        for tag in tags.all(np.arange(self._tags_seen, known, dtype=np.int32)):
            self._tags.setdefault(tag.casefold(), tag)
        self._tags_seen = known
        return {name: self._tags.get(name.casefold(), name) for name in unknown}

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
